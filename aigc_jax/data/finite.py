"""What is not a number in the arrays of a user's own data function, before it reaches training."""

import numpy as np

from aigc_jax.data.dataset import Dataset

ROWS = 1024  # looked at at a time


def check(dataset: Dataset) -> None:
    """Refuses arrays with NaN or infinity; of data that is streamed nothing is known beforehand.

    Raises:
      ValueError: names the split, the array, how many rows are bad and the first of them.
    """
    splits = {"train": dataset.train, dataset.info.eval_split: dataset.eval}
    for split_name, split in splits.items():
        for name, array in (split.arrays or {}).items():
            bad = bad_rows(np.asarray(array))
            if bad.size:
                raise ValueError(
                    f"data.name = {dataset.info.name!r}: {bad.size:,} of {len(array):,} rows of "
                    f"{name!r} in {split_name} hold NaN or infinity, first row {bad[0]}; accepted "
                    "are finite values: leave such rows out, of the other arrays too"
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
