"""Finds dirt in a folder of images, texts or MIDI files and puts what is clean into another one.

python -m aigc_jax.data.clean DIR --out=OUT

OUT gets the files that are kept (as hard links where that is possible, else copies), report.json
with every file that is not and why, and report.html to look at. DIR is only read. What is left out:
files that are damaged, empty, too large, animated or of another kind; images that differ in size or
channels from most; exact copies, also in another class or split (those in test/ or validation/ are
kept); near copies, by a hash whose bits hardly change with compression, size and exposure; and
files unlike the rest, by an isolation forest. A single text file is cleaned line by line. Texts in
UTF-16 and UTF-32, and behind a byte-order mark, come out as UTF-8. Nothing clean is no success.
Transparent pictures are seen on white, those of 16 bits by the range that each uses.
"""

import argparse
import collections
import json
import os
import pathlib
import shutil
import sys
from collections.abc import Sequence
from typing import Any

from aigc_jax.data.dirt import KINDS, say

SHOWN = 3  # files or lines that an error names
REPORTS = ("report.json", "report.html")  # written beside what is kept
MANY = 1000  # files from which starting processes pays


def parse(argv: list[str]) -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(
        prog="python -m aigc_jax.data.clean",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    path = pathlib.Path
    parser.add_argument("folder", type=path, metavar="DIR", help="a folder, or one text file")
    parser.add_argument("--out", type=path, required=True, help="a new or empty folder")
    parser.add_argument("--report_only", action="store_true", help="copy nothing, only report")
    parser.add_argument(
        "--near",
        type=int,
        default=4,
        help="bits of 64 in which hashes of near copies may differ; -1 keeps near copies",
    )
    parser.add_argument(
        "--outliers",
        type=float,
        default=0.7,
        help="isolation score above which a file is unlike the rest, 0.5 (ordinary) to 1 (off)",
    )
    parser.add_argument("--image_size", type=int, help="images may differ in size, but be no less")
    parser.add_argument("--channels", type=int, help="images may differ in channels")
    flags = parser.parse_args(argv)
    if not -1 <= flags.near <= 32:
        parser.error(f"--near={flags.near}: must be from -1 to 32")
    if not 0.5 <= flags.outliers <= 1:
        parser.error(f"--outliers={flags.outliers}: must be from 0.5 to 1")
    for name in ("image_size", "channels"):
        value = getattr(flags, name)
        if value is not None and value < 1:
            parser.error(f"--{name}={value}: must be at least 1")
    return flags


def main(argv: list[str]) -> int:
    """Cleans and reports; 0 when done, 2 for bad input."""
    flags = parse(argv)
    try:
        _check_places(flags.folder, flags.out)
        report = _line_report(flags) if flags.folder.is_file() else _file_report(flags)
        if report["kept"] or flags.report_only:
            _write(flags.out, report)
        if not report["kept"]:
            raise ValueError(_nothing(report, flags))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    say(_told(report, flags))
    return 0


def _check_places(folder: pathlib.Path, out: pathlib.Path) -> None:
    """Raises a ValueError unless there is something to read and a free place to write to."""
    if not folder.exists():
        raise ValueError(f"{folder}: does not exist; accepted is a folder, or one text file")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"--out={out}: is there already; accepted is a new or an empty folder")
    taken = [folder] if folder.is_file() else [p for p in folder.iterdir() if p.is_dir()]
    for path in taken:
        if path.name.lower() in REPORTS:
            raise ValueError(
                f"{path}: has the name of a report that --out gets; accepted is any but "
                f"{' and '.join(REPORTS)}"
            )
    if folder.is_dir() and out.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"--out={out}: is inside {folder}, which would be changed by it")


def _file_report(flags: argparse.Namespace) -> dict:
    """Inspects the folder, takes over what is kept, and says what is not."""
    from aigc_jax.data import inspection, selection

    files = selection.files_below(flags.folder)
    kind = selection.kind_of(flags.folder, files)
    found = selection.inspected(files, kind, processes=_processes(len(files)))
    rejected, notes = selection.rejections(flags.folder, files, found, kind, flags)
    kept = [path for i, path in enumerate(files) if i not in rejected]
    if not flags.report_only:
        take = _take_over_text if kind is inspection.TEXTS else _take_over
        changed = [take(path, flags.out / path.relative_to(flags.folder)) for path in kept]
        names = collections.Counter(filter(None, changed))
        notes += [f"{count:,} converted from {name}" for name, count in names.items()]
        notes += _unseen(flags.out, kind) if kept else []
    counts = collections.Counter(row["kind"] for row in rejected.values())
    rows = [rejected[i] for i in sorted(rejected)]
    return _report(flags, kind.name, len(files), counts, rows, notes)


