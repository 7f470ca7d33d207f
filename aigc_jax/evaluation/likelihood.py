"""How likely a VAE finds held-out images, what its latent carries, and how it reconstructs.

Everything is of the whole evaluation split, images divided over the devices of the state's mesh.
"""

import math
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import numpy as np

from aigc_jax import build, core, feed, parallel, samples
from aigc_jax.data.dataset import Dataset
from aigc_jax.evaluation import latents
from aigc_jax.evaluation.results import Findings, Metric, measured, nothing
from aigc_jax.metrics import likelihood, pictures

ROWS, DRAWS = 64, 20  # images, and draws of each, in one call
ANNOUNCED = 100  # importance samples above which the time is said beforehand
MOST_REBUILT = 10_000  # reconstructions held in memory


class Piece(NamedTuple):
    """Some images of the evaluation split; rows beyond `count` only fill the batch."""

    batch: dict[str, jax.Array]  # with "index" i32 [B], the number of each image in the split
    count: int


class Weighed(NamedTuple):
    """What importance weights say of each image, in nats."""

    bound: np.ndarray  # f64 [N], importance-weighted, <= log p(x) in expectation
    distortion: np.ndarray  # f64 [N], mean over the draws
    kl: np.ndarray  # f32 [N, D], by latent dimension
    latent: np.ndarray  # f32 [N, D], posterior means


def findings(
    run: build.Run,
    state: core.State,
    dataset: Dataset,
    *,
    iw_samples: int = 100,
    limit: int | None = None,
    seed: int,
    say: Callable[[str], None],
) -> Findings:
    """The bounds, active units, reconstruction errors and latent figures of a VAE.

    Args:
      iw_samples: K, the draws of z per image.
      limit: how many images of the evaluation split to look at, None for all.
      seed: of binarisation and draws.
      say: told the expected time where K is large.

    Raises:
      ValueError: `iw_samples` or `limit` is less than 1.
    """
    for name, value in (("iw_samples", iw_samples), ("limit", limit)):
        if value is not None and value < 1:
            raise ValueError(f"{name}={value}: must be 1 or more")
    found = nothing()
    weighed = weigh(run, state, dataset, iw_samples, limit, seed, say)
    for name, measure in _bounds(run, weighed, iw_samples).items():
        measured(found, name, measure)
    pairs = rebuild(run, state, dataset, min(limit or MOST_REBUILT, MOST_REBUILT), seed)
    for name, measure in _reconstructions(run, *pairs[:2]).items():
        measured(found, name, measure)
    shown = latents.Shown(run, state, seed, *pairs)
    found.figures.append(latents.reconstructions(shown))
    found.figures.append(latents.traversals(shown, weighed.kl.mean(0)))
    found.figures.append(latents.paths(shown))
    return found


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

    What comes out does not depend on `rows` and `draws`: see the head log_weights.
    """
    head = samples.head_of(run.algorithm, "log_weights", seed)
    chunk = min(draws, iw_samples)
    parts = []
    for piece in pieces(run, state, dataset, limit, rows):
        if not parts and iw_samples > ANNOUNCED:
            total = min(limit or dataset.eval.length, dataset.eval.length)
            calls = -(-total // rows) * -(-iw_samples // chunk)
            seconds = _seconds_of(head, state, _with_draws(state, piece, 0, chunk)) * calls
            say(f"{iw_samples:,} importance samples of {total:,} images: about {seconds:,.0f} s")
        parts.append(_weighed(head, state, piece, iw_samples, chunk))
    return Weighed(*map(np.concatenate, zip(*parts, strict=True)))


def _weighed(
    head: Callable, state: core.State, piece: Piece, iw_samples: int, chunk: int
) -> Weighed:
    total, distortion = np.full(piece.count, -np.inf), np.zeros(piece.count)
    for start in range(0, iw_samples, chunk):
        values = head(state, _with_draws(state, piece, start, chunk))
        kept = np.s_[: piece.count, : iw_samples - start]
        total = likelihood.log_sum(total, values["log_weight"][kept])
        distortion += values["distortion"][kept].sum(1, dtype=np.float64)
    kl, latent = values["kl"][: piece.count], values["latent"][: piece.count]
    return Weighed(total - math.log(iw_samples), distortion / iw_samples, kl, latent)


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


def rebuild(
    run: build.Run, state: core.State, dataset: Dataset, limit: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Images f32 [N, H, W, C], the same through their posterior means, and labels [N] if any."""
    head = samples.head_of(run.algorithm, "reconstruct", seed)
    real, made, labels = [], [], []
    for batch, count in pieces(run, state, dataset, limit, ROWS):
        real.append(np.asarray(batch["image"])[:count])
        made.append(head(state, batch)["image"][:count])
        labels.append(np.asarray(batch["label"])[:count] if "label" in batch else None)
    label = np.concatenate(labels) if labels[0] is not None else None
    return np.concatenate(real), np.concatenate(made), label


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


