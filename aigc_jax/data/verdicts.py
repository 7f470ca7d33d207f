"""Which files of an image folder can be used, from headers and endings alone, decided once."""

import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from aigc_jax.data import cache, image_file
from aigc_jax.data.dirt import Unusable, shown

THREADS = 8  # that wait for headers from a slow disk
VERSION = 3  # of the rules: another one has all files examined again

Shape = tuple[int, int, int]


def stamped(root: pathlib.Path, path: pathlib.Path) -> list[Any]:
    """[path inside root, bytes, time] of a file: equal as long as it is taken to be unchanged."""
    name = path.relative_to(root).as_posix()
    try:
        stat = path.stat()
    except OSError:
        return [name, None, None]  # a link to nowhere
    return [name, stat.st_size, stat.st_mtime_ns]


def examined(
    root: pathlib.Path, stamps: Sequence[Sequence[Any]], data_dir: str | os.PathLike | None
) -> tuple[np.ndarray, list[str], np.ndarray]:
    """Shapes int32 [N, 3] of the stamped files, and why they can't be used ("": they can).

    Third come details int32 [N, 4]: `transparent`, `bits`, `deep`, `colours` of headers.

    They are kept under `data_dir`, if that is given, until a stamp changes.

    Raises:
      ValueError: the disk fails, or a file may not be read.
    """

    def examine():
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(THREADS) as pool:
            found = list(pool.map(_examined, [root / stamp[0] for stamp in stamps]))
        reasons = json.dumps([reason for _, reason in found]).encode()
        return {
            "shapes": np.array([header.shape for header, _ in found], np.int32),
            "details": np.array([header[1:] for header, _ in found], np.int32),
            "reasons": np.frombuffer(reasons, np.uint8),
        }

    if data_dir is None:
        arrays = examine()
    else:
        key = cache.digest([VERSION, str(root.resolve()), stamps])
        arrays = cache.cached(pathlib.Path(data_dir) / "arrays" / f"files-{key}", examine)
    return arrays["shapes"], json.loads(arrays["reasons"].tobytes()), arrays["details"]


def _examined(path: pathlib.Path) -> tuple[image_file.Header, str]:
    try:
        return image_file.header(path), ""
    except Unusable as error:
        return image_file.Header((0, 0, 0), False, 8, False, False), error.reason
    except OSError as error:
        raise ValueError(f"image file {shown(path)}: can't be read ({error.strerror})") from error


def agreed(
    shapes: np.ndarray, reasons: Sequence[str], image_size: int | None, channels: int | None
) -> tuple[Shape, list[str]]:
    """The shape [H, W, C] that most usable files have, and the reasons with those that differ.

    Sizes may differ where `image_size` is set, and channels where `channels` is.
    """
    told, usable = list(reasons), np.array([not reason for reason in reasons])
    if not usable.any():
        return (0, 0, 0), told
    height, width = _most(shapes[usable, :2])
    (depth,) = _most(shapes[usable, 2:])
    of_size = (shapes[:, :2] == (height, width)).all(axis=1) | bool(image_size)
    of_depth = (shapes[:, 2] == depth) | bool(channels)
    for i in np.flatnonzero(usable & ~(of_size & of_depth)):
        found = shapes[i]
        told[i] = (
            f"has {found[2]} channels and most have {depth} (data.channels makes them equal)"
            if of_size[i]
            else f"is {found[1]}x{found[0]} pixels and most are {width}x{height} (data.image_size "
            "makes them equal)"
        )
    return (height, width, depth), told


def _most(rows: np.ndarray) -> list[int]:
    """The most frequent row; of equally frequent ones the first."""
    values, first, counts = np.unique(rows, axis=0, return_index=True, return_counts=True)
    return values[np.lexsort((first, -counts))[0]].tolist()
