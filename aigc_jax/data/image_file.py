"""One PNG or JPEG file under limits: its shape from the header, its pixels, or why it has none.

Only the content counts: a JPEG whose name ends in .png is read, a GIF of that name is not. Palettes
become colours, CMYK and YCbCr too; of 16 bits per channel the higher 8 are taken. A picture of more
than `MAX_PIXELS` is refused before it is decoded, so that a small file can't take all memory.
"""

import contextlib
import os
import pathlib
from collections.abc import Iterator

import numpy as np

from aigc_jax.data.dirt import Unusable

FORMATS = ("PNG", "JPEG")
MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # Pillow's name for C channels
# Channels that each of Pillow's modes becomes: a palette colours, grey with alpha grey.
DEPTHS = {"1": 1, "L": 1, "LA": 1, "RGB": 3, "P": 3, "CMYK": 3, "YCbCr": 3, "RGBA": 4}
SIXTEEN = ("I;16", "I;16B", "I;16L", "I")  # PNG's grey of 16 bits
MAX_PIXELS = 89_478_485  # from where Pillow warns: 256 MiB of colour
ORIENTATION = 0x0112  # of EXIF; cameras store photographs lying down
# What begins other files, to say what they are.
OTHERS = {b"GIF8": "GIF", b"WEBP": "WebP", b"II*\0": "TIFF", b"MM\0*": "TIFF", b"<svg": "SVG"} | {
    **{b"ftypavif": "AVIF", b"ftyphei": "HEIF", b"<!DOCTYPE": "a web page", b"<html": "a web page"},
    **{b"version http": "a Git LFS pointer, not the file itself", b"PK\3\4": "a ZIP archive"},
}
PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
JPEG_END = b"\xff\xd9"


def shape(path: pathlib.Path) -> tuple[int, int, int]:
    """[H, W, C] of an upright file, from its header.

    Pixels are decoded only where the file does not end as its format does: so a file that was cut
    off is found without decoding all others.

    Raises:
      Unusable: the file can't be read as one picture.
      OSError: the disk failed, not the file.
    """
    if not path.is_file():
        raise Unusable("other", "is not a regular file")
    with _opened(path) as (image, turn):
        if not _ends_well(path, image.format):
            image.load()
        height, width = image.height, image.width
        size = (width, height) if turn in _turning() else (height, width)
        return *size, 1 if image.mode in SIXTEEN else DEPTHS[image.mode]


def decoded(path: pathlib.Path, channels: int) -> np.ndarray:
    """The upright pixels of a file that has a shape, uint8 [H, W, C]. Raises what `shape` does."""
    with _opened(path) as (image, turn):
        image.load()
        if image.mode in SIXTEEN:
            image = _eight_bits(image)
        image = image.convert(MODES[channels])
        pixels = np.asarray(image if turn is None else image.transpose(turn))
    return pixels.reshape(*pixels.shape[:2], channels)


@contextlib.contextmanager
def _opened(path: pathlib.Path) -> Iterator[tuple]:
    """(Pillow's image, how to turn it upright or None); what goes wrong with it is `Unusable`."""
    from PIL import Image

    if not path.stat().st_size:
        raise Unusable("empty", "is empty")
    try:
        with Image.open(path, formats=FORMATS) as image:
            _check(image)
            yield image, _upright(image)
    except (Unusable, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Unusable("bomb", f"is too large to decode ({_phrase(error)})") from error
    except Image.UnidentifiedImageError as error:
        raise Unusable("other", f"can't be read as PNG or JPEG{_instead(path)}") from error
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
    if width * height > MAX_PIXELS:
        accepted = f"accepted are up to {MAX_PIXELS:,} pixels"
        raise Unusable("bomb", f"is {width}x{height} pixels; {accepted}")
    if not width * height:
        raise Unusable("empty", f"has {width} x {height} pixels")
    if image.format == "PNG" and getattr(image, "n_frames", 1) > 1:
        raise Unusable("animated", f"is an animation of {image.n_frames} pictures")
    if image.mode not in (*DEPTHS, *SIXTEEN):
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
    """Whether the last bytes are those that end a file of this format."""
    end = PNG_END if name == "PNG" else JPEG_END
    with path.open("rb") as file:
        file.seek(-min(path.stat().st_size, 64), os.SEEK_END)
        return file.read().rstrip(b"\0\r\n").endswith(end)


def _eight_bits(image):
    """The higher 8 of 16 bits of grey, as Pillow does it for colours."""
    from PIL import Image

    levels = np.asarray(image).astype(np.uint32) >> 8
    return Image.fromarray(levels.astype(np.uint8))