def _bounds(run: build.Run, weighed: Weighed, count: int) -> dict[str, Callable[[], Metric]]:
    """{name: what measures it} of the numbers that are about log p(x)."""
    number, split, kind = len(weighed.bound), run.info.eval_split, binarisation(run)
    nats, rate = -weighed.bound.mean(), weighed.kl.sum(1, dtype=np.float64).mean()
    about = f"{split} split, {kind}"
    drawn = f"{about}; mean over {count:,} draw{'s'[: count > 1]} of z per image, beta 1"

    def metric(value, protocol, better="", unit="nats"):
        return lambda: Metric(float(value), number, protocol, better=better, unit=unit)

    def active():
        means = f"variance of the posterior mean over the {split} split above 0.01, {kind}"
        value = float(likelihood.active_units(weighed.latent))
        return Metric(value, number, f"{means}, of {weighed.latent.shape[1]}")

    def bits():
        value, how = _bits(run, nats)
        return Metric(value, number, f"iw_bound, {about}; {how}", better="lower", unit="bits/dim")

    bound = f"-log of the mean of {count:,} importance weight{'s'[: count > 1]}, {about}"
    distortion = weighed.distortion.mean()
    return {
        "iw_bound": metric(nats, f"{bound}; an upper bound of -log p(x)", "lower"),
        "negative_elbo": metric(distortion + rate, drawn, "lower"),
        "rate": metric(rate, f"KL(q(z | x) || p(z)) in closed form, {about}"),
        "distortion": metric(distortion, f"-log p(x | z), {drawn}"),
        "active_units": active,
        "bits_per_dim": bits,
    }


def _bits(run: build.Run, nats: float) -> tuple[float, str]:
    """(bits per dimension, how they are counted); ValueError where there is no likelihood."""
    dims = math.prod(run.info.shapes["image"])
    if run.config["algorithm"]["binarize"] == "dynamic":
        return likelihood.bits_per_dim(nats, dims), "probabilities of black-or-white pixels"
    if run.config["algorithm"]["likelihood"] == "bernoulli":
        raise ValueError(
            "likelihood = 'bernoulli' with binarize = 'none': the cross-entropy of grey pixels is "
            "no likelihood; bits_per_dim needs binarize = 'dynamic' or a density such as gaussian"
        )
    value = likelihood.bits_per_dim(nats, dims, levels=256)
    return value, "a density on [-1, 1] at 256 levels, + log2(127.5), not dequantised"


def binarisation(run: build.Run) -> str:
    """What was done to the images, in the words that every likelihood carries."""
    if run.config["algorithm"]["binarize"] == "dynamic":
        return "dynamic binarisation, one draw"
    grey = run.info.shapes["image"][-1] == 1
    return f"{'grey' if grey else 'colour'} images, not binarised"


def _reconstructions(
    run: build.Run, real: np.ndarray, made: np.ndarray
) -> dict[str, Callable[[], Metric]]:
    protocol = (
        f"images of the {run.info.eval_split} split as they are, not binarised, beside the mean "
        "image at their posterior mean, on [-1, 1]"
    )

    def metric(function, better, unit=""):
        return lambda: Metric(
            float(function(real, made).mean()), len(real), protocol, better=better, unit=unit
        )

    return {
        "reconstruction_mse": metric(pictures.mse, "lower"),
        "reconstruction_psnr": metric(pictures.psnr, "higher", "dB"),
        "reconstruction_ssim": metric(pictures.ssim, "higher"),
    }
