"""What a file that is no UTF-8 text is instead, and the command that makes such text of it."""

import codecs
import pathlib
import shlex
from typing import NamedTuple

import numpy as np

MARKS = (
    *((codecs.BOM_UTF32_LE, "UTF-32"), (codecs.BOM_UTF32_BE, "UTF-32")),  # begins as the next does
    *((codecs.BOM_UTF16_LE, "UTF-16"), (codecs.BOM_UTF16_BE, "UTF-16")),
)
MARKED = "utf-8-sig"  # Python's name for UTF-8 behind a mark
MAKES, UNPACKS = "makes UTF-8 of it", "unpacks it"
PACKED = (  # (how it begins, its name, the command from a file to a new one, or to a folder)
    (b"\x1f\x8b", "gzip", "gunzip -c {file} > {new}"),
    (b"PK\3\4", "a ZIP archive", "unzip -d {folder} {file}"),
    (b"BZh", "bzip2", "bunzip2 -c {file} > {new}"),
    (b"\xfd7zXZ\0", "xz", "xz -dc {file} > {new}"),
    (b"\x28\xb5\x2f\xfd", "zstd", "zstd -dc {file} > {new}"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "7z e -so {file} > {new}"),
    (b"%PDF", "a PDF", "pdftotext {file} {new}"),
)
CONVERTED = ("a PDF", "a document")
DOCUMENTS = (".docx", ".epub", ".odt")  # ZIP archives of markup
TAR = slice(257, 262)  # where a tar archive says that it is one
CONTROLS = "".join(chr(i) for i in range(32) if chr(i) not in "\t\n\v\f\r\x1b")  # not in texts


class Found(NamedTuple):
    """What a file is."""

    name: str
    command: str  # makes UTF-8 text of it, or unpacks it
    codec: str = ""  # Python's, where it is text and in which encoding is sure
    does: str = MAKES

    def __str__(self) -> str:
        return f"it is {self.name}: {self.command} {self.does}"


def recognised(head: bytes, path: pathlib.Path) -> Found | None:
    """What the beginning of a file shows for sure; None for UTF-8, and for what shows nothing.

    UTF-16 and UTF-32 are known by their mark or, where most characters are of Latin scripts, by
    where they have NUL.
    """
    if head.startswith(codecs.BOM_UTF8):
        command = f"tail -c +4 {_quoted(path)} > {_new(path)}"
        return Found("UTF-8 behind a byte-order mark", command, MARKED)
    if _is_utf8(head):
        return None
    for mark, name in MARKS:
        if head.startswith(mark):
            return Found(f"{name} behind a byte-order mark", _iconv(name, path), name)
    if found := _packed(head, path):
        return found
    name = _by_zeros(head)
    if name and _is_text(head, name):
        return Found(f"{name} without a byte-order mark", _iconv(name, path), name)
    return None


def guessed(around: bytes, path: pathlib.Path) -> str:
    """A phrase on the encoding of a part that is not UTF-8; "" if it may be damaged UTF-8."""
    others = around.decode("utf-8", "ignore")
    if not others.isascii() or b"\0" in around or _is_utf8(around):
        return ""
    if not _is_text(around, "latin-1"):
        return "it may be no text at all"
    high = [byte for byte in around if byte > 127]
    if len(high) > 0.3 * len(around):
        command = _iconv("ENCODING", path)
        return f"it may be in another encoding: with its name {command} {MAKES}"
    name = "ISO-8859-1" if min(high) > 0x9F else "WINDOWS-1252"
    told = "Latin-1" if min(high) > 0x9F else "Windows-1252"
    return f"it may be {told}: {_iconv(name, path)} {MAKES}"


def _is_utf8(raw: bytes) -> bool:
    """Whether a part that may end within a character is text."""
    return _is_text(raw, "utf-8", "\0")


def _is_text(raw: bytes, codec: str, strange: str = CONTROLS) -> bool:
    """Whether a part can be decoded, and to nothing strange."""
    try:
        text = codecs.getincrementaldecoder(codec)().decode(raw)
    except UnicodeError:
        return False
    return not any(character in text for character in strange)


def _by_zeros(head: bytes) -> str:
    """The encoding whose zeros these are, "" for none."""
    if len(head) < 4:
        return ""
    fours = np.frombuffer(head[: len(head) // 4 * 4], np.uint8).reshape(-1, 4)
    a, b, c, d = (fours == 0).mean(axis=0)
    if a == 1 and b > 0.9:
        return "UTF-32BE"
    if d == 1 and c > 0.9:
        return "UTF-32LE"
    if min(b, d) > 0.2 and max(a, c) < 0.01:
        return "UTF-16LE"
    return "UTF-16BE" if min(a, c) > 0.2 and max(b, d) < 0.01 else ""


def _packed(head: bytes, path: pathlib.Path) -> Found | None:
    if head[TAR] == b"ustar":
        return Found("a tar archive", f"tar -xf {_quoted(path)}", does=UNPACKS)
    for begin, name, command in PACKED:
        if head.startswith(begin):
            if path.suffix.lower() in DOCUMENTS:
                name, command = "a document", "pandoc -t plain {file} -o {new}"
            places = {"file": _quoted(path), "new": _new(path, packed=True)}
            command = command.format(**places, folder=_quoted(path.with_suffix("")))
            return Found(name, command, does=MAKES if name in CONVERTED else UNPACKS)
    return None


def _iconv(name: str, path: pathlib.Path) -> str:
    return f"iconv -f {name} -t UTF-8 {_quoted(path)} > {_new(path)}"


def _quoted(path: pathlib.Path) -> str:
    return shlex.quote(str(path))


def _new(path: pathlib.Path, packed: bool = False) -> str:
    """A name for the text beside the file: a.txt for a.txt.gz, a.utf8.txt for a.txt."""
    if not packed:
        return _quoted(path.with_suffix(f".utf8{path.suffix}"))
    inside = path.with_suffix("")
    return _quoted(
        inside if inside.suffix and inside != path else path.with_suffix(".unpacked.txt")
    )
