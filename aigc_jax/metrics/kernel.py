"""Kernel distance (KID): how far apart two sets of features are by a kernel's mean embedding."""

import numpy as np
from numpy.typing import ArrayLike

from aigc_jax.metrics import checks

METRIC = "kernel_distance"
BLOCK_BYTES = 16 * 2**20  # of kernel values held at a time


def kernel_distance(features_a: ArrayLike, features_b: ArrayLike) -> float:
    """Unbiased estimate of the squared maximum mean discrepancy with a cubic kernel.

    mean_{i != j} k(a_i, a_j) + mean_{i != j} k(b_i, b_j) - 2 mean_{i, j} k(a_i, b_j) with
    k(x, y) = (x.y / F + 1)^3, over all pairs of features [N, F] and [M, F], in float64 and in
    blocks of rows. Its expectation does not depend on N and M and is 0 for the same distribution,
    around which it varies: slightly negative values are right.
    (Bińkowski et al., arXiv 1801.01401; KID where the features are Inception's.)

    Raises:
      ValueError: for values that are not finite, different F, or fewer than 2 samples on a side.
    """
    names = ("features_a", "features_b")
    a, b = checks.pair(features_a, features_b, names, METRIC)
    for name, values in zip(names, (a, b), strict=True):
        checks.enough(values, name, METRIC, 2, "to have a pair of different ones")
    # The result is a small difference of large means: float32 kernels would drown it.
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(_mean_within(a) + _mean_within(b) - 2 * _mean_between(a, b))


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """[B, F], [M, F] -> [B, M]."""
    base = x @ y.T
    base /= x.shape[1]
    base += 1
    values = base * base
    values *= base
    return values


def _starts(a: np.ndarray, b: np.ndarray) -> tuple[range, int]:
    """First rows of the blocks of `a` against all of `b`, and the rows of a block."""
    rows = max(1, BLOCK_BYTES // (8 * len(b)))
    return range(0, len(a), rows), rows


def _mean_between(a: np.ndarray, b: np.ndarray) -> float:
    starts, rows = _starts(a, b)
    return sum(_kernel(a[s : s + rows], b).sum() for s in starts) / (len(a) * len(b))


def _mean_within(a: np.ndarray) -> float:
    """Mean over pairs of different ones; a pair beside the diagonal's block is computed once."""
    starts, rows = _starts(a, a)
    total = 0.0
    for start in starts:
        block = _kernel(a[start : start + rows], a[start:])
        square = block[:, : len(block)]
        total += 2 * block.sum() - square.sum() - np.trace(square)
    return total / (len(a) * (len(a) - 1))
