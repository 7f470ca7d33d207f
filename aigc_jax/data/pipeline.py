"""Data that does not fit in memory, streamed through Grain in the order of `order.py`."""

import sys
from collections.abc import Iterator, Mapping

import numpy as np

from aigc_jax.data.dataset import Split
from aigc_jax.data.order import step_indices


def examples(split: Split, indices: np.ndarray) -> dict[str, np.ndarray]:
    """The raw batch of example indices [B], from memory or decoded now."""
    if split.arrays is not None:
        return dict(split.gather(split.arrays, indices))
    if hasattr(split.source, "__getitems__"):
        rows = split.source.__getitems__(indices)
    else:
        rows = [split.source[int(i)] for i in indices]
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def stream(
    split: Split,
    *,
    seed: int,
    cursor: int,
    batch: int,
    batches: int = 1,
    rows: np.ndarray | None = None,
    threads: int = 4,
    prefetch: int = 4,
) -> Iterator[Mapping[str, np.ndarray]]:
    """Endless raw items from batch number `cursor` on, which is reached without reading before it.

    Args:
      split: what to read.
      seed: of the order.
      cursor: the first batch.
      batch: examples of a batch over all processes, B.
      batches: consecutive batches in one item, n; row b * n + j is row b of batch cursor + j.
      rows: of every item, what this process reads of its B * n; None is all. The order does not
        depend on them, so that any number of processes trains on the same batches.
      threads: that decode items ahead.
      prefetch: items decoded ahead.

    Yields:
      {name: [len(rows), ...]}
    """
    import grain

    def item_indices(item: int) -> np.ndarray:
        drawn = step_indices(seed, cursor + item * batches, batch, batches, split.length)
        return drawn if rows is None else drawn[rows]

    items = grain.MapDataset.range(sys.maxsize).map(item_indices)
    read = items.map(lambda indices: examples(split, indices))
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=prefetch)
    return iter(read.to_iter_dataset(options))
