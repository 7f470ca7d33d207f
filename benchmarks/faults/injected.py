"""Numbers that are not finite, for runs to meet: a data set, and a weight of a loss."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from aigc_jax.data import load
from aigc_jax.data.dataset import Dataset, Info, Split, rows
from aigc_jax.data.order import indices

SIZE, BATCH, SEED = 40_000, 64, 0


def digits(
    *, first: int = 0, last: int = -1, data_dir: str = "", limit: int | None = None
) -> Dataset:
    """Digits f32 [8, 8, 1] repeated to 40,000; batches number `first` to `last` of 64 are NaN.

    That is of the first epoch of a run with seed 0; each of them is met once there. They are
    streamed, since arrays that are not finite are refused before a run.
    """
    whole = load.load({"name": "digits", "data_dir": data_dir})
    scaled = [split.arrays["image"].astype(np.float32) / 127.5 - 1 for split in whole[1:3]]
    train, test = scaled[0][np.arange(SIZE) % len(scaled[0])], scaled[1]
    for cursor in range(first, last + 1):
        train[indices(SEED, cursor, BATCH, SIZE)] = np.nan
    info = Info(
        name="digits with holes",
        sizes={"train": SIZE, "test": len(test)},
        eval_split="test",
        shapes={"image": train.shape[1:]},
        dtypes={"image": "float32"},
    )
    streamed = Split(SIZE, source=[{"image": image} for image in train])
    return Dataset(info, streamed, Split(len(test), {"image": test}, rows))


def broken_from(value: float, *, steps: int, first: int) -> Callable:
    """A weight that is NaN from update number `first` on."""
    return lambda step: jnp.where(step + 1 >= first, jnp.nan, value)
