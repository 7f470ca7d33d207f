"""Text of the user's own, as it is; also in pieces of bounded size, however long its lines are."""

import contextlib
import hashlib
import pathlib
import tempfile
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from aigc_jax.data import encodings
from aigc_jax.data.dirt import Unusable

PIECE = 2**16  # bytes of a line that are looked at at a time


class Piece(NamedTuple):
    """A line with its end, or 64 KiB of a longer one, cut between two characters."""

    line: int  # counted from 1
    offset: int  # bytes before it in the file
    raw: bytes


def pieces(file: BinaryIO) -> Iterator[Piece]:
    """The content of a file in order, in memory of a few pieces."""
    line, offset, carried = 1, 0, b""
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


def contents(path: pathlib.Path) -> str:
    """The characters of a file, all of them: line ends as they are, and a byte-order mark.

    Raises:
      Unusable: it is not UTF-8 or holds NUL; with what it is instead, if that shows.
    """
    raw = path.read_bytes()
    if found := fault(Piece(1, 0, raw)):
        at, told = found
        raise _diagnosed(told, raw[:PIECE], raw[max(0, at - PIECE // 2) : at + PIECE // 2], path)
    return raw.decode()


def _diagnosed(told: str, head: bytes, around: bytes, path: pathlib.Path) -> Unusable:
    """A fault with what the file is instead, or may be, and what makes UTF-8 of it."""
    found = encodings.recognised(head, path)
    if found and found.codec != encodings.MARKED:
        return Unusable("text" if found.codec else "other", f"{told}: {found}")
    guess = encodings.guessed(around, path)
    return Unusable("text", f"{told}: {guess}" if guess else told)


def marked(text: str, path: pathlib.Path) -> str:
    """A phrase about the byte-order mark that a text begins with, "" if it does not.

    It would be a character of its own, that no generated text should have.
    """
    found = encodings.recognised(text[:1].encode(), path)
    return f"begins with a byte-order mark: {found}" if found else ""


def read(path: pathlib.Path) -> str:
    """The characters of a file, line ends as they are: the same ones wherever text is read.

    Raises:
      Unusable: what `contents` does, and for a byte-order mark.
    """
    text = contents(path)
    if told := marked(text, path):
        raise Unusable("text", told)
    return text


def conversion(path: pathlib.Path) -> str:
    """The name of what `utf8` converts a file from, "" if it gives the file itself."""
    with path.open("rb") as file:
        found = encodings.recognised(file.read(PIECE), path)
    return found.name if found else ""


@contextlib.contextmanager
def utf8(path: pathlib.Path) -> Iterator[BinaryIO]:
    """A file as UTF-8 without a mark: itself, or a converted copy that is gone afterwards.

    Raises:
      Unusable: it is packed, or is damaged UTF-16 or UTF-32.
    """
    with path.open("rb") as file:
        found = encodings.recognised(file.read(PIECE), path)
        if found and not found.codec:
            raise Unusable("other", f"is no text: {found}")
        file.seek(0)
        if not found:
            yield file
            return
    with tempfile.TemporaryFile() as copy:
        _convert(path, found, copy)
        copy.seek(0)
        yield copy


def _convert(path: pathlib.Path, found: encodings.Found, copy: BinaryIO) -> None:
    # Line ends stay as they are; UTF-8 itself may be damaged, which is for others to find.
    lenient = "surrogateescape" if found.codec == encodings.MARKED else "strict"
    try:
        with path.open(encoding=found.codec, errors=lenient, newline="") as source:
            while part := source.read(PIECE):
                copy.write(part.encode("utf-8", lenient))
    except UnicodeError as error:
        raise Unusable("text", f"is damaged {found.name}: {error}") from None


def checked(path: pathlib.Path) -> tuple[str, str]:
    """The SHA-256 of a file that is text from end to end, and its first 64 KiB, both as UTF-8.

    Raises:
      Unusable: it is empty, no text that `utf8` reads, or holds NUL.
    """
    sha, head, size = hashlib.sha256(), b"", 0
    with utf8(path) as file:
        for piece in pieces(file):
            if found := fault(piece):
                raise _diagnosed(found[1], head, piece.raw, path)
            sha.update(piece.raw)
            size += len(piece.raw)
            if len(head) + len(piece.raw) <= PIECE:
                head += piece.raw
    text = head.decode()
    if not text.strip() and size <= PIECE:
        raise Unusable("empty", "holds no text")
    return sha.hexdigest(), text
