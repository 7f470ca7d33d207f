"""Whether what a data set holds is what its `Info` says, before anything is made of it.

Of arrays whose rows are examples every row is looked at. Of others, and of what is streamed, some
examples are; of what is streamed each later one, too, when it is read.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from aigc_jax import refusals
from aigc_jax.data.dataset import Dataset, Info, Split, rows

ROWS = 1024  # looked at at a time
FEW = 8  # examples of a stream that are read beforehand
MANY = 1024  # examples that are looked at where they are no rows of arrays
SLACK = 1e-3  # that rounding may leave outside of [-1, 1]
# {name: (axes of an example, kinds of NumPy's dtypes, what is accepted in words)}
MEANT = {
    "image": (3, "uif", "[H, W, C] of uint8, or of float32 in [-1, 1]"),
    "label": (0, "ui", "[] of int32, 0 to num_classes - 1"),
    "tokens": (1, "ui", "[T + 1] of int32, 0 to vocab - 1"),
}


def check(dataset: Any) -> Dataset:
    """Refuses a data set that is not what it says; of streams, wrong examples when they are read.

    Raises:
      ValueError: names the split, the array, what it holds and what is accepted.
    """
    if not isinstance(dataset, Dataset):
        raise ValueError(
            f"config.data.name: what it names gives a {type(dataset).__name__}; accepted is an "
            "aigc_jax.data.dataset.Dataset"
        )
    info = dataset.info
    for fault in _contradictions(info):
        refusals.refuse(f"data.name = {info.name!r}: {fault}")
    if not info.num_classes:
        info = info._replace(class_names=())
    train = _checked(dataset.train, info, "train")
    held_out = _checked(dataset.eval, info, info.eval_split)
    return dataset._replace(info=info, train=train, eval=held_out)


def _contradictions(info: Info) -> Iterator[str]:
    """What an `Info` says that can't be."""
    sizes = dict(info.sizes)
    if info.eval_split == "train" or not {"train", info.eval_split} <= sizes.keys():
        yield (
            f"sizes are of {list(sizes)} and eval_split = {info.eval_split!r}; accepted are sizes "
            "of train and of another split, which eval_split names"
        )
    if info.shapes.keys() != info.dtypes.keys() or not info.shapes:
        yield f"shapes are of {list(info.shapes)} and dtypes of {list(info.dtypes)}; must be alike"
    for name, (axes, kinds, accepted) in MEANT.items():
        if name in info.shapes and name in info.dtypes:
            shape, dtype = tuple(info.shapes[name]), np.dtype(info.dtypes[name])
            if len(shape) != axes or 0 in shape or dtype.kind not in kinds:
                yield f"{name!r} is {dtype} {list(shape)}; accepted is {accepted}"
    counts = {"label": ("num_classes", info.num_classes), "tokens": ("vocab", info.vocab)}
    for name, (key, count) in counts.items():
        if (count > 0) != (name in info.shapes):
            there = "there are" if name in info.shapes else "there are no"
            yield f"{key} = {count} and {there} {name!r}; accepted is how many they are, 0 for none"
    names = info.class_names
    if names and info.num_classes and not len(names) == info.num_classes == len(set(names)):
        yield f"class_names = {names}; accepted are num_classes = {info.num_classes} different ones"


def _checked(split: Split, info: Info, name: str) -> Split:
    about = f"data.name = {info.name!r}: {name}"
    told = info.sizes.get(name)
    held = split.length if split.source is None else len(split.source)
    if not 0 < split.length == told == held:
        refusals.refuse(
            f"{about} has length {split.length}, {held} examples and in sizes {told}; accepted is "
            "one number above 0"
        )
    if split.source is None:
        _check_arrays(split, info, about)
        return split
    source = Checked(split.source, info, about)
    for i in _spread(held, FEW):
        source[int(i)]
    return split._replace(source=source) if refusals.strict() else split


def _described(info: Info) -> list[str]:
    return [name for name in info.shapes if name in info.dtypes]


def _spread(length: int, most: int) -> np.ndarray:
    """Up to `most` indices below `length`, the first and the last among them."""
    return np.unique(np.linspace(0, length - 1, min(length, most)).astype(int))


def _check_arrays(split: Split, info: Info, about: str) -> None:
    if not split.arrays or split.gather is None:
        raise ValueError(f"{about} has neither arrays with gather nor a source; accepted is one")
    arrays = {key: np.asarray(array) for key, array in split.arrays.items()}
    for key, array in arrays.items():
        _check_finite(key, array, about)
        if split.gather is rows and len(array) != split.length:
            refusals.refuse(
                f"{about} has {len(array):,} rows of {key!r} and length {split.length:,}; accepted "
                "are as many rows of each array"
            )
    shapes = {key: (split.length, *info.shapes[key]) for key in _described(info)}
    whole = [key for key in shapes if split.gather is rows or _shape(arrays, key) == shapes[key]]
    _refuse({key: arrays.get(key) for key in whole}, info, f"{about} holds")
    if split.gather is rows or split.length < 1:
        return
    try:
        found = split.gather(split.arrays, _spread(split.length, MANY))
        _refuse({key: found.get(key) for key in shapes}, info, f"{about} gives")
    except IndexError as error:
        refusals.refuse(f"{about} has length {split.length:,}, which gather exceeds ({error})")


