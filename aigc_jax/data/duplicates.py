"""Copies among files: equal digests, and hashes of few different bits whose thumbnails agree."""

from collections.abc import Iterator, Sequence

import numpy as np

BLOCK = (64, 8192)  # hashes compared at a time: what fits into a core's cache
AXES = 4  # along which thumbnails are compared first
FEW = 4096  # pairs of a block up to which each is worth its own product
ALIKE = 0.995  # correlation of the thumbnails of near duplicates


def exact(digests: Sequence[str | None]) -> dict[int, int]:
    """{index of a copy: index of the first of equal digests}; None is equal to nothing."""
    first: dict[str, int] = {}
    found = {}
    for i, digest in enumerate(digests):
        if digest is not None and first.setdefault(digest, i) != i:
            found[i] = first[digest]
    return found


def close(
    hashes: np.ndarray, radius: int, dropped: np.ndarray | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Indices (a, b), a < b, of all pairs of hashes uint64 [N] of Hamming distance <= radius.

    Every pair is looked at, a block at a time: N^2 / 2 comparisons. Items in `dropped`, bool [N],
    are left out; the receiver may drop more of them between blocks. A block of rows meets itself
    first, so that which of its rows are dropped is known before others are compared with them.
    """
    dropped = np.zeros(len(hashes), bool) if dropped is None else dropped
    xor, bits = np.empty(BLOCK, np.uint64), np.empty(BLOCK, np.uint8)
    for i in range(0, len(hashes), BLOCK[0]):
        rest = range(i + BLOCK[0], len(hashes), BLOCK[1])
        for start, stop in [(i, i + BLOCK[0]), *((j, j + BLOCK[1]) for j in rest)]:
            a = np.flatnonzero(~dropped[i : i + BLOCK[0]]) + i
            b = np.flatnonzero(~dropped[start:stop]) + start
            block = (slice(len(a)), slice(len(b)))
            np.bitwise_xor(hashes[a][:, None], hashes[b][None], out=xor[block])
            np.bitwise_count(xor[block], out=bits[block])
            row, column = np.nonzero(bits[block] <= radius)
            later = a[row] < b[column]
            yield a[row[later]], b[column[later]]


def near(hashes: np.ndarray, thumbnails: np.ndarray, radius: int) -> dict[int, int]:
    """{index of a near duplicate: index of the first earlier item that is kept and like it}.

    Two items are near duplicates when their hashes uint64 [N] differ in at most `radius` bits and
    their thumbnails [N, D] correlate by at least `ALIKE`; of a blank one nothing is said. What is
    found is compared with nothing else: thousands of copies of one item take time in proportion.
    """
    unit = thumbnails - thumbnails.mean(axis=1, keepdims=True, dtype=np.float32)
    norms = np.linalg.norm(unit, axis=1, keepdims=True)
    unit /= np.maximum(norms, 1e-6)
    # Unit vectors of that correlation are this close, along each of any orthogonal axes too.
    reach = np.sqrt(2 - 2 * ALIKE)
    first = unit @ np.linalg.eigh(unit.T @ unit)[1][:, -AXES:]
    found: dict[int, int] = {}
    dropped = norms[:, 0] < 1e-6  # blank
    for a, b in close(hashes, radius, dropped):
        likely = (np.abs(first[a] - first[b]) <= reach).all(axis=1)
        a, b = a[likely], b[likely]
        alike = _correlations(unit, a, b) >= ALIKE
        for i, j in zip(a[alike].tolist(), b[alike].tolist(), strict=True):
            if i not in found:
                found.setdefault(j, i)
                dropped[j] = True
    return found


def _correlations(unit: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of pairs of rows of unit vectors [N, D]; many pairs of few rows by one matrix product."""
    if len(a) <= FEW:
        return np.einsum("nd,nd->n", unit[a], unit[b])
    (rows, row), (columns, column) = (_distinct(x, len(unit)) for x in (a, b))
    return (unit[rows] @ unit[columns].T)[row, column]


def _distinct(indices: np.ndarray, end: int) -> tuple[np.ndarray, np.ndarray]:
    """The different ones of indices below `end`, and where each is among them; without sorting."""
    there = np.zeros(end, bool)
    there[indices] = True
    return np.flatnonzero(there), (np.cumsum(there) - 1)[indices]
