"""Images [N, H, W, C] in [-1, 1] to PNG files, a grid for the eye and an npz file."""

import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aigc_jax.media.provenance import CHUNK, check_writable, of_sample, stems, to_text

MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # Pillow's name for C channels
TILE = 64  # pixels that the longer side of a picture in a grid has at least
GAP = 2  # white pixels between pictures
WHITE = 255


def to_uint8(images: np.ndarray) -> np.ndarray:
    """[-1, 1] to 0..255, the nearest level; values outside are clipped.

    Raises:
      ValueError: the images are not [N, H, W, C], or not finite.
    """
    images = np.asarray(images)
    if images.ndim != 4 or not images.shape[-1]:
        raise ValueError(f"images of shape {images.shape}: accepted are [N, H, W, C]")
    if not np.isfinite(images).all():
        raise ValueError("images hold values that are not finite; accepted are values in [-1, 1]")
    return np.round((np.clip(images.astype(np.float32), -1, 1) + 1) * 127.5).astype(np.uint8)


def visible(pixels: np.ndarray) -> np.ndarray:
    """[N, H, W, C] as pictures of 1, 3 or 4 channels: of another number, beside each other in grey.

    So two channels of [H, W] become one picture [H, 2 W, 1].
    """
    count, height, _, channels = pixels.shape
    if channels in MODES:
        return pixels
    return pixels.transpose(0, 1, 3, 2).reshape(count, height, -1, 1)


def grid(images: np.ndarray, columns: int | None = None) -> np.ndarray:
    """All images [N, H, W, C] side by side, uint8 [rows, cols, C], row by row from the left.

    Channels that are no colours stand beside each other, see `visible`.

    Small images are enlarged by a whole factor to at least 64 pixels, smoothly (bicubic): eight by
    eight squares are hard to read as a digit. `columns` is by default the smallest number that
    makes the grid no taller than wide.
    """
    pixels = visible(to_uint8(images))
    count, height, width, channels = pixels.shape
    factor = max(1, -(-TILE // max(height, width)))
    pixels = np.stack([_enlarged(picture, factor) for picture in pixels])
    columns = columns or math.isqrt(count - 1) + 1
    rows = -(-count // columns)
    tall, wide = height * factor + GAP, width * factor + GAP
    canvas = np.full((rows * tall + GAP, columns * wide + GAP, channels), WHITE, np.uint8)
    for i, picture in enumerate(pixels):
        top, left = GAP + i // columns * tall, GAP + i % columns * wide
        canvas[top : top + tall - GAP, left : left + wide - GAP] = picture
    return canvas


def _enlarged(pixels: np.ndarray, factor: int) -> np.ndarray:
    """uint8 [H, W, C] -> [factor H, factor W, C]."""
    from PIL import Image

    height, width, channels = pixels.shape
    picture = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    picture = picture.resize((width * factor, height * factor), Image.Resampling.BICUBIC)
    return np.asarray(picture).reshape(height * factor, width * factor, channels)


def side_by_side(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """A grid of pairs: each image of `left` with the one of `right` beside it, four pairs a row."""
    pairs = np.stack([left, right], 1).reshape(-1, *left.shape[1:])
    return grid(pairs, columns=8)


def write_png(path: str | os.PathLike, pixels: np.ndarray, provenance: Mapping[str, Any]) -> None:
    """A PNG of uint8 [H, W, C] that carries its provenance; equal input gives equal bytes."""
    from PIL import Image, PngImagePlugin

    chunks = PngImagePlugin.PngInfo()
    chunks.add_itxt(CHUNK, to_text(provenance))
    flat = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
    Image.fromarray(flat).save(path, format="PNG", pnginfo=chunks)


def write_images(
    folder: str | os.PathLike,
    images: np.ndarray,
    provenance: Mapping[str, Any],
    each: Mapping[str, Sequence] = {},
) -> list[pathlib.Path]:
    """Writes `grid.png`, each image as `000.png`, ..., and `samples.npz`; returns their paths.

    Args:
      folder: made if it is not there.
      images: [N, H, W, C] in [-1, 1], N at least 1; as pictures see `visible`.
      provenance: see `provenance.mark`; the files carry it, each picture with its index.
      each: what else is to be said of each image, {name: values [N]}, such as its "label".

    The npz file holds `images` uint8 [N, H, W, C], the arrays of `each`, and the provenance. The
    same call writes the same bytes.
    """
    folder = check_writable(folder)
    pixels = to_uint8(images)
    paths = [folder / "grid.png", *(folder / f"{stem}.png" for stem in stems(len(pixels)))]
    write_png(paths[0], grid(images), provenance)
    for i, (path, picture) in enumerate(zip(paths[1:], visible(pixels), strict=True)):
        write_png(path, picture, of_sample(provenance, each, i))
    write_npz(folder / "samples.npz", {"images": pixels, **each}, provenance)
    return [*paths, folder / "samples.npz"]


def write_npz(
    path: str | os.PathLike, arrays: Mapping[str, Sequence], provenance: Mapping[str, Any]
) -> None:
    """Arrays and their provenance; equal input gives equal bytes: NumPy dates all 1980-01-01."""
    marked = {**arrays, CHUNK: to_text(provenance)}
    np.savez_compressed(path, **{name: np.array(value) for name, value in marked.items()})
