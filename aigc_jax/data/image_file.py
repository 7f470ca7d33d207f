"""One image file under limits: its shape from the header, its pixels, or why it has none.

Of a file whose name ends as an image's only the content counts: a JPEG called x.png is read, a GIF
of that name is not. What its pixels become `pixels` says. A picture of more than `room.MAX_PIXELS`
is refused before it is decoded, and large ones wait for each other, so that small files can't take
all memory.
"""

import contextlib
import os
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from aigc_jax.data import pixels, room
from aigc_jax.data.dirt import Unusable

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
WEBP_COST = 3  # decoding a pixel takes so many times the memory that it takes in other formats
STRIP = 2**20  # pixels that are copied at a time
ORIENTATION = 0x0112  # of EXIF; cameras store photographs lying down
# What begins other files, to say what they are.
OTHERS = {b"GIF8": "GIF", b"II*\0": "TIFF", b"MM\0*": "TIFF", b"<svg": "SVG"} | {
    **{b"ftypavif": "AVIF", b"ftyphei": "HEIF", b"<!DOCTYPE": "a web page", b"<html": "a web page"},
    **{b"version http": "a Git LFS pointer, not the file itself", b"PK\3\4": "a ZIP archive"},
}
PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
JPEG_END = b"\xff\xd9"


class Header(NamedTuple):
    """What is known of an upright file."""

    shape: tuple[int, int, int]  # [H, W, C]
    transparent: bool  # maybe, somewhere
    bits: int  # that its values use
    deep: bool  # they are stored in 16
    colours: bool  # of which Pillow reads the upper 8 only


def shape(path: pathlib.Path) -> tuple[int, int, int]:
    """[H, W, C] of an upright file. Raises what `header` does."""
    return header(path).shape


def header(path: pathlib.Path) -> Header:
    """The header of a file that can be read as one picture.

    Pixels are decoded only where the file does not end as its format does, so that one that was cut
    off is found without decoding all others, and where they have 16 bits.

    Raises:
      Unusable: the file can't be read as one picture.
      OSError: the disk failed, not the file.
    """
    if not path.is_file():
        raise Unusable("other", "is not a regular file")
    with contextlib.ExitStack() as taken, _opened(path) as (image, turn):
        (width, height), mode, bits = image.size, image.mode, 8
        transparent, deep = pixels.transparent(image), pixels.sixteen(image)
        if deep or not _ends_well(path, image.format):
            taken.enter_context(room.held(_cost(image)))
            image.draft(None, (1, 1))  # an eighth of a JPEG's size shows as well where it ends
            image.load()
            bits = pixels.bits_of(image) if deep else bits
            image.close()
        size = (width, height) if turn in _turning() else (height, width)
        colours = deep and mode not in pixels.SIXTEEN
        return Header((*size, pixels.CHANNELS[mode]), transparent, bits, deep, colours)


def decoded(path: pathlib.Path, channels: int, background: str = "", bits: int = 16) -> np.ndarray:
    """The upright pixels of a file that has a shape, uint8 [H, W, C]. Raises what `shape` does."""
    with picture(path, channels, background, bits) as image:
        whole, top = np.empty((image.height, image.width, channels), np.uint8), 0
        for strip in strips(image):
            whole[top : top + len(strip)] = strip
            top += len(strip)
    return whole


@contextlib.contextmanager
def picture(
    path: pathlib.Path,
    channels: int | None = None,
    background: str = "",
    bits: int = 16,
) -> Iterator:
    """Pillow's upright image of a file, of 1, 3 or 4 channels, by default those that it has.

    For `background` and `bits` see `pixels`.

    Its memory counts as taken, and others wait for it, until the context ends. Raises what `shape`
    does.
    """
    with contextlib.ExitStack() as taken:
        with _opened(path) as (image, turn):
            taken.enter_context(room.held(_cost(image)))
            mode = pixels.MODES[channels or pixels.CHANNELS[image.mode]]
            image = _turned(pixels.in_mode(image, mode, background, bits), turn)
        yield image


