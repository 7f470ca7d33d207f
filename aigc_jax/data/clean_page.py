"""The page of a cleaned folder: every kind of dirt with pictures, in one file that needs no other.

A file's name or content is text and nothing else: it is escaped, and the page's
Content-Security-Policy forbids scripts and whatever is outside of it.
"""

import html
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from aigc_jax.data import previews
from aigc_jax.data.dirt import KINDS

SHOWN = 60  # tiles of each kind: the page stays below a few MB
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'"
# Not for an HTML text, or turning the direction in which what follows is read.
UNSEEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")
HERE = pathlib.Path(__file__).parent


def page(report: Mapping[str, Any]) -> str:
    """The whole page of a report of `clean`."""
    rows = {kind: [r for r in report["files"] if r["kind"] == kind] for kind in KINDS}
    sections = [_section(report, kind, rows[kind]) for kind in report["rejected"]]
    title = f"{pathlib.Path(report['folder']).name}: {report['kept']:,} of {report['total']:,} kept"
    style = (HERE / "clean_page.css").read_text(encoding="utf-8")
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{_text(title)}</title><style>{style}</style></head><body>",
            *_top(report),
            *(sections or ['<p class="good">Nothing was found to leave out.</p>']),
            "</body></html>\n",
        ]
    )


def _text(value: Any) -> str:
    return html.escape(UNSEEN.sub("\ufffd", str(value)))


def _top(report: Mapping[str, Any]) -> list[str]:
    """What was cleaned, how much of it is left, and links to each kind of dirt."""
    total, kept = report["total"], report["kept"]
    links = [
        f'<a href="#{kind}"><b>{count:,}</b>{_text(kind)}</a>'
        for kind, count in report["rejected"].items()
    ]
    given = {k: v for k, v in report["options"].items() if v not in (None, False)}
    options = " ".join(f"--{k}" if v is True else f"--{k}={v}" for k, v in given.items())
    return [
        f"<h1>{_text(report['folder'])}</h1>",
        f'<p class="lead"><b>{kept:,}</b> of {total:,} {_text(report["of"])} kept, '
        f"<b>{total - kept:,}</b> left out ({100 * (total - kept) / max(total, 1):.2g} %).</p>",
        f'<div class="bar"><i style="width:{100 * kept / max(total, 1):.2f}%"></i></div>',
        f"<nav>{''.join(links)}</nav>",
        *(f'<p class="note">{_text(note)}</p>' for note in report["notes"]),
        f"<p class='soft'>Options: <code>{_text(options)}</code>. "
        "Every file and reason is in report.json.</p>",
    ]


def _section(report: Mapping[str, Any], kind: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """All tiles of one kind, or the first of them."""
    count = report["rejected"][kind]
    hidden = count - min(len(rows), SHOWN)
    more = f"<p class='soft'>and {hidden:,} more, in report.json</p>" if hidden else ""
    tiles = "\n".join(_tile(pathlib.Path(report["folder"]), row) for row in rows[:SHOWN])
    return (
        f'<section id="{kind}"><h2>{_text(kind)} <small>{count:,} · {_text(KINDS[kind])}'
        f"</small></h2><div class='tiles'>{tiles}</div>{more}</section>"
    )


def _tile(folder: pathlib.Path, row: Mapping[str, Any]) -> str:
    """One rejected file, beside the one that is kept in its place if there is one."""
    shown = _shown(folder / row["path"]) if "excerpt" not in row else _quoted(row["excerpt"])
    if "like" in row:
        sign = "=" if row["kind"] == "duplicate" else "≈"
        shown += f'<span class="is">{sign}</span>{_shown(folder / row["like"])}'
    return (
        f'<figure><div class="shown">{shown}</div><figcaption><code>{_text(row["path"])}</code>'
        f"{_text(row['reason'])}</figcaption></figure>"
    )


def _shown(path: pathlib.Path) -> str:
    """A picture of the file, else its beginning, else a placeholder."""
    uri = previews.picture(path)
    if uri:
        return f'<img src="{uri}" alt="">'
    if path.suffix.lower() in (".txt", ".md"):
        return _quoted(previews.excerpt(path))
    return '<span class="none">no picture</span>'


def _quoted(text: str) -> str:
    return f"<pre>{_text(text)}</pre>" if text else '<span class="none">empty</span>'
