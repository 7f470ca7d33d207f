"""Raw batches for the compiled calls: indices of data on the device, or streamed batches."""

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from aigc_jax.data import pipeline
from aigc_jax.data.dataset import Split
from aigc_jax.data.order import step_stream


def passed_through(arrays: Any, item: Any) -> Any:
    """The `gather` of streamed data: the item is the batch."""
    return item


def gather_of(split: Split) -> Any:
    """How the compiled call turns an item into a raw batch."""
    return split.gather if split.arrays is not None else passed_through


def steps_per_call(config: Mapping[str, Any], split: Split) -> int:
    """How many updates one dispatch makes: `config.steps_per_call`, or what suits where that is 0.

    On an accelerator with its data on the device, where a small step takes less time than its
    dispatch, the greatest number up to 20 after which rows, evaluations and saves can follow. On a
    CPU 1, since XLA:CPU is slow in loops, and with streamed data, which would be held for all.
    """
    if config["steps_per_call"]:
        return config["steps_per_call"]
    if jax.default_backend() == "cpu" or split.arrays is None:
        return 1
    common = math.gcd(*(config[k] for k in ("steps", "log_every", "eval_every", "save_every")))
    return max(n for n in range(1, 21) if common % n == 0)


def training_items(
    split: Split,
    *,
    seed: int,
    cursor: int,
    batch_size: int,
    batches_per_step: int,
    steps: int,
    rows: np.ndarray | None = None,
) -> Iterator[Any]:
    """Endless items [steps, batches_per_step * batch_size, ...] from batch `cursor` on.

    Args:
      rows: of streamed data, the rows of every step that this process reads; None is all.
    """
    if split.arrays is not None:
        drawn = step_stream(seed, cursor, batch_size, batches_per_step, split.length)
        while True:
            yield np.stack(list(itertools.islice(drawn, steps)))
    stream = pipeline.stream(
        split, seed=seed, cursor=cursor, batch=batch_size, batches=batches_per_step, rows=rows
    )
    while True:
        pieces = list(itertools.islice(stream, steps))
        yield {name: np.stack([p[name] for p in pieces]) for name in pieces[0]}


def evaluation_items(
    split: Split, batch_size: int, batches: int = 0
) -> Iterator[tuple[Any, np.ndarray]]:
    """(item, weight f32 [B]) over the split in order; the last is filled up with weight 0.

    `batches` is how many to take, 0 all.
    """
    starts = range(0, split.length, batch_size)
    for start in starts[:batches] if batches else starts:
        rows = np.arange(start, start + batch_size)
        weight = (rows < split.length).astype(np.float32)
        rows = np.minimum(rows, split.length - 1).astype(np.int32)
        if split.arrays is not None:
            yield rows, weight
        else:
            examples = [split.source[int(row)] for row in rows]
            yield {k: np.stack([e[k] for e in examples]) for k in examples[0]}, weight
