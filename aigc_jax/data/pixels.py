"""Pixels of an image file in the channels that are asked for: one rule for all who look at them.

Palettes become colours, CMYK and YCbCr too. What is transparent is laid on a background, by
alpha a: a colour + (1 - a) background; with four channels alpha stays. Of 16 bits per channel the
upper 8 of the `bits` that the pictures use are taken: v >> (bits - 8), so that 12-bit values, which
many instruments write, keep 256 levels. Pillow reads colours of 16 bits as their upper 8.
"""

import numpy as np

MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # Pillow's name for C channels
SIXTEEN = ("I;16", "I;16B", "I;16L", "I")  # PNG's grey of 16 bits
# Channels that each of Pillow's modes becomes: a palette colours, grey with alpha grey.
CHANNELS = {"1": 1, "L": 1, "LA": 1, "RGB": 3, "P": 3, "CMYK": 3, "YCbCr": 3, "RGBA": 4} | (
    dict.fromkeys(SIXTEEN, 1)
)
# What is behind the transparent: a grey level, or None for the colours as they are stored.
BACKGROUNDS = {"": None, "none": None, "black": 0, "grey": 128, "white": 255}
BITS = (8, 10, 12, 14, 16)  # of values in 16, as instruments have them
OWN = 0  # bits: as many as the largest value of a file needs


def transparent(image) -> bool:
    """Whether Pillow's image, not decoded yet, may be transparent somewhere."""
    return image.mode in ("LA", "RGBA") or "transparency" in image.info


def sixteen(image) -> bool:
    """Whether its channels are stored in 16 bits, as far as that is known before decoding."""
    return image.mode in SIXTEEN or any("16" in str(part[-1]) for part in image.tile)


def bits_of(image) -> int:
    """Bits that the largest value of a decoded image of 16 bits needs, one of `BITS`."""
    levels = np.asarray(image)
    if image.mode not in SIXTEEN:  # of colours the lower 8 bits are lost
        levels = levels[..., : 3 if image.mode in ("RGB", "RGBA") else 1]
        return _needed(int(levels.max()) * 256 + 255)
    return _needed(int(levels.max()))


def _needed(value: int) -> int:
    return next(bits for bits in BITS if value < 2**bits or bits == BITS[-1])


def in_mode(image, mode: str, background: str = "", bits: int = 16):
    """The decoded image in that mode; what it was is freed."""
    behind = BACKGROUNDS[background]
    image.load()
    lay = mode != "RGBA" and behind is not None and transparent(image)
    if image.mode == mode and not lay:
        return image
    grey = _eight_bits(image, bits, lay) if image.mode in SIXTEEN else image
    if lay:
        converted = _laid_on(grey, behind).convert(mode)
    else:
        if mode != "RGBA":
            grey.info.pop("transparency", None)  # of which Pillow would warn that it is lost
        converted = grey.convert(mode)
    image.close()
    return converted


def _laid_on(image, grey: int):
    from PIL import Image

    colours = image.convert("RGBA")
    below = Image.new("RGBA", image.size, (grey, grey, grey, 255))
    below.alpha_composite(colours)
    return below.convert("RGB")


def _eight_bits(image, bits: int, alpha: bool):
    """The upper 8 of so many bits of grey; with alpha where a level is said to be transparent."""
    from PIL import Image

    levels = np.asarray(image)
    bits = bits or bits_of(image)
    grey = Image.fromarray(np.minimum(levels >> (bits - 8), 255).astype(np.uint8))
    if alpha:
        seen = np.where(levels == image.info["transparency"], 0, 255).astype(np.uint8)
        return Image.merge("LA", (grey, Image.fromarray(seen)))
    return grey
