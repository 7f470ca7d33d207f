"""What every metric refuses: wrong shapes, values that are not finite, too few samples."""

import numpy as np
from numpy.typing import ArrayLike


def features(values: ArrayLike, name: str, metric: str) -> np.ndarray:
    """The values as NumPy [N, F], f64 or uint8 if they were, else f32.

    Raises:
      ValueError: where they are not [N, F] with at least one of each, or not finite.
    """
    array = np.asarray(values)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"{name} of shape {array.shape}: {metric} needs [samples, dimensions]")
    if array.dtype == np.uint8:
        return array
    array = array.astype(np.float64 if array.dtype == np.float64 else np.float32, copy=False)
    wrong = ~np.isfinite(array)
    if wrong.any():
        raise ValueError(
            f"{name}: {wrong.sum()} of {wrong.size} values are NaN or infinite, in "
            f"{wrong.any(axis=1).sum()} of {len(array)} samples; {metric} accepts finite ones only"
        )
    return array


def pair(
    a: ArrayLike, b: ArrayLike, names: tuple[str, str], metric: str
) -> tuple[np.ndarray, np.ndarray]:
    """Both as `features` makes them.

    Raises:
      ValueError: as `features`, and where they differ in dimensions.
    """
    a, b = features(a, names[0], metric), features(b, names[1], metric)
    if a.shape[1] != b.shape[1]:
        raise ValueError(
            f"{names[0]} has {a.shape[1]} dimensions and {names[1]} has {b.shape[1]}: "
            f"{metric} needs the same number"
        )
    return a, b


def enough(array: np.ndarray, name: str, metric: str, least: int, why: str) -> None:
    """Refuses fewer than `least` samples; `why` says where that number comes from.

    Raises:
      ValueError: naming the count, the rule and its reason.
    """
    if len(array) < least:
        raise ValueError(f"{name} of {len(array)} samples: {metric} needs at least {least}, {why}")
