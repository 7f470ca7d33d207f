"""Image sets of any origin as raw uint8 examples: in memory when they fit, else decoded lazily.

Whatever its origin (`known`, a folder, a set prepared by TFDS), a set is its description and a
function that opens its splits; sizes, channels, limits and the array cache are the same for all.
"""

import dataclasses
import json
import math
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from aigc_jax import refusals
from aigc_jax.data import builders, cache, image_file
from aigc_jax.data.dataset import Dataset, Info, Split, rows
from aigc_jax.data.dirt import Unusable, say
from aigc_jax.data.pixels import MODES
from aigc_jax.data.refused import Refused

CHUNK = 1024  # examples read at a time: array_record reads many much faster than one by one


class Origin(NamedTuple):
    """An image set before resizing.

    `open()` gives the splits "train" and `info.eval_split`, sequences of raw examples, of which
    "image" is uint8 [H, W, C].
    `state` is a JSON value that changes when the content may have changed.
    `note` is what a user should know of the set before it is used, "" is nothing.
    `refused` counts what decoding finds damaged, if that may be left out.
    """

    info: Info
    open: Callable[[], Mapping[str, Sequence[Mapping[str, Any]]]]
    state: Any
    note: str = ""
    refused: Refused | None = None


def known(name: str, manual_dir: str | os.PathLike | None, data_dir: str | os.PathLike) -> Origin:
    """One of `builders.SETS`, prepared by TFDS under `data_dir` when it is opened."""
    return from_set(builders.SETS[name], manual_dir, data_dir)


def from_set(
    image_set: builders.ImageSet,
    manual_dir: str | os.PathLike | None,
    data_dir: str | os.PathLike,
) -> Origin:
    """An image set with a builder of ours."""
    fingerprint = {"version": builders.VERSION, "sha256": dict(image_set.content)}

    def open():
        root = pathlib.Path(data_dir)
        with cache.exclusive(root / f".{image_set.name}.lock"):
            builder = builders.builder(image_set, manual_dir, root)
            builder.download_and_prepare()
        return builder.as_data_source()

    info = Info(
        name=image_set.name,
        sizes=image_set.sizes,
        eval_split="test",
        shapes={"image": image_set.shape, "label": ()},
        dtypes={"image": "uint8", "label": "int32"},
        num_classes=image_set.num_classes,
        fingerprint=fingerprint,
        class_names=image_set.class_names,
    )
    return Origin(info, open, fingerprint)


def describe(origin: Origin, image_size: int | None, channels: int | None, limit: int | None):
    """The `Info` of a set whose images are resized to image_size x image_size x channels."""
    info = origin.info
    height, width, depth = info.shapes["image"]
    if image_size:
        height = width = image_size
    train = min(info.sizes["train"], limit or info.sizes["train"])
    sizes = {"train": train, info.eval_split: info.sizes[info.eval_split]}
    shapes = {**info.shapes, "image": (height, width, channels or depth)}
    return info._replace(sizes=sizes, shapes=shapes)


def resized(image: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """An image uint8 [h, w, c] as uint8 [H, W, C]: cut to the aspect ratio, then bilinear.

    What is cut is the same on both sides, so that a square of a photograph is its middle.
    """
    from PIL import Image, ImageOps

    if image.shape == shape:
        return image
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    picture = picture.convert(MODES[shape[-1]])
    size = (shape[1], shape[0])
    if picture.size != size:
        picture = ImageOps.fit(picture, size, Image.Resampling.BILINEAR)
    return np.asarray(picture).reshape(shape)


def read(
    path: str | os.PathLike, shape: Sequence[int], background: str = "", bits: int | None = None
) -> np.ndarray:
    """A user's image file as training would see it, f32 [H, W, C] in [-1, 1].

    It is turned upright, given `shape`'s channels, cut at both sides to its aspect ratio and
    resized.

    Raises:
      ValueError: the file can't be read, or holds what the data that were trained on did not:
        transparency without a `background`, or values of fewer than 16 bits without `bits`.
    """
    try:
        path = pathlib.Path(path)
        if not path.exists():
            raise Unusable("other", "does not exist")
        header, channels = image_file.header(path), shape[-1]
        _check_like_trained(path, header, channels, background, bits)
        pixels = resized(image_file.decoded(path, channels, background, bits or 16), tuple(shape))
    except (Unusable, OSError) as error:
        raise ValueError(
            f"{os.fspath(path)!r} cannot be read as an image ({error}); accepted are "
            f"{', '.join(image_file.FORMATS)}, as training reads them"
        ) from error
    return pixels.astype(np.float32) / 127.5 - 1


def _check_like_trained(
    path: pathlib.Path, header: image_file.Header, channels: int, background: str, bits: int | None
) -> None:
    """Raises Unusable for transparency or levels that a run's data say nothing about."""
    lost = header.transparent and channels != 4 and not background
    if lost and image_file.decoded(path, 4)[..., 3].min() < 255:
        raise Unusable("other", "is transparent, and the run has no data.background")
    accepted = header.bits == 16 if bits is None else header.bits <= bits
    if header.deep and (not accepted or (header.colours and bits not in (None, 16))):
        told = f"of its 16 bits {header.bits} are used, and the run has data.bits = {bits}"
        raise Unusable("other", told)


@dataclasses.dataclass(frozen=True)
class Examples:
    """The first `length` examples of a source, decoded and resized when they are asked for."""

    source: Sequence[Mapping[str, Any]]
    info: Info
    length: int

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, np.ndarray]]:
        """Several examples at once, in the given order."""
        wanted = [int(i) for i in indices]
        if hasattr(self.source, "__getitems__"):
            return [self._example(raw) for raw in self.source.__getitems__(wanted)]
        return [self._example(self.source[i]) for i in wanted]

    def _example(self, raw: Mapping[str, Any]) -> dict[str, np.ndarray]:
        shapes, dtypes = self.info.shapes, self.info.dtypes
        image = resized(raw["image"], shapes["image"])
        return {n: image if n == "image" else np.asarray(raw[n], dtypes[n]) for n in shapes}


