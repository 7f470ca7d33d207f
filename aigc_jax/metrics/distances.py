"""Euclidean distances between many samples: one formula for all that are compared with another.

Matrix products find quickly which pairs are near, but round: two copies come out a little apart,
and not equally far from a third. So whatever is compared, with a radius, another distance or zero,
is `between`: the root of the sum of squared differences in float64, which is 0 for copies and the
same for the same two samples wherever they stand. Products only say what cannot matter.

Samples are f32, f64 or uint8 [N, F] and become float64 in blocks, so that memory does not grow with
the number of samples nor with the product of two of them.
"""

from collections.abc import Iterator

import numpy as np

BLOCK_BYTES = 32 * 2**20  # of float64 samples or distances held at a time; there are a few such


def rows_of(dimensions: int) -> int:
    """Samples of a block: neither they nor their distances to another block exceed a block."""
    return max(1, min(BLOCK_BYTES // (8 * dimensions), round((BLOCK_BYTES / 8) ** 0.5)))


def blocks(samples: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(number of the first, samples [B, F] as they are) of each block, none much smaller."""
    count = -(-len(samples) // rows_of(samples.shape[1]))
    for part in np.array_split(np.arange(len(samples)), count):
        yield int(part[0]), samples[part[0] : part[-1] + 1]


def between(a: np.ndarray, i: np.ndarray, b: np.ndarray, j: np.ndarray) -> np.ndarray:
    """|a_i - b_j| f64 [P] of the pairs of rows i [P] of a [N, F] and j [P] of b [M, F]."""
    found, rows = np.empty(len(i)), max(1, BLOCK_BYTES // (8 * a.shape[1]))
    for start in range(0, len(i), rows):
        part = slice(start, start + rows)
        difference = a[i[part]].astype(np.float64) - b[j[part]]
        found[part] = np.sqrt(np.square(difference).sum(axis=1))
    return found


def squared(a: np.ndarray, b: np.ndarray, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Squared distances f64 [N, M] by products, and what they may be wrong by [N, M].

    |x|^2 + |y|^2 - 2 x.y of the samples less a common `centre` f64 [F], whose length would cost
    digits. Sums of F products round by at most F eps times the lengths of both (Higham 2002,
    "Accuracy and Stability of Numerical Algorithms", chapter 3).
    """
    a, b = a - centre, b - centre
    lengths = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1)
    products = a @ b.T
    products *= -2
    products += lengths
    lengths *= 2 * (a.shape[1] + 4) * np.finfo(np.float64).eps
    return products, lengths
