"""Importance weights of the evaluation split: images in the order of the split, cut as they fit.

Images are divided over the devices of the state's mesh; what comes out does not depend on how.
"""

import math
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from aigc_jax import build, core, feed, parallel, samples
from aigc_jax.data.dataset import Dataset
from aigc_jax.metrics import likelihood

ROWS, DRAWS = 64, 20  # images, and draws of each, in one call
ANNOUNCED = 100  # importance samples above which the time is said beforehand
# What an algorithm's importance weights are of: a probability of black-or-white pixels, which the
# head draws from grey ones or gets as they are; a probability of each of 256 levels; or a density
# over [-1, 1]. It says so by `Algorithm.law`; "" says nothing.
LAWS = ("binarised", "binary", "discrete", "density")
LEVEL = 1 / 127.5  # between two levels of 8 bits on [-1, 1]


class Piece(NamedTuple):
    """Some images of the evaluation split; rows beyond `count` only fill the batch."""

    batch: dict[str, jax.Array]  # with "index" i32 [B], the number of each image in the split
    count: int


class Weighed(NamedTuple):
    """What importance weights say of each image, in nats; None of what the head does not give."""

    bound: np.ndarray  # f64 [N], importance-weighted, <= log p(x) in expectation
    distortion: np.ndarray | None  # f64 [N], mean over the draws
    kl: np.ndarray | None  # f32 [N, D], by latent dimension
    latent: np.ndarray | None  # f32 [N, D], posterior means
    grey: np.ndarray  # bool [N], whether a pixel is neither black nor white


def weigh(
    run: build.Run,
    state: core.State,
    dataset: Dataset,
    iw_samples: int,
    limit: int | None,
    seed: int,
    say: Callable[[str], None] = lambda text: None,
    rows: int = ROWS,
    draws: int = DRAWS,
) -> Weighed:
    """K = `iw_samples` draws of z for each image, `rows` images and `draws` of each at a time.

    Under a density 8-bit images are dequantised, see `spread`. What comes out does not depend on
    `rows` and `draws`: see the head log_weights.

    Raises:
      ValueError: a weight is NaN or +infinity.
    """
    head = samples.head_of(run.algorithm, "log_weights", seed)
    chunk = min(draws, iw_samples)
    parts = []
    for piece in pieces(run, state, dataset, limit, rows):
        grey = _grey(piece)
        if dequantised(run):
            piece = piece._replace(batch=spread(piece.batch, seed))
        if not parts and iw_samples > ANNOUNCED:
            total = min(limit or dataset.eval.length, dataset.eval.length)
            calls = -(-total // rows) * -(-iw_samples // chunk)
            seconds = _seconds_of(head, state, _with_draws(state, piece, 0, chunk)) * calls
            say(f"{iw_samples:,} importance samples of {total:,} images: about {seconds:,.0f} s")
        parts.append(_weighed(head, state, piece, iw_samples, chunk, grey))
    joined = zip(*parts, strict=True)
    return Weighed(*(None if part[0] is None else np.concatenate(part) for part in joined))


def dequantised(run: build.Run) -> bool:
    """Whether the weights are of a density, and the images of levels: on these it has no bound."""
    levels = np.issubdtype(np.dtype(run.info.dtypes["image"]), np.integer)
    return run.algorithm.law == "density" and bool(levels)


def spread(batch: dict[str, jax.Array], seed: int) -> dict[str, jax.Array]:
    """The batch with its 8-bit images in [-1, 1] uniformly dequantised.

    v + u / 127.5 with u uniform in [-1/2, 1/2), once for each pixel: with P(v) the integral of p
    over what v stands for, E_u log p(v + u / 127.5) - log 127.5 <= log P(v) in each dimension by
    Jensen's inequality (Theis et al., arXiv 1511.01844). The noise of an image depends on the seed
    and its index alone.
    """
    key = core.stream(seed, core.EVAL)
    return dict(batch) | {"image": _spread(batch["image"], batch["index"], key)}


@jax.jit
def _spread(image: jax.Array, index: jax.Array, key: jax.Array) -> jax.Array:
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, index)
    draw = lambda key: jax.random.uniform(key, image.shape[1:], jnp.float32, -0.5, 0.5)
    return image + LEVEL * jax.vmap(draw)(keys)


def _grey(piece: Piece) -> np.ndarray:
    """Whether an image has a pixel that is neither black nor white, bool [count]."""
    image = np.asarray(piece.batch["image"])[: piece.count]
    return (np.abs(np.abs(image) - 1) > 1e-6).any(axis=tuple(range(1, image.ndim)))


def _weighed(
    head: Callable, state: core.State, piece: Piece, iw_samples: int, chunk: int, grey: np.ndarray
) -> Weighed:
    total, distortion = np.full(piece.count, -np.inf), np.zeros(piece.count)
    for start in range(0, iw_samples, chunk):
        values = head(state, _with_draws(state, piece, start, chunk))
        kept = np.s_[: piece.count, : iw_samples - start]
        total = likelihood.log_sum(total, values["log_weight"][kept])
        if "distortion" in values:
            distortion += values["distortion"][kept].sum(1, dtype=np.float64)
    kl, latent = (values[k][: piece.count] if k in values else None for k in ("kl", "latent"))
    distortion = distortion / iw_samples if "distortion" in values else None
    return Weighed(total - math.log(iw_samples), distortion, kl, latent, grey)


def _with_draws(state: core.State, piece: Piece, start: int, chunk: int) -> dict[str, jax.Array]:
    mesh, draw = _mesh_of(state), np.arange(start, start + chunk, dtype=np.int32)
    if mesh is not None:
        draw = jax.device_put(draw, parallel.replicated(mesh))
    return piece.batch | {"draw": draw}


def _seconds_of(head: Callable, state: core.State, batch: dict[str, jax.Array]) -> float:
    """The seconds of one call, after one that compiles."""
    head(state, batch)
    start = time.perf_counter()
    head(state, batch)
    return time.perf_counter() - start


def pieces(
    run: build.Run, state: core.State, dataset: Dataset, limit: int | None, rows: int
) -> Iterator[Piece]:
    """The first `limit` images of the evaluation split, at least `rows` at a time, on the mesh."""
    split, mesh = dataset.eval, _mesh_of(state)
    ways = math.prod(mesh.shape[axis] for axis in parallel.BATCH) if mesh else 1
    rows, total = -(-rows // ways) * ways, min(limit or split.length, split.length)
    for i, (item, _) in enumerate(feed.evaluation_items(split, rows, -(-total // rows))):
        start = i * rows
        raw = item if split.arrays is None else split.gather(split.arrays, item)
        batch = dict(run.normalise(None, raw)) | {
            "index": np.arange(start, start + rows, dtype="i4")
        }
        placed = parallel.put(batch, parallel.batched(mesh)) if mesh else batch
        yield Piece(placed, min(rows, total - start))


def _mesh_of(state: core.State) -> jax.sharding.Mesh | None:
    sharding = getattr(state.step, "sharding", None)
    return sharding.mesh if isinstance(sharding, jax.sharding.NamedSharding) else None
