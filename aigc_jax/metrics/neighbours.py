"""Nearest neighbours among features, and what they tell: fidelity, diversity, memorisation.

Distances are Euclidean, in float32 and in blocks of rows, so that memory does not grow with the
product of both numbers of samples.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from aigc_jax.metrics import checks

BLOCK_BYTES = 16 * 2**20  # of distances held at a time; XLA keeps a few such blocks
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

    Returns Euclidean distances f32 [N, k] and the references' indices i32 [N, k]. With
    `exclude_self` both are the same samples, and row i is no neighbour of row i; copies of it are.

    Raises:
      ValueError: for values that are not finite, different F, or fewer than k references.
    """
    queries, references = checks.pair(queries, references, ("queries", "references"), "nearest")
    if k < 1:
        raise ValueError(f"k = {k}: nearest needs at least 1")
    if exclude_self and len(queries) != len(references):
        raise ValueError(
            f"{len(queries)} queries and {len(references)} references: nearest with exclude_self "
            "needs the same samples as both"
        )
    why = f"for k = {k}" + (" others than itself" if exclude_self else "")
    checks.enough(references, "references", "nearest", k + exclude_self, why)
    queries, references = _centred(queries, references)
    row_bytes = 4 * (len(references) + k * references.shape[1])
    found = _nearest(queries, references, k, exclude_self, _rows(row_bytes, queries))
    return tuple(map(np.asarray, found))


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
    real, fake = _centred(real, fake)
    real_radii = nearest(real, real, k, exclude_self=True)[0][:, -1]
    fake_radii = nearest(fake, fake, k, exclude_self=True)[0][:, -1]
    real_balls, _ = _balls(fake, real, real_radii, _rows(4 * len(real), fake))
    fake_balls, to_fake = _balls(real, fake, fake_radii, _rows(4 * len(fake), real))
    real_balls, fake_balls = np.asarray(real_balls), np.asarray(fake_balls)
    return Quality(
        precision=float(np.mean(real_balls > 0)),
        recall=float(np.mean(fake_balls > 0)),
        density=float(np.mean(real_balls) / k),
        coverage=float(np.mean(np.asarray(to_fake) <= real_radii)),
    )


def memorisation(fake: ArrayLike, train: ArrayLike, held_out: ArrayLike) -> Memorisation:
    """Distances from fakes [N, F] to the training set against those from unseen real samples.

    With d(x) the distance to the nearest of train [M, F]: `ratio` is the median of d over fakes
    divided by its median over held_out [H, F]. 1: as far as unseen real data; 0: copies. `share`
    is the share of fakes with d up to the 1 % quantile of held-out ones: 0.01 without copying.
    Blurred or average samples are near to everything too: a low ratio is a reason to look at the
    neighbours (`nearest`), not a proof. `held_out` must come from the same distribution as `train`
    and have no sample in common with it.

    Raises:
      ValueError: for values that are not finite, different F, fewer than 100 held-out samples, or
        half of them being copies of training samples.
    """
    least = round(1 / NEAREST_SHARE)
    fake, train = checks.pair(fake, train, ("fake", "train"), "memorisation")
    held_out, train = checks.pair(held_out, train, ("held_out", "train"), "memorisation")
    why = f"to have one in its nearest {NEAREST_SHARE:.0%}"
    checks.enough(held_out, "held_out", "memorisation", least, why)
    unseen = nearest(held_out, train)[0][:, 0]
    typical = np.median(unseen)
    if typical == 0:
        raise ValueError(
            "held_out: half of its samples or more are also in train; memorisation needs samples "
            "that are not"
        )
    distances = nearest(fake, train)[0][:, 0]
    near = distances <= np.quantile(unseen, NEAREST_SHARE)
    return Memorisation(float(np.median(distances) / typical), float(near.mean()))


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
    x, y = _centred(x, y)
    sums = _distance_sums(x, y, alone, _rows(4 * len(y), x))
    return float(np.asarray(sums).sum(dtype=np.float64) / (len(x) * (len(y) - alone)))


def _centred(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """f32 without their common offset, which would cost `_squared` its digits."""
    centre = b.mean(axis=0, dtype=np.float64).astype(b.dtype)
    return (a - centre).astype(np.float32), (b - centre).astype(np.float32)


def _rows(row_bytes: int, queries: np.ndarray) -> int:
    """Queries per block, evened out so that no small block is left over."""
    blocks = -(-len(queries) * row_bytes // BLOCK_BYTES)
    return -(-len(queries) // blocks)


def _squared(query: jax.Array, references: jax.Array) -> jax.Array:
    """Squared distances [M] of one query [F], as a matrix product once it is mapped over a block.

    Highest precision: accelerators would round the factors to bfloat16 or TF32, and neighbours
    are differences of large products.
    """
    products = jnp.matmul(references, query, precision=jax.lax.Precision.HIGHEST)
    squares = jnp.sum(references**2, axis=1) + jnp.sum(query**2)
    return jnp.maximum(squares - 2 * products, 0)


@partial(jax.jit, static_argnames=("k", "exclude_self", "rows"))
def _nearest(queries, references, k, exclude_self, rows):
    def of_one(item):
        number, query = item
        squared = _squared(query, references)
        if exclude_self:
            squared = squared.at[number].set(jnp.inf)
        _, indices = jax.lax.top_k(-squared, k)
        # Again from the differences: copies are at 0, whatever the products were rounded to.
        distances = jnp.linalg.norm(references[indices] - query, axis=1)
        order = jnp.argsort(distances)
        return distances[order], indices[order]

    return jax.lax.map(of_one, (jnp.arange(len(queries)), queries), batch_size=rows)


@partial(jax.jit, static_argnames="rows")
def _balls(queries, centres, radii, rows):
    """How many of the balls hold each query i32 [N], and its distance to the nearest centre [N]."""

    def of_one(query):
        squared = _squared(query, centres)
        return jnp.sum(squared <= radii**2), jnp.sqrt(jnp.min(squared))

    return jax.lax.map(of_one, queries, batch_size=rows)


@partial(jax.jit, static_argnames=("alone", "rows"))
def _distance_sums(queries, references, alone, rows):
    """Sum of the distances of each query [N] to all references but, if `alone`, itself."""

    def of_one(item):
        number, query = item
        squared = _squared(query, references)
        return jnp.sum(jnp.sqrt(squared.at[number].set(0) if alone else squared))

    return jax.lax.map(of_one, (jnp.arange(len(queries)), queries), batch_size=rows)
