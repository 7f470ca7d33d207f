"""Runs whose rows say which examples every step was given, and in which order; no test itself.

`make` is an algorithm and `numbers` a data set of a user's own. The algorithm draws noise and has
weights that a mesh can divide, but compiles in a fraction of the time of a real one. As a config,
this file is for `commands.train_args(workdir, ordered.CONFIG, ...)`.
"""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from aigc_jax import core
from aigc_jax.data.dataset import Dataset, Info, Split, rows
from aigc_jax.data.order import indices

CONFIG = f"{__file__}:numbers"
SIZE, BATCH, DIM = 40, 16, 8
SHAPE = (4, 4, 1)


def get_config(arg):
    """Of the data set `numbers`, or of the folder that `arg` names."""
    return {
        "batch_size": BATCH,
        "num_samples": 4,
        "ema_decay": 0.9,
        "algorithm": {"name": "ordered:make"},
        "optimizer": {"model": {"name": "adam", "learning_rate": 0.01}},
        "data": {"name": "ordered:numbers" if arg == "numbers" else arg},
    }


def make(*, example, tx, accumulate=1):
    """An algorithm with the metric "order" = sum over b of (b + 1) * (the grey of image b)."""

    def grey(batch):
        return batch["image"][:, 0, 0, 0]

    def errors(weights, batch, keys):
        seen = grey(batch)[:, None] + core.normal(keys, (DIM,))
        return ((seen * weights - 1) ** 2).mean(1)

    def loss(params, mutable, batch, keys, step):
        whole = jnp.round((grey(batch) + 1) * 127.5)  # small enough for exact sums
        order = (whole * jnp.arange(1, len(whole) + 1)).sum()
        return errors(params["net"]["weights"], batch, keys).mean(), ({"order": order}, mutable)

    def evaluate(state, batch, key):
        keys = core.example_keys(key, len(grey(batch)))
        return {"error": errors(state.params["net"]["weights"], batch, keys)}

    def sample(state, keys, cond):
        return {"image": core.normal(keys, SHAPE) * state.params["net"]["weights"][0]}

    init = {"net": lambda key: {"params": {"weights": jax.random.normal(key, (DIM,))}}}
    return core.from_loss(loss, init, tx, eval=evaluate, sample=sample, accumulate=accumulate)


def _images():
    greys = np.arange(SIZE, dtype=np.uint8)
    return np.broadcast_to(greys[:, None, None, None], (SIZE, *SHAPE))


def numbers(*, data_dir: str = ""):
    """Image i is grey i."""
    info = Info("numbers", {"train": SIZE, "test": SIZE}, "test", {"image": SHAPE}, {})
    split = Split(SIZE, {"image": np.array(_images())}, rows)
    return Dataset(info._replace(dtypes={"image": "uint8"}), split, split)


def write_folder(root):
    """The same images as PNG files, for training and for tests."""
    from aigc_jax.media.images import write_png

    for name in ("train", "test"):
        (pathlib.Path(root) / name).mkdir(parents=True)
        for i, image in enumerate(_images()):
            write_png(pathlib.Path(root) / name / f"{i}.png", image, {})


def expected(steps, seed=0):
    """The metric "order" of the data set `numbers` at steps 1, 2, ..."""
    drawn = (indices(seed, cursor, BATCH, SIZE) for cursor in range(steps))
    return [int((np.arange(1, BATCH + 1) * batch).sum()) for batch in drawn]
