"""Points of the plane, to models images [N, 1, 1, 2] in [-1, 1], as pictures and files."""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aigc_jax.media import images as pictures
from aigc_jax.media.provenance import check_writable

SHAPE = (1, 1, 2)  # of a point as an image
REACH = 1.08  # what is shown, in each direction, of the plane around the box
PAPER, FRAME, GUIDE, INK = (np.array(c) for c in ([250] * 3, [150] * 3, [228] * 3, [24, 62, 130]))
DOT = 1.1  # standard deviation of a point's spot, pixels
DARKNESS = 1.6  # of a spot's middle: one point alone is 1 - exp(-1.6) = 80 % ink


def scatter(points: np.ndarray, size: int = 480) -> np.ndarray:
    """Points [N, 2] as a picture uint8 [size, size, 3]: where more of them lie it is darker.

    x is to the right, y upwards; the box is [-1, 1] x [-1, 1], guides go through 0. Points further
    out than 8 % beyond the box are not shown.

    Raises:
      ValueError: the points are not [N, 2], or not finite.
    """
    points = np.asarray(points, np.float64)
    if points.ndim != 2 or points.shape[-1] != 2:
        raise ValueError(f"points of shape {points.shape}: accepted are [N, 2]")
    if not np.isfinite(points).all():
        raise ValueError("points hold values that are not finite; accepted are values in [-1, 1]")
    canvas = _axes(size)
    ink = 1 - np.exp(-DARKNESS * _spots(points, size))[..., None]
    return np.round(canvas * (1 - ink) + INK * ink).astype(np.uint8)


def overview(images: np.ndarray) -> np.ndarray:
    """One picture uint8 [H, W, C] of samples: a scatter plot of points, else `images.grid`."""
    if np.shape(images)[1:] == SHAPE:
        return scatter(np.reshape(images, (-1, 2)))
    return pictures.grid(images)


def write(
    folder: str | os.PathLike,
    images: np.ndarray,
    provenance: Mapping[str, Any],
    each: Mapping[str, Sequence] = {},
) -> list[pathlib.Path]:
    """Writes samples [N, H, W, C]: points as `grid.png` and `samples.npz`, others as images.

    `grid.png` is their scatter plot, the npz file holds `points` float32 [N, 2]; the rest is as in
    `images.write_images`, which writes everything else.
    """
    if np.shape(images)[1:] != SHAPE:
        return pictures.write_images(folder, images, provenance, each)
    folder = check_writable(folder)
    points = np.asarray(images, np.float32).reshape(-1, 2)
    pictures.write_png(folder / "grid.png", scatter(points), provenance)
    pictures.write_npz(folder / "samples.npz", {"points": points, **each}, provenance)
    return [folder / "grid.png", folder / "samples.npz"]


def _pixels(values: np.ndarray, size: int) -> np.ndarray:
    """Coordinates in [-REACH, REACH] as places in pixels, 0 .. size - 1."""
    return (values / REACH + 1) / 2 * (size - 1)


def _axes(size: int) -> np.ndarray:
    """The empty plot f64 [size, size, 3]."""
    canvas = np.full((size, size, 3), PAPER, np.float64)
    low, middle, high = np.round(_pixels(np.array([-1.0, 0.0, 1.0]), size)).astype(int)
    inside = slice(low, high + 1)
    canvas[middle, inside] = canvas[inside, middle] = GUIDE
    for edge in (low, high):
        canvas[edge, inside] = canvas[inside, edge] = FRAME
    return canvas


def _spots(points: np.ndarray, size: int) -> np.ndarray:
    """The sum of a Gaussian spot of height 1 at each point, f64 [size, size]."""
    shown = points[(np.abs(points) < REACH).all(-1)]
    column, row = np.round(_pixels(shown * [1, -1], size)).astype(int).T
    counts = np.zeros((size, size))
    np.add.at(counts, (row, column), 1)
    reach = np.arange(-4, 5)
    kernel = np.exp(-0.5 * (reach / DOT) ** 2)
    for axis in (0, 1):
        counts = np.apply_along_axis(np.convolve, axis, counts, kernel, mode="same")
    return counts
