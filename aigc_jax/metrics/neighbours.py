"""Nearest neighbours among features, and what they tell: fidelity, diversity, memorisation.

Distances are those of `distances`: what is compared is computed by one formula.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from aigc_jax.metrics import checks, distances

NEAREST_SHARE = 0.01  # of held-out samples that count as suspiciously near to the training set


class Quality(NamedTuple):
    """Fidelity (precision, density) and diversity (recall, coverage); 1 is good."""

    precision: float  # share of fakes inside the ball of some real sample
    recall: float  # share of real samples inside the ball of some fake
    density: float  # mean number of real balls around a fake, over k; may exceed 1
    coverage: float  # share of real samples whose ball holds a fake


class Memorisation(NamedTuple):
    """How much nearer to the training set fakes are than unseen real samples."""

    ratio: float  # of median distances, fakes over held-out
    share: float  # of fakes as near as the NEAREST_SHARE nearest held-out samples


def nearest(
    queries: ArrayLike, references: ArrayLike, k: int = 1, exclude_self: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest of references [M, F] to each of queries [N, F], nearest first.

    Returns Euclidean distances f64 [N, k] and the references' indices i64 [N, k], of equally near
    ones any. With `exclude_self` both are the same samples, and row i is no neighbour of row i;
    copies of it are.

    Raises:
      ValueError: for values that are not finite, different F, or fewer than k references.
    """
    queries, references = checks.pair(queries, references, ("queries", "references"), "nearest")
    if exclude_self and len(queries) != len(references):
        raise ValueError(
            f"{len(queries)} queries and {len(references)} references: nearest with exclude_self "
            "needs the same samples as both"
        )
    parts = (block for _, block in distances.blocks(references))
    return nearest_in(queries, parts, k, exclude_self)


