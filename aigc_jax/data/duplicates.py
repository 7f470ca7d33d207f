"""Copies among files: equal digests, and hashes of few different bits whose thumbnails agree."""

from collections.abc import Iterator, Sequence

import numpy as np

BLOCK = (64, 8192)  # hashes compared at a time: what fits into a core's cache
AXES = 4  # along which thumbnails are compared first
ALIKE = 0.995  # correlation of the thumbnails of near duplicates


def exact(digests: Sequence[str | None]) -> dict[int, int]:
    """{index of a copy: index of the first of equal digests}; None is equal to nothing."""
    first: dict[str, int] = {}
    found = {}
    for i, digest in enumerate(digests):
        if digest is not None and first.setdefault(digest, i) != i:
            found[i] = first[digest]
    return found


def close(hashes: np.ndarray, radius: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Indices (a, b), a < b, of all pairs of hashes uint64 [N] of Hamming distance <= radius.

    Every pair is looked at, a block at a time, in the order of a: N^2 / 2 comparisons.
    """
    xor, bits = np.empty(BLOCK, np.uint64), np.empty(BLOCK, np.uint8)
    for i in range(0, len(hashes), BLOCK[0]):
        rows = hashes[i : i + BLOCK[0], None]
        for j in range(i, len(hashes), BLOCK[1]):
            columns = hashes[None, j : j + BLOCK[1]]
            block = (slice(rows.shape[0]), slice(columns.shape[1]))
            np.bitwise_xor(rows, columns, out=xor[block])
            np.bitwise_count(xor[block], out=bits[block])
            a, b = np.nonzero(bits[block] <= radius)
            later = a + i < b + j
            yield a[later] + i, b[later] + j


def near(hashes: np.ndarray, thumbnails: np.ndarray, radius: int) -> dict[int, int]:
    """{index of a near duplicate: index of an earlier item that is kept}.

    Two items are near duplicates when their hashes uint64 [N] differ in at most `radius` bits and
    their thumbnails [N, D] correlate by at least `ALIKE`; of a blank one nothing is said.
    """
    unit = thumbnails - thumbnails.mean(axis=1, keepdims=True, dtype=np.float32)
    norms = np.linalg.norm(unit, axis=1, keepdims=True)
    unit /= np.maximum(norms, 1e-6)
    # Unit vectors of that correlation are this close, along each of any orthogonal axes too.
    reach = np.sqrt(2 - 2 * ALIKE)
    first = unit @ np.linalg.eigh(unit.T @ unit)[1][:, -AXES:]
    found: dict[int, int] = {}
    for a, b in close(hashes, radius):
        likely = (np.abs(first[a] - first[b]) <= reach).all(axis=1)
        a, b = a[likely], b[likely]
        alike = np.einsum("nd,nd->n", unit[a], unit[b]) >= ALIKE
        for i, j in zip(a[alike].tolist(), b[alike].tolist(), strict=True):
            if i not in found:
                found.setdefault(j, i)
    return found