def _shape(arrays: Mapping[str, np.ndarray], key: str) -> tuple[int, ...] | None:
    return arrays[key].shape if key in arrays else None


def _check_finite(key: str, array: np.ndarray, about: str) -> None:
    bad = bad_rows(array)
    if bad.size:
        raise ValueError(
            f"{about} holds NaN or infinity in {bad.size:,} of {len(array):,} rows of {key!r}, "
            f"first row {bad[0]}; accepted are finite values: leave such rows out, of the other "
            "arrays too"
        )


def bad_rows(array: np.ndarray) -> np.ndarray:
    """Indices of the rows of [N, ...] that hold NaN or infinity."""
    if not np.issubdtype(array.dtype, np.inexact):
        return np.zeros(0, np.int64)
    parts = [
        np.isfinite(array[i : i + ROWS]).reshape(len(array[i : i + ROWS]), -1).all(axis=1)
        for i in range(0, len(array), ROWS)
    ]
    return np.flatnonzero(~np.concatenate([np.zeros(0, bool), *parts]))


def _refuse(found: Mapping[str, Any], info: Info, about: str) -> None:
    """Refuses what is wrong with examples {name: [N, ...]}; None is what is not there."""
    for name, array in found.items():
        fault = "nothing" if array is None else _fault(name, np.asarray(array), info)
        if fault:
            refusals.refuse(f"{about} as {name!r} {fault}")


def _fault(name: str, array: np.ndarray, info: Info) -> str:
    """What examples [N, ...] of that name hold that they may not, "" if nothing."""
    shape, dtype = tuple(info.shapes[name]), np.dtype(info.dtypes[name])
    if array.shape[1:] != shape or array.dtype != dtype:
        return f"{array.dtype} {list(array.shape)}; Info says {dtype} {['N', *shape]}"
    accepted = _range(name, dtype, info)
    if accepted is None or not array.size or (name, dtype) == ("image", np.uint8):
        return ""
    low, high, told = accepted
    least, most = array.min(), array.max()
    finite = np.isfinite(least) and np.isfinite(most)
    if finite and (least < low or most > high):
        return f"{dtype} values from {least:g} to {most:g}; accepted are {told}"
    return ""


def _range(name: str, dtype: np.dtype, info: Info) -> tuple[float, float, str] | None:
    """(lowest, highest, in words) of the values that such an array may have, None is any."""
    if name == "image" and dtype.kind == "f":
        return -1 - SLACK, 1 + SLACK, "-1 to 1, or 0 to 255 as uint8"
    if name == "label" and info.num_classes:
        return 0, info.num_classes - 1, f"0 to {info.num_classes - 1}, as num_classes says"
    if name == "tokens" and info.vocab:
        return 0, info.vocab - 1, f"0 to {info.vocab - 1}, as vocab says"
    return {"image": (0, 255, "0 to 255"), "mask": (0, 1, "0 to 1")}.get(name)


@dataclasses.dataclass(frozen=True)
class Checked:
    """Streamed examples, each held against `info` when it is read.

    What is not finite is left to the guard, which skips such a step.
    """

    source: Sequence[Mapping[str, Any]]
    info: Info
    about: str

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        return self._checked(index, self.source[index])

    def __getitems__(self, indices: Sequence[int]) -> list[Mapping[str, Any]]:
        """Several examples at once, in the given order."""
        if not hasattr(self.source, "__getitems__"):
            return [self[int(i)] for i in indices]
        found = self.source.__getitems__(indices)
        return [self._checked(i, example) for i, example in zip(indices, found, strict=True)]

    def _checked(self, index: int, example: Mapping[str, Any]) -> Mapping[str, Any]:
        found = {key: example.get(key) for key in _described(self.info)}
        one = {
            key: None if value is None else np.asarray(value)[None] for key, value in found.items()
        }
        _refuse(one, self.info, f"{self.about}, example {index}, holds")
        return example


def remark(dataset: Dataset) -> str:
    """What of the images may be meant otherwise than it is taken, "" if nothing."""
    image = (dataset.train.arrays or {}).get("image")
    if image is None or not np.asarray(image).size:
        return ""
    least, most, about = np.min(image), np.max(image), f"data.name = {dataset.info.name!r}"
    if np.asarray(image).dtype.kind == "f" and least >= 0:
        return f"{about}: no value of 'image' is below 0; of floats -1 is black and 1 is white"
    if np.asarray(image).dtype.kind in "ui" and most <= 1:
        return f"{about}: no value of 'image' is above {most}; of integers 255 is white"
    return ""