def nearest_in(
    queries: ArrayLike, parts: Iterable[np.ndarray], k: int = 1, exclude_self: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """As `nearest`, with the references in parts [B, F] that are looked at once, one by one.

    Raises:
      ValueError: as `nearest`.
    """
    queries = checks.features(queries, "queries", "nearest")
    if k < 1:
        raise ValueError(f"k = {k}: nearest needs at least 1")
    best, which = np.full((len(queries), k), np.inf), np.full((len(queries), k), -1)
    centre, seen = queries.mean(axis=0, dtype=np.float64), 0
    for part in parts:
        _, part = checks.pair(queries[:1], part, ("queries", "references"), "nearest")
        for start, block in distances.blocks(queries):
            rows = slice(start, start + len(block))
            itself = start - seen if exclude_self else None
            found, indices = _nearest_of(block, part, k, centre, itself)
            _merge(best[rows], which[rows], found, indices + seen)
        seen += len(part)
    if seen < k + exclude_self:
        why = f"for k = {k}" + (" others than itself" if exclude_self else "")
        raise ValueError(
            f"references of {seen} samples: nearest needs at least {k + exclude_self}, {why}"
        )
    return best, which


def _nearest_of(
    queries: np.ndarray, references: np.ndarray, k: int, centre: np.ndarray, itself: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Distances and indices [N, at most k] of the nearest, in the order of the references.

    Query i is reference `itself` + i, where that is given, and not looked at.
    """
    near, _ = distances.squared(queries, references, centre)
    own = np.arange(len(queries)) + (0 if itself is None else itself)
    excluded = (own >= 0) & (own < len(references)) & (itself is not None)
    near[excluded, own[excluded]] = np.inf
    k = min(k, len(references))
    found = np.sort(np.argpartition(near, k - 1, axis=1)[:, :k], axis=1)
    rows = np.repeat(np.arange(len(queries)), k)
    exact = distances.between(queries, rows, references, found.ravel()).reshape(found.shape)
    exact[np.isinf(np.take_along_axis(near, found, axis=1))] = np.inf
    return exact, found


def _merge(best: np.ndarray, which: np.ndarray, found: np.ndarray, indices: np.ndarray) -> None:
    """Puts what is nearer of `found` into `best` [N, k] and `which` [N, k], in place."""
    everything, all_indices = np.hstack([best, found]), np.hstack([which, indices])
    order = np.argsort(everything, axis=1, kind="stable")[:, : best.shape[1]]
    best[:] = np.take_along_axis(everything, order, axis=1)
    which[:] = np.take_along_axis(all_indices, order, axis=1)


def precision_recall_density_coverage(real: ArrayLike, fake: ArrayLike, k: int = 5) -> Quality:
    """Compares supports, each the union of balls around its samples [N, F] and [M, F].

    A sample's ball reaches to its k-th neighbour in its own set, not counting itself, border
    included. Precision and recall: Kynkäänniemi et al., arXiv 1904.06991. Density and coverage,
    which a few outliers with large balls do not inflate: Naeem et al., arXiv 2002.09797. All
    depend on k and on the counts: compare values of the same ones only. For N = M samples of the
    same distribution density is near 1 and coverage near 1 - 2^-k (k = 5: 0.97).

    Raises:
      ValueError: for values that are not finite, different F, or fewer than k + 1 samples on a
        side.
    """
    metric = "precision_recall_density_coverage"
    real, fake = checks.pair(real, fake, ("real", "fake"), metric)
    for name, values in (("real", real), ("fake", fake)):
        checks.enough(values, name, metric, k + 1, f"one more than k = {k}")
    around, holds = _counts(fake, real, nearest(real, real, k, exclude_self=True)[0][:, -1])
    inside, _ = _counts(real, fake, nearest(fake, fake, k, exclude_self=True)[0][:, -1])
    return Quality(
        precision=float(np.mean(around > 0)),
        recall=float(np.mean(inside > 0)),
        density=float(np.mean(around) / k),
        coverage=float(np.mean(holds > 0)),
    )


def _counts(
    samples: np.ndarray, centres: np.ndarray, radii: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How many balls hold each sample [N], and how many samples each ball [M] holds."""
    around, holds = np.zeros(len(samples), int), np.zeros(len(centres), int)
    for rows, columns, inside in _inside(samples, centres, radii):
        around[rows] += inside.sum(axis=1)
        holds[columns] += inside.sum(axis=0)
    return around, holds


def _inside(
    samples: np.ndarray, centres: np.ndarray, radii: np.ndarray
) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """(rows, columns, bool [B, C]) of all blocks: whether sample n lies in the ball of centre m.

    Products decide where they can, and the formula of the radii where they cannot.
    """
    middle = centres.mean(axis=0, dtype=np.float64)
    for i, some in distances.blocks(samples):
        for j, part in distances.blocks(centres):
            rows, columns = slice(i, i + len(some)), slice(j, j + len(part))
            gap, error = distances.squared(some, part, middle)
            gap -= np.square(radii[columns])
            inside, doubtful = gap <= 0, np.nonzero(np.abs(gap) <= error)
            exact = distances.between(some, doubtful[0], part, doubtful[1])
            inside[doubtful] = exact <= radii[columns][doubtful[1]]
            yield rows, columns, inside


def memorisation(to_train: ArrayLike, unseen: ArrayLike) -> Memorisation:
    """Distances from fakes to the training set against those from unseen real samples.

    With d(x) the distance to the nearest training sample (`nearest`): `ratio` is the median of d
    over fakes [N] divided by its median over held-out samples [H]. 1: as far as unseen real data;
    0: copies. `share` is the share of fakes with d up to the 1 % quantile of held-out ones: 0.01
    without copying. Blurred or average samples are near to everything too: a low ratio is a reason
    to look at the neighbours, not a proof. The held-out samples must come from the distribution of
    the training set and have no sample in common with it.

    Args:
      to_train: d of the fakes [N].
      unseen: d of the held-out samples [H].

    Raises:
      ValueError: for distances that are not finite, fewer than 100 held-out samples, or half of
        them being copies of training samples.
    """
    least = round(1 / NEAREST_SHARE)
    to_train, unseen = (
        checks.features(np.reshape(values, (-1, 1)), name, "memorisation")[:, 0]
        for name, values in (("fake", to_train), ("held_out", unseen))
    )
    why = f"to have one in its nearest {NEAREST_SHARE:.0%}"
    checks.enough(unseen, "held_out", "memorisation", least, why)
    typical = np.median(unseen)
    if typical == 0:
        raise ValueError(
            "held_out: half of its samples or more are also in train; memorisation needs samples "
            "that are not"
        )
    near = to_train <= np.quantile(unseen, NEAREST_SHARE)
    return Memorisation(float(np.median(to_train) / typical), float(near.mean()))


def mean_pairwise_distance(x: ArrayLike, y: ArrayLike | None = None) -> float:
    """Mean Euclidean distance between two different samples of x [N, F], or one each of x and y.

    Diversity: near 0 for a collapsed generator; read it beside the value of real data.

    Raises:
      ValueError: for values that are not finite, different F, or a single x without y.
    """
    metric = "mean_pairwise_distance"
    alone = y is None
    x, y = checks.pair(x, x if alone else y, ("x", "y"), metric)
    checks.enough(x, "x", metric, 1 + alone, "to have a pair of different ones")
    centre, total = y.mean(axis=0, dtype=np.float64), 0.0
    for i, some in distances.blocks(x):
        for j, part in distances.blocks(y):
            if alone and j < i:
                continue  # the mirror image of one that counts twice
            squares, error = distances.squared(some, part, centre)
            # What is all rounding, as of a sample with itself, is nothing; roots would enlarge it.
            squares[squares <= error] = 0
            total += np.sqrt(squares).sum() * (1 + (alone and j > i))
    return float(total / (len(x) * (len(y) - alone)))
