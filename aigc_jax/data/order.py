"""The order of the data: a pure function of (seed, cursor), without state and without a shuffle.

Position p of the endless stream of examples belongs to epoch p // n. Within an epoch, position
p mod n goes through a bijection of {0 .. n - 1} keyed by the seed and the epoch: a Feistel network
on the next power of four, whose results outside the range go through the network again ("cycle
walking"; Black and Rogaway 2002, "Ciphers with Arbitrary Finite Domains").
"""

from collections.abc import Iterator

import numpy as np

ROUNDS = 6
# Indices that `step_stream` draws at a time: drawing few costs as much as drawing thousands.
AHEAD = 2**14


def _mix(x: np.ndarray) -> np.ndarray:
    """A 64-bit hash, the finaliser of SplitMix64 (Steele et al. 2014); uint64 arithmetic wraps."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _round_keys(seed: int, epoch: np.ndarray) -> np.ndarray:
    """Keys uint64 [ROUNDS, B] of the Feistel rounds in the epoch of each position."""
    golden = np.uint64(0x9E3779B97F4A7C15)
    master = _mix(np.array([seed % 2**64], np.uint64) + golden)
    of_epoch = _mix(master ^ (epoch * golden))
    rounds = np.arange(1, ROUNDS + 1, dtype=np.uint64)[:, None]
    return _mix(of_epoch + rounds * golden)


def _feistel(x: np.ndarray, keys: np.ndarray, half: int) -> np.ndarray:
    """A bijection of {0 .. 4^half - 1}: (l, r) -> (r, l ^ hash(r, key)) in every round."""
    bits, mask = np.uint64(half), np.uint64(2**half - 1)
    left, right = x >> bits, x & mask
    for key in keys:
        left, right = right, left ^ (_mix(right ^ key) & mask)
    return (left << bits) | right


def _permute(x: np.ndarray, keys: np.ndarray, n: int) -> np.ndarray:
    """The keyed bijection of {0 .. n - 1}, by walking along the network's cycles back into it."""
    half = max(2, ((n - 1).bit_length() + 1) // 2)
    x = _feistel(x, keys, half)
    outside = np.flatnonzero(x >= n)
    while outside.size:
        x[outside] = _feistel(x[outside], keys[:, outside], half)
        outside = outside[x[outside] >= n]
    return x


def indices(seed: int, cursor: int, batch: int, n: int) -> np.ndarray:
    """Example indices int32 [batch] of batch number `cursor` from a split of n examples.

    The batch holds stream positions cursor * batch .. (cursor + 1) * batch - 1. Every example
    comes exactly once per epoch, in another order each epoch; a batch may span epochs.

    Raises:
      ValueError: n is not in 1 .. 2^31 - 1.
    """
    return _drawn(seed, int(cursor) * batch, batch, n)


def _drawn(seed: int, first: int, count: int, n: int) -> np.ndarray:
    """Example indices int32 [count] at the stream positions from `first` on."""
    if not 0 < n < 2**31:
        raise ValueError(f"n={n}: a split has from 1 to 2**31 - 1 examples")
    position = first + np.arange(count, dtype=np.uint64)
    epoch, x = position // np.uint64(n), position % np.uint64(n)
    return _permute(x, _round_keys(seed, epoch), n).astype(np.int32)


def step_indices(seed: int, cursor: int, batch: int, batches: int, n: int) -> np.ndarray:
    """Example indices int32 [batch * batches] of `batches` consecutive batches, rows interleaved.

    Row b * batches + j is row b of batch cursor + j: wherever the rows are cut over devices or
    processes, each holds the same rows of every one of the batches.
    """
    # A batch of the same stream that is `batches` times as large would start elsewhere when the
    # cursor is not a multiple of `batches`, so the batches are asked for one by one.
    drawn = [indices(seed, cursor + j, batch, n) for j in range(batches)]
    return np.stack(drawn, axis=1).reshape(-1)


def step_stream(seed: int, cursor: int, batch: int, batches: int, n: int) -> Iterator[np.ndarray]:
    """`step_indices` at cursor, cursor + batches, cursor + 2 batches, ..., without end."""
    steps = max(1, AHEAD // (batch * batches))
    while True:
        drawn = _drawn(seed, int(cursor) * batch, steps * batches * batch, n)
        yield from drawn.reshape(steps, batches, batch).swapaxes(1, 2).reshape(steps, -1)
        cursor += steps * batches
