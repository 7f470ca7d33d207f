"""Text of the user's own in pieces of bounded size, each checked, however long its lines are."""

import hashlib
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

from aigc_jax.data.dirt import Unusable

PIECE = 2**16  # bytes of a line that are looked at at a time


class Piece(NamedTuple):
    """A line with its end, or 64 KiB of a longer one, cut between two characters."""

    line: int  # counted from 1
    offset: int  # bytes before it in the file
    raw: bytes


def pieces(path: pathlib.Path) -> Iterator[Piece]:
    """The content of a file in order, in memory of a few pieces."""
    line, offset, carried = 1, 0, b""
    with path.open("rb") as file:
        while raw := carried + file.readline(PIECE - len(carried)):
            cut = len(raw) - _unfinished(raw) if len(raw) == PIECE else len(raw)
            yield Piece(line, offset, raw[:cut])
            line += raw.endswith(b"\n")
            offset, carried = offset + cut, raw[cut:]


def _unfinished(raw: bytes) -> int:
    """The number of bytes at the end that begin a character of UTF-8 and do not finish it."""
    for count in (1, 2, 3):
        byte = raw[-count]
        if byte >= 0xC0:
            length = 2 + (byte >= 0xE0) + (byte >= 0xF0)
            return count if length > count else 0
        if byte < 0x80:
            return 0
    return 0


def fault(piece: Piece) -> tuple[int, str] | None:
    """Where in a piece the first byte is that is no text, and a phrase about it; None: nowhere."""
    raw = piece.raw
    try:
        at, told = raw.find(0), "is NUL"
        if at < 0:
            raw.decode("utf-8")
            return None
    except UnicodeDecodeError as error:
        at, told = error.start, "is not UTF-8"
    line = piece.line + raw.count(b"\n", 0, at)
    return at, f"byte {raw[at]:#04x} at offset {piece.offset + at} (line {line}) {told}"


def read(path: pathlib.Path) -> str:
    """The characters of a file, line ends as they are.

    Raises:
      Unusable: it holds no text, is not UTF-8 or holds NUL.
    """
    raw = path.read_bytes()
    if found := fault(Piece(1, 0, raw)):
        raise Unusable("text", found[1])
    text = raw.decode()
    if not text.strip():
        raise Unusable("empty", "holds no text")
    return text


def checked(path: pathlib.Path) -> tuple[str, str]:
    """The SHA-256 of a file that is text from end to end, and its first 64 KiB.

    Raises:
      Unusable: it is empty, not UTF-8 or holds NUL.
    """
    sha, head = hashlib.sha256(), b""
    for piece in pieces(path):
        if found := fault(piece):
            raise Unusable("text", found[1])
        sha.update(piece.raw)
        if len(head) + len(piece.raw) <= PIECE:
            head += piece.raw
    text = head.decode()
    if not text.strip() and path.stat().st_size <= PIECE:
        raise Unusable("empty", "holds no text")
    return sha.hexdigest(), text