def strips(image) -> Iterator[np.ndarray]:
    """The rows of Pillow's image from the top, uint8 [rows, W, C], without a copy of the whole."""
    rows = max(1, STRIP // image.width)
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        strip = np.asarray(image.crop((0, top, image.width, bottom)))
        yield strip.reshape(bottom - top, image.width, -1)


def _cost(image) -> int:
    """The pixels of PNG whose decoding takes as much memory."""
    progressive = "progressive" in image.info  # all of its coefficients are held, too
    laid = 2 * pixels.transparent(image)  # on a background, which is held, too
    cost = WEBP_COST if image.format == "WEBP" else 1 + progressive
    return image.width * image.height * (cost + laid)


def _turned(image, turn):
    return image if turn is None else image.transpose(turn)


@contextlib.contextmanager
def _opened(path: pathlib.Path) -> Iterator[tuple]:
    """(Pillow's image, how to turn it upright or None); what goes wrong with it is `Unusable`."""
    from PIL import Image

    if not path.stat().st_size:
        raise Unusable("empty", "is empty")
    try:
        with Image.open(path, formats=FORMATS) as image:
            try:
                _check(image)
                yield image, _upright(image)
            except BaseException:
                image.close()  # its pixels, which the error's traceback would keep
                raise
    except (Unusable, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Unusable("bomb", f"is too large to decode ({_phrase(error)})") from error
    except Image.UnidentifiedImageError as error:
        raise Unusable(
            "other", f"can't be read as PNG, JPEG, WebP or BMP{_instead(path)}"
        ) from error
    except Exception as error:  # decoders raise whatever a damaged file makes them stumble over
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise Unusable("unreadable", f"can't be decoded ({_phrase(error)})") from error


def _instead(path: pathlib.Path) -> str:
    """What the first bytes of a file say that it is, if they do."""
    with path.open("rb") as file:
        start = file.read(12)
    return next((f": it is {told}" for magic, told in OTHERS.items() if magic in start), "")


def _phrase(error: Exception) -> str:
    """The first line of an error, or its name."""
    return (str(error).splitlines() or [type(error).__name__])[0][:120]


def _check(image) -> None:
    """Refuses from the header what would be too large, or is not one picture of 8 or 16 bits."""
    width, height = image.size
    most = room.MAX_PIXELS // (WEBP_COST if image.format == "WEBP" else 1)
    if width * height > most:
        accepted = f"accepted are up to {most:,} pixels"
        raise Unusable("bomb", f"is {width}x{height} pixels; {accepted}")
    if not width * height:
        raise Unusable("empty", f"has {width} x {height} pixels")
    if image.format in ("PNG", "WEBP") and getattr(image, "n_frames", 1) > 1:
        raise Unusable("animated", f"is an animation of {image.n_frames} pictures")
    if image.mode not in pixels.CHANNELS:
        raise Unusable("unreadable", f"has pixels of Pillow's mode {image.mode!r}")


def _turning() -> tuple:
    from PIL.Image import Transpose as To

    return To.TRANSPOSE, To.ROTATE_270, To.TRANSVERSE, To.ROTATE_90


def _upright(image):
    """Pillow's transposition that turns the picture upright, by EXIF that is before its pixels."""
    from PIL.Image import Transpose as To

    # Pillow decodes a PNG to look for EXIF behind its pixels, which would be slow for a header.
    if image.format == "PNG" and "exif" not in image.info:
        return None
    methods = (To.FLIP_LEFT_RIGHT, To.ROTATE_180, To.FLIP_TOP_BOTTOM, *_turning())
    return dict(enumerate(methods, 2)).get(image.getexif().get(ORIENTATION, 1))


def _ends_well(path: pathlib.Path, name: str) -> bool:
    """Whether a file ends as this format does, or is as long as its header says."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if name in ("WEBP", "BMP"):
            start = file.read(8)
            told = start[4:8] if name == "WEBP" else start[2:6]
            return int.from_bytes(told, "little") + (8 if name == "WEBP" else 0) == size
        file.seek(-min(size, 64), os.SEEK_END)
        end = PNG_END if name == "PNG" else JPEG_END
        return file.read().rstrip(b"\0\r\n").endswith(end)