def _stacked(examples: Examples, info: Info) -> dict[str, np.ndarray]:
    """All examples as arrays [N, ...]."""
    total = len(examples)
    arrays = {n: np.empty((total, *info.shapes[n]), info.dtypes[n]) for n in info.shapes}
    for start in range(0, total, CHUNK):
        part = range(start, min(start + CHUNK, total))
        for i, example in zip(part, examples.__getitems__(part), strict=True):
            for name, value in example.items():
                arrays[name][i] = value
    return arrays


def _damage(origin: Origin) -> dict[str, np.ndarray]:
    """What decoding has found, to be kept beside the arrays that were made without it."""
    if origin.refused is None:
        return {}
    return {"damaged": np.frombuffer(json.dumps(origin.refused.damaged).encode(), np.uint8)}


def _judged(origin: Origin, arrays: Mapping[str, np.ndarray]) -> int:
    """How many files the arrays were made without; said, if decoding found any of them damaged.

    Raises:
      ValueError: they are more than may be left out, now as when they were found.
    """
    if origin.refused is None:
        return origin.info.rejected
    origin.refused.add(json.loads(arrays["damaged"].tobytes()))
    if origin.refused.damaged:
        say(origin.refused.summary())
    return origin.refused.count()


def _check_classes(info: Info, labels: Sequence[int]) -> None:
    """Refuses classes that damage has left without an image to train on."""
    lost = [name for i, name in enumerate(info.class_names) if i not in labels]
    if lost:
        refusals.refuse(
            f"image folder {info.name}: none of the files of class {', '.join(lost)} can be used "
            "to train on; accepted are classes with at least one: mend the files, or take the "
            "folder away"
        )


def _bytes(info: Info) -> int:
    return sum(info.sizes.values()) * math.prod(info.shapes["image"])


def load(
    origin: Origin,
    *,
    data_dir: str | os.PathLike,
    image_size: int | None = None,
    channels: int | None = None,
    limit: int | None = None,
    max_memory_gib: float = 1.0,
) -> Dataset:
    """The set as arrays if its decoded images take at most `max_memory_gib`, else lazily decoded.

    Arrays are cached under `data_dir`, so that only the first call opens the origin; what it found
    damaged is kept with them, so that later calls count and judge it alike.
    """
    if origin.note:
        say(origin.note)
    info = describe(origin, image_size, channels, limit)
    names = ("train", info.eval_split)

    def examples():
        opened = origin.open()
        return [Examples(opened[name], info, info.sizes[name]) for name in names]

    def decoded():
        stacked = zip(names, (_stacked(part, info) for part in examples()), strict=True)
        arrays = {f"{name}.{k}": array for name, part in stacked for k, array in part.items()}
        return arrays | _damage(origin)

    if _bytes(info) > max_memory_gib * 2**30:
        return Dataset(info, *(Split(len(part), source=part) for part in examples()))
    key = cache.digest([origin.state, dict(info.sizes), dict(info.shapes)])
    arrays = cache.cached(pathlib.Path(data_dir) / "arrays" / f"{info.name}-{key}", decoded)
    info = info._replace(rejected=_judged(origin, arrays))
    if origin.refused and origin.refused.damaged and not limit:
        _check_classes(info, arrays.get("train.label", ()))
    parts = [{k: arrays[f"{name}.{k}"] for k in info.shapes} for name in names]
    return Dataset(info, *(Split(len(part["image"]), part, rows) for part in parts))
