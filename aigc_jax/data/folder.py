"""A folder of the user's own PNG and JPEG files as an image set."""

import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aigc_jax.data.dataset import Info
from aigc_jax.data.images import MODES, Origin

SUFFIXES = (".png", ".jpg", ".jpeg")
# Channels that each of Pillow's modes becomes: a palette colours, grey with alpha grey.
DEPTHS = {"1": 1, "L": 1, "LA": 1, "RGB": 3, "P": 3, "CMYK": 3, "YCbCr": 3, "RGBA": 4}
LAYOUTS = (
    "DIR/*.png, DIR/<class>/*.png, or DIR/train/ and DIR/test/ with either of these inside "
    f"({', '.join(SUFFIXES)})"
)

Labelled = tuple[pathlib.Path, str | None]  # a file and its class


def _listing(folder: pathlib.Path) -> list[pathlib.Path]:
    try:
        return sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    except OSError as error:
        raise ValueError(f"image folder {folder}: can't be read ({error.strerror})") from error


def _images(folder: pathlib.Path) -> list[pathlib.Path]:
    return [p for p in _listing(folder) if p.suffix.lower() in SUFFIXES]


def _labelled(folder: pathlib.Path) -> list[Labelled]:
    """The files of `folder/*.png` without class, or of `folder/<class>/*.png` with it.

    Raises:
      ValueError: there are no images, or both kinds.
    """
    flat = [(path, None) for path in _images(folder)]
    classes = [p for p in _listing(folder) if p.is_dir()]
    nested = [(path, c.name) for c in classes for path in _images(c)]
    if flat and nested:
        raise ValueError(
            f"image folder {folder}: {flat[0][0].name} has no class but {nested[0][0]} has one. "
            f"Accepted: {LAYOUTS}"
        )
    if not flat and not nested:
        raise ValueError(f"image folder {folder}: no images. Accepted: {LAYOUTS}")
    return flat or nested


def _rank(path: pathlib.Path, root: pathlib.Path) -> int:
    """A fixed pseudo-random number of a file, from its path inside the folder."""
    return int(hashlib.sha256(path.relative_to(root).as_posix().encode()).hexdigest(), 16)


def _splits(root: pathlib.Path) -> tuple[dict[str, list[Labelled]], str]:
    """The files of each split in a fixed shuffled order, and the name of the evaluation split.

    Without a test folder, a file is for validation when its hash is a multiple of ten, so that it
    stays there when files are added.
    """

    def ranked(files):
        return sorted(files, key=lambda file: _rank(file[0], root))

    folders = {p.name for p in _listing(root) if p.is_dir()}
    files = ranked(_labelled(root / "train" if "train" in folders else root))
    if "train" in folders and "test" in folders:
        return {"train": files, "test": ranked(_labelled(root / "test"))}, "test"
    if len(files) < 2:
        raise ValueError(f"image folder {root}: one image; training and validation need two")
    held_out = {file for file in files if _rank(file[0], root) % 10 == 0}
    if len(held_out) in (0, len(files)):
        held_out = {files[0]}
    train = [file for file in files if file not in held_out]
    return {"train": train, "validation": [f for f in files if f in held_out]}, "validation"


def _opened(path: pathlib.Path):
    """The Pillow image of a file, upright; pixels are decoded later where its header allows.

    Raises:
      ValueError: names the file that can't be read.
    """
    from PIL import Image, ImageOps

    try:
        image = Image.open(path)
        ImageOps.exif_transpose(image, in_place=True)  # cameras store photographs lying down
    except (OSError, SyntaxError) as error:
        raise ValueError(f"image file {path}: can't be read as PNG or JPEG ({error})") from error
    if image.mode not in DEPTHS:
        raise ValueError(
            f"image file {path}: pixels of kind {image.mode!r}; accepted are 8 bits per channel, "
            f"Pillow's modes {', '.join(DEPTHS)}"
        )
    return image


def _shape(path: pathlib.Path) -> tuple[int, int, int]:
    """[H, W, C] from a file's header."""
    with _opened(path) as image:
        return image.height, image.width, DEPTHS[image.mode]


def decoded(path: pathlib.Path, channels: int) -> np.ndarray:
    """The pixels of a file, uint8 [H, W, C].

    Raises:
      ValueError: names the file that can't be decoded.
    """
    with _opened(path) as image:
        try:
            pixels = np.asarray(image.convert(MODES[channels]))
        except (OSError, SyntaxError, ValueError) as error:
            raise ValueError(f"image file {path}: can't be decoded ({error})") from error
    return pixels.reshape(*pixels.shape[:2], channels)


@dataclasses.dataclass(frozen=True)
class Files:
    """Labelled image files as examples, decoded when they are asked for."""

    files: Sequence[Labelled]
    classes: Mapping[str, int]
    channels: int

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> dict[str, Any]:
        path, name = self.files[index]
        image = {"image": decoded(path, self.channels)}
        return {**image, "label": self.classes[name]} if self.classes else image


def _check_equal(files: Sequence[Labelled], image_size: int | None, channels: int | None) -> None:
    """Raises a ValueError naming two files whose images differ in what no option sets."""
    first = files[0][0]
    height, width, depth = _shape(first)
    for path, _ in files:
        other = _shape(path)
        if not image_size and other[:2] != (height, width):
            raise ValueError(
                f"{first} is {width}x{height} pixels and {path} is {other[1]}x{other[0]}: "
                "set data.image_size to resize all images to a square of that size"
            )
        if not channels and other[2] != depth:
            raise ValueError(
                f"{first} has {depth} channels and {path} has {other[2]}: "
                f"set data.channels to one of {sorted(MODES)}"
            )


def origin(folder: str | os.PathLike, image_size: int | None, channels: int | None) -> Origin:
    """A folder as an image set; only names, sizes and one header are read before it is opened.

    Opening it raises a ValueError naming the file for images that can't be read, or that differ in
    size or channels while `image_size` or `channels` does not make them equal.
    """
    root = pathlib.Path(folder)
    splits, eval_split = _splits(root)
    classes = sorted({name for _, name in splits["train"] if name})
    for path, name in splits[eval_split]:
        if (name or "") not in (classes or [""]):
            raise ValueError(f"image folder {root}: {path} is of no class of train/: {classes}")
    files = [file for split in splits.values() for file in split]
    stats = {p.relative_to(root).as_posix(): p.stat() for p, _ in sorted(files, key=str)}
    shape = _shape(splits["train"][0][0])
    labels = {name: i for i, name in enumerate(classes)}

    def open():
        _check_equal(files, image_size, channels)
        return {name: Files(split, labels, channels or shape[2]) for name, split in splits.items()}

    sizes = [[name, stat.st_size] for name, stat in stats.items()]
    info = Info(
        name=root.resolve().name,
        sizes={name: len(split) for name, split in splits.items()},
        eval_split=eval_split,
        shapes={"image": shape, **({"label": ()} if classes else {})},
        dtypes={"image": "uint8", **({"label": "int32"} if classes else {})},
        num_classes=len(classes),
        fingerprint={
            "files": len(sizes),
            "bytes": sum(size for _, size in sizes),
            "names_and_sizes_sha256": hashlib.sha256(repr(sizes).encode()).hexdigest(),
        },
    )
    return Origin(info, open, [[name, s.st_size, s.st_mtime_ns] for name, s in stats.items()])
