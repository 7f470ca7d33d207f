"""The parts of a report to look at: figures with their bytes inside the page, configs."""

import base64
import json
import pathlib
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from aigc_jax.evaluation.markup import Markup, element
from aigc_jax.evaluation.runs import Run, flattened
from aigc_jax.evaluation.sections import heading, scrolling, swatch

CELLS = 320  # pixels; a narrower image is enlarged with its pixels as squares
WIDE = 900  # pixels; an image this wide, or of this aspect ratio, gets a row of its own
ASPECT = 1.8
MARKS = {".png": "image/png", ".wav": "audio/wav"}


def figures(runs: Sequence[Run]) -> list[Markup]:
    """All figures in their order; those of one name in several runs side by side."""
    if len(runs) == 1:
        shown = [_figure(runs[0], entry) for entry in runs[0].content.get("figures", ())]
        return [element("div", *shown, class_="figures")] if shown else []
    names = dict.fromkeys(f["name"] for run in runs for f in run.content.get("figures", ()))
    return [part for name in names for part in _beside(runs, name)]


def _beside(runs: Sequence[Run], name: str) -> list[Markup]:
    """Title, the caption if all share it, and the figure of each run that has it."""
    found = [
        (i, run, entry)
        for i, run in enumerate(runs)
        for entry in run.content.get("figures", ())
        if entry["name"] == name
    ]
    captions = {entry["caption"] for *_, entry in found}
    shared = element("p", captions.pop(), class_="soft") if len(captions) == 1 else None
    title = element("h3", found[0][2]["title"], class_="several")
    shown = [_figure(run, entry, i, shared is None) for i, run, entry in found]
    return [title, *([shared] if shared else []), element("div", *shown, class_="figures beside")]


def _figure(
    run: Run, entry: Mapping[str, str], index: int | None = None, captioned: bool = True
) -> Markup:
    """One figure; under the run's name where it stands beside others, else under its title."""
    path = run.workdir / "evaluation" / "figures" / pathlib.PurePath(entry["file"]).name
    title = element("h3", entry["title"])
    if index is not None:
        title = element("h4", swatch(index), run.name)
    media, wide = shown(path, entry["caption"] or entry["title"])
    caption = element("figcaption", entry["caption"]) if captioned and entry["caption"] else None
    return element("figure", title, media, caption, class_="wide" if wide else None)


def shown(path: pathlib.Path, alt: str) -> tuple[Markup, bool]:
    """The element that shows a .png, .wav or text file, and whether it needs a row of its own."""
    if not path.exists():
        return element("p", f"The file {path.name} is missing.", class_="warn"), False
    data = path.read_bytes()
    if path.suffix == ".png":
        return _image(data, alt)
    if path.suffix == ".wav":
        return element(
            "audio", controls=True, preload="metadata", src=_uri(data, ".wav"), aria_label=alt
        ), False
    text = data.decode("utf-8", errors="replace")
    # HTML drops the first line break after <pre>.
    return element("pre", Markup("\n"), text, tabindex="0"), max(map(len, text.split("\n"))) > 70


def _image(data: bytes, alt: str) -> tuple[Markup, bool]:
    width, height = png_size(data)
    cells = "cells" if width < CELLS else None
    wide = not cells and (width >= WIDE or width > ASPECT * height)
    picture = element(
        "img", src=_uri(data, ".png"), alt=alt, width=width, height=height, class_=cells
    )
    return picture, wide


def _uri(data: bytes, ending: str) -> str:
    return f"data:{MARKS[ending]};base64,{base64.b64encode(data).decode()}"


def png_size(data: bytes) -> tuple[int, int]:
    """(width, height) in pixels, from the header of a PNG file."""
    return struct.unpack(">II", data[16:24])


def config(runs: Sequence[Run]) -> Markup:
    """The configs: of one run by section; of several what differs, then all."""
    flat = [flattened(run.record.get("config", {})) for run in runs]
    if len(runs) == 1:
        return _sections(flat[0])
    keys = list(dict.fromkeys(key for values in flat for key in values))
    differing = [key for key in keys if len({written(values.get(key, "–")) for values in flat}) > 1]
    first = element("p", "The configs are equal.", class_="soft")
    if differing:
        first = _table(runs, flat, differing, differing, "What differs")
    everything = _table(runs, flat, keys, differing, "All keys")
    rest = element("details", element("summary", f"All {len(keys)} keys"), everything)
    return element("div", first, rest)


def written(value: Any) -> str:
    """A value of a config as text; texts without quotes."""
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


def _sections(flat: Mapping[str, Any]) -> Markup:
    parts = {}
    for key, value in flat.items():
        section, dot, rest = key.partition(".")
        part = parts.setdefault(section if dot else "run", {})
        part[rest if dot else key] = value
    tables = [
        scrolling(
            element(
                "table", element("caption", section), element("tbody", *map(_row, values.items()))
            )
        )
        for section, values in sorted(parts.items(), key=lambda item: item[0] == "run")
    ]
    return element("div", *tables, class_="settings")


def _row(item: tuple[str, Any]) -> Markup:
    key, value = item
    return element(
        "tr",
        element("th", element("code", key), scope="row"),
        element("td", element("code", written(value))),
    )


def _table(
    runs: Sequence[Run],
    flat: Sequence[Mapping[str, Any]],
    keys: Sequence[str],
    differing: Sequence[str],
    title: str,
) -> Markup:
    head = element(
        "tr", element("th", "Key", scope="col"), *(heading(r, i) for i, r in enumerate(runs))
    )
    rows = []
    for key in keys:
        cells = [
            element("td", element("code", written(v.get(key, "–"))), class_="number") for v in flat
        ]
        name = element("th", element("code", key), scope="row")
        rows.append(element("tr", name, *cells, class_="differs" if key in differing else None))
    body = (element("caption", title), element("thead", head), element("tbody", *rows))
    return scrolling(element("table", *body, class_="plain config"))