def _processes(count: int) -> int:
    return len(os.sched_getaffinity(0)) if count >= MANY else 1


def _take_over(source: pathlib.Path, target: pathlib.Path) -> None:
    """A hard link, or a copy where the place is on another disk."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copy2(source, target)


def _take_over_text(source: pathlib.Path, target: pathlib.Path) -> str:
    """`_take_over` of a text that is UTF-8; else writes it as such, and says what it was."""
    from aigc_jax.data import text_file

    name = text_file.conversion(source)
    if not name:
        _take_over(source, target)
        return ""
    target.parent.mkdir(parents=True, exist_ok=True)
    with text_file.utf8(source) as file, target.open("wb") as copy:
        shutil.copyfileobj(file, copy)
    return name


def _unseen(out: pathlib.Path, kind: Any) -> list[str]:
    """A remark on the files in a folder that training would not take, if there are any."""
    from aigc_jax.data import contents, inspection, layout, midi_folder, text_folder

    try:
        if kind is inspection.TEXTS:
            others = contents.overlooked(out, text_folder.listed(out))
        elif kind is inspection.IMAGES:
            found = layout.listed(out)
            others = layout.overlooked(out, [path for split in found.values() for path, _ in split])
        else:
            others = contents.overlooked(out, midi_folder.listed(out).values())
    except ValueError as error:
        return [f"training does not take it as it is: {error}"]
    return [f"training does not look everywhere: {others}"] if others else []


def _line_report(flags: argparse.Namespace) -> dict:
    """Copies a text file without the lines, or pieces of longer ones, that are no text."""
    from aigc_jax.data import clean_lines

    target = os.devnull if flags.report_only else flags.out / flags.folder.name
    return _report(flags, "lines", *clean_lines.copied(flags.folder, pathlib.Path(target)))


def _report(
    flags: argparse.Namespace,
    unit: str,
    total: int,
    counts: collections.Counter,
    rejected: Sequence[dict],
    notes: Sequence[str],
) -> dict:
    options = ("near", "outliers", "image_size", "channels", "report_only")
    return {
        "folder": str(flags.folder),
        "of": unit,
        "total": total,
        "kept": total - counts.total(),
        "rejected": {kind: counts[kind] for kind in KINDS if counts[kind]},
        "options": {name: getattr(flags, name) for name in options},
        "notes": list(notes),
        "files": list(rejected),
    }


def _write(out: pathlib.Path, report: dict) -> None:
    """report.json, and the page, last of all."""
    from aigc_jax.data import clean_page

    out.mkdir(parents=True, exist_ok=True)
    data, page = (out / name for name in REPORTS)
    data.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    page.write_text(clean_page.page(report), encoding="utf-8", errors="replace")


def _nothing(report: dict, flags: argparse.Namespace) -> str:
    """Why a report without anything clean is no success."""
    rows = report["files"][:SHOWN]
    told = [f"{row['path']} {row['reason']}" for row in rows]
    told += ["..."] if report["total"] > len(rows) else []
    where = f"report: {flags.out / REPORTS[1]}" if flags.report_only else "nothing was written"
    all_told = "; ".join([*told, *report["notes"]])
    return (
        f"{flags.folder}: none of {report['total']:,} {report['of']} is clean: {all_told}; {where}"
    )


def _told(report: dict, flags: argparse.Namespace) -> str:
    """What the command prints."""
    lines = [f"{report['kept']:,} of {report['total']:,} {report['of']} are clean"]
    lines += [f"  {count:>7,}  {kind}" for kind, count in report["rejected"].items()]
    lines += report["notes"]
    if not flags.report_only:
        lines.append(f"kept: {flags.out}")
    return "\n".join([*lines, f"report: {flags.out / 'report.html'}"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
