"""Small pictures and excerpts of files, to be looked at in a page."""

import base64
import io
import pathlib

import numpy as np

from aigc_jax.data import image_file, midi, pixels
from aigc_jax.data.dirt import Unusable

SIDE = 112  # pixels of the longer side
EXCERPT = 240  # characters
ROLL = (56, 112)  # rows and columns of a piano roll


def picture(path: pathlib.Path) -> str:
    """A data: URI of a small picture of an image or of the notes in a MIDI file, "" if none."""
    try:
        if path.suffix.lower() in (".mid", ".midi"):
            return _uri(_roll(path))
        with image_file.picture(path, background="white", bits=pixels.OWN) as image:
            return _uri(pixels.in_mode(image, "RGB", "white") if image.mode == "RGBA" else image)
    except (Unusable, OSError):
        return ""


def excerpt(path: pathlib.Path) -> str:
    """The beginning of a file as text, bytes that are none as \\x.. ."""
    try:
        with path.open("rb") as file:
            return file.read(EXCERPT).decode("utf-8", "backslashreplace").replace("\0", "\\x00")
    except OSError:
        return ""


def _uri(image) -> str:
    """PNG of Pillow's image if it is small already, so that its pixels stay; else JPEG."""
    small = max(image.size) <= SIDE
    image.thumbnail((SIDE, SIDE))
    name = "PNG" if small else "JPEG"
    file = io.BytesIO()
    image.save(file, name, **({} if name == "PNG" else {"quality": 80}))
    return f"data:image/{name.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"


def _roll(path: pathlib.Path):
    """Pillow's image of notes as dark bars on white; time runs to the right."""
    from PIL import Image

    notes = midi.read(path).notes
    start, length, pitch, _ = notes.T
    rows, columns = ROLL
    span = max(int(pitch.max() - pitch.min()), 24)
    row = rows - 2 - (pitch - pitch.min()) * (rows - 3) // span
    scale = columns / max(int((start + length).max()), 1)
    roll = np.full((rows, columns), 255, np.uint8)
    for y, x, end in zip(row, start * scale, (start + length) * scale, strict=True):
        roll[y : y + 2, int(x) : max(int(end), int(x) + 1)] = 40
    return Image.fromarray(roll)
