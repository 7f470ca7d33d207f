"""Cleaning one text file: what is copied are its lines that are text, as UTF-8."""

import collections
import contextlib
import pathlib
from collections.abc import Callable, Iterator
from typing import BinaryIO

from aigc_jax.data import encodings, text_file
from aigc_jax.data.dirt import Unusable

EXCERPT = 160  # bytes of a line that are shown
LISTED = 10_000  # lines that a report lists; all are counted


def copied(
    source: pathlib.Path, target: pathlib.Path
) -> tuple[int, collections.Counter, list[dict], list[str]]:
    """(lines, how many are left out by kind, rows of the report on these, remarks).

    The target is written only if there is something to write. UTF-16, UTF-32 and a byte-order mark
    are converted; what may be another encoding only is remarked on.

    Raises:
      ValueError: the file is empty or packed.
    """
    if not source.stat().st_size:
        raise ValueError(f"{source}: is empty; accepted is a file with text")
    total, rejected, counts, guess, wide = 0, [], collections.Counter(), "", False
    with _lazily(target) as write, _utf8(source) as file:
        for piece in text_file.pieces(file):
            total += 1
            found = text_file.fault(piece)
            if found is None:
                write(piece.raw)
                wide |= not piece.raw.isascii()
                continue
            counts["text"] += 1
            guess = guess or encodings.guessed(piece.raw, source)
            if len(rejected) < LISTED:
                rejected.append(_row(piece, *found))
    more = counts.total() > LISTED
    notes = [f"only the first {LISTED:,} of the lines left out are listed"] if more else []
    notes += [f"the file need not be damaged: {guess}"] if guess and not wide else []
    name = text_file.conversion(source)
    return total, counts, rejected, [*notes, *([f"converted from {name}"] if name else [])]


@contextlib.contextmanager
def _utf8(source: pathlib.Path) -> Iterator[BinaryIO]:
    """`text_file.utf8`, with the file's name in what it raises."""
    try:
        with text_file.utf8(source) as file:
            yield file
    except Unusable as error:
        raise ValueError(f"{source}: {error.reason}") from error


@contextlib.contextmanager
def _lazily(target: pathlib.Path) -> Iterator[Callable[[bytes], None]]:
    """A function that writes to a file, which is not there until something is written."""
    with contextlib.ExitStack() as opened:
        files: list[BinaryIO] = []

        def write(raw: bytes) -> None:
            if not files:
                target.parent.mkdir(parents=True, exist_ok=True)
                files.append(opened.enter_context(target.open("wb")))
            files[0].write(raw)

        yield write


def _row(piece: text_file.Piece, at: int, reason: str) -> dict:
    """A row of the report, with the text around the byte at `at`."""
    around = piece.raw[max(0, at - EXCERPT // 2) : at + EXCERPT // 2]
    shown = around.decode("utf-8", "backslashreplace").replace("\0", "\\x00")
    row = {"path": f"line {piece.line}", "kind": "text", "reason": reason, "excerpt": shown}
    return {**row, "offset": piece.offset, "bytes": len(piece.raw)}
