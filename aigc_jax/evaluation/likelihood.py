"""How likely a VAE finds held-out images, what its latent carries, and how it reconstructs.

Everything is of the whole evaluation split. What the numbers are of, a probability or a density, is
said by the algorithm (`weights.LAWS`), and what is no likelihood is not called one.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from aigc_jax import build, core, samples
from aigc_jax.data.dataset import Dataset
from aigc_jax.evaluation import latents, weights
from aigc_jax.evaluation.results import Findings, Metric, attempt, measured, nothing
from aigc_jax.evaluation.weights import Weighed
from aigc_jax.metrics import likelihood, pictures

MOST_REBUILT = 10_000
ERRORS = {  # of reconstructions: function, where better is, unit
    "reconstruction_mse": (pictures.mse, "lower", ""),
    "reconstruction_psnr": (pictures.psnr, "higher", "dB"),
    "reconstruction_ssim": (pictures.ssim, "higher", ""),
}
_DISTORTION = "-log p(x | z)"


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
    if run.algorithm.law not in ("", *weights.LAWS):
        raise ValueError(
            f"Algorithm.law = {run.algorithm.law!r}: accepted are {', '.join(weights.LAWS)}"
        )
    found, kl = nothing(), []

    def weighed() -> None:
        weighed = weights.weigh(run, state, dataset, iw_samples, limit, seed, say)
        for name, measure in _bounds(run, weighed, iw_samples).items():
            measured(found, name, measure)
        kl.extend([] if weighed.kl is None else [weighed.kl.mean(0)])

    attempt(found, "iw_bound", weighed)
    if "reconstruct" in run.algorithm.heads:
        most = min(limit or MOST_REBUILT, MOST_REBUILT)
        rebuilt = lambda: _rebuilt(found, run, state, dataset, most, seed, kl[0] if kl else None)
        attempt(found, "reconstructions", rebuilt)
    return found


def _rebuilt(
    found: Findings,
    run: build.Run,
    state: core.State,
    dataset: Dataset,
    limit: int,
    seed: int,
    kl: np.ndarray | None,
) -> None:
    """Errors and pictures of reconstructions, and of the latent where it can be shown."""
    rebuilt = rebuild(run, state, dataset, limit, seed)
    for name, measure in _reconstructions(run, rebuilt.errors).items():
        measured(found, name, measure)
    shown = latents.Shown(run, state, seed, *rebuilt[:3])
    figures = {"reconstructions": lambda: latents.reconstructions(shown)}
    if {"encode", "decode"} <= run.algorithm.heads.keys():
        if kl is not None:
            figures["traversals"] = lambda: latents.traversals(shown, kl)
        figures["paths"] = lambda: latents.paths(shown)
    for name, make in figures.items():
        attempt(found, f"{name} (figure)", lambda make=make: found.figures.append(make()))


class Rebuilt(NamedTuple):
    """The first images f32 [n, H, W, C] and what all of them lose through their posterior means."""

    real: np.ndarray
    made: np.ndarray
    label: np.ndarray | None  # of the first images
    errors: dict[str, np.ndarray | ValueError]  # {metric: f32 [N], or why there is none}


def rebuild(run: build.Run, state: core.State, dataset: Dataset, limit: int, seed: int) -> Rebuilt:
    """The first `limit` images compared with their reconstructions, a piece at a time."""
    head, first = samples.head_of(run.algorithm, "reconstruct", seed), []
    found = {name: [] for name in ERRORS}
    for batch, count in weights.pieces(run, state, dataset, limit, weights.ROWS):
        real, made = np.asarray(batch["image"]), head(state, batch)["image"]
        # Whole batches, so that one shape is compiled.
        for name, (compare, *_) in ERRORS.items():
            found[name].append(_attempted(compare, real, made, count))
        if len(first) * weights.ROWS < latents.PAIRS:
            label = np.asarray(batch["label"])[:count] if "label" in batch else None
            first.append((real[:count], made[:count], label))
    real, made, label = zip(*first, strict=True)
    label = None if label[0] is None else np.concatenate(label)
    errors = {name: _joined(parts) for name, parts in found.items()}
    return Rebuilt(np.concatenate(real), np.concatenate(made), label, errors)


def _attempted(compare: Callable, real: np.ndarray, made: np.ndarray, count: int) -> Any:
    try:
        return compare(real, made)[:count]
    except ValueError as reason:  # of images too small for it, or not finite
        return reason


def _joined(parts: list[Any]) -> np.ndarray | ValueError:
    """All values, or the first reason for which some are lacking."""
    reasons = [part for part in parts if isinstance(part, ValueError)]
    return reasons[0] if reasons else np.concatenate(parts)


def _bounds(run: build.Run, weighed: Weighed, count: int) -> dict[str, Callable[[], Metric]]:
    """{name: what measures it} of the numbers that are about log p(x)."""
    number, split, of = len(weighed.bound), run.info.eval_split, weighed_images(run, weighed)
    about = f"{split} split, {of}"
    refusal = no_likelihood(run, weighed)

    def metric(value, protocol, better="", unit="nats"):
        return lambda: Metric(float(value), number, protocol, better=better, unit=unit)

    def refused():
        raise ValueError(refusal)

    def bits():
        value, how = _bits(run, nats)
        return Metric(value, number, f"iw_bound, {about}; {how}", better="lower", unit="bits/dim")

    nats, p = -weighed.bound.mean(), _p(run)
    bound = f"-log of the mean of {count:,} importance weight{'s'[: count > 1]}, {about}"
    bound = metric(nats, f"{bound}; an upper bound of -log {p}", "lower")
    parts = _parts(weighed, metric, about, count, refusal)
    found = {"iw_bound": bound, **parts, "bits_per_dim": bits}
    if refusal:
        found |= dict.fromkeys(("iw_bound", "negative_elbo", "bits_per_dim"), refused)
    return found


def _parts(
    weighed: Weighed, metric: Callable, about: str, count: int, refusal: str
) -> dict[str, Callable[[], Metric]]:
    """Rate, distortion and their sum, as far as the head gives them.

    Where there is no likelihood, distortion and sum have names that claim none.
    """
    drawn = f"{about}; mean over {count:,} draw{'s'[: count > 1]} of z per image, beta 1"
    found = {}
    if weighed.kl is not None:
        rate = weighed.kl.sum(1, dtype=np.float64).mean()
        words = f"KL(q(z | x) || p(z)) in closed form, {about}"
        found["rate"] = metric(rate, words)
    if weighed.distortion is not None:
        name, words = (
            ("cross_entropy", "of grey pixels") if refusal else ("distortion", _DISTORTION)
        )
        found[name] = metric(weighed.distortion.mean(), f"{words}, {drawn}")
    if len(found) == 2:
        name = "rate_and_cross_entropy" if refusal else "negative_elbo"
        found[name] = metric(weighed.distortion.mean() + rate, drawn, "lower")
    if weighed.latent is not None:
        found["active_units"] = lambda: _active(weighed, about)
    return found


def _active(weighed: Weighed, about: str) -> Metric:
    """The dimensions whose posterior mean varies; neither many nor few are better."""
    value, dimensions = float(likelihood.active_units(weighed.latent)), weighed.latent.shape[1]
    words = f"variance of the posterior mean above 0.01, {about}, of {dimensions}"
    return Metric(value, len(weighed.latent), words)


def no_likelihood(run: build.Run, weighed: Weighed) -> str:
    """Why the weights bound no likelihood, "" where they do."""
    grey = int(weighed.grey.sum())
    if run.algorithm.law != "binary" or not grey:
        return ""
    return (
        f"{grey:,} of {len(weighed.grey):,} images are grey: their cross-entropy under a law of "
        "black-or-white pixels (likelihood = 'bernoulli' with binarize = 'none') bounds no "
        "likelihood; accepted are binarize = 'dynamic', black-or-white images, or a density such "
        "as likelihood = 'gaussian'"
    )


def _bits(run: build.Run, nats: float) -> tuple[float, str]:
    """(bits per dimension, how they are counted); ValueError where there are none."""
    dims, law = math.prod(run.info.shapes["image"]), run.algorithm.law
    if not law:
        raise ValueError(
            "the algorithm does not say what its log_weights are of: bits_per_dim needs "
            f"Algorithm.law, one of {', '.join(weights.LAWS)}"
        )
    if law != "density":
        pixels = "256 levels" if law == "discrete" else "black-or-white pixels"
        return likelihood.bits_per_dim(nats, dims), f"probabilities of {pixels}"
    if not weights.dequantised(run):
        raise ValueError(
            f"a density of images of type {run.info.dtypes['image']}, which have no levels: "
            "bits_per_dim needs uint8"
        )
    value = likelihood.bits_per_dim(nats, dims, levels=256)
    return value, "a density on [-1, 1] at 256 levels, + log2(127.5)"


def weighed_images(run: build.Run, weighed: Weighed) -> str:
    """What was done to the images, and whether they are given labels: the words of every bound."""
    law, colour = run.algorithm.law, run.info.shapes["image"][-1] > 1
    grey = "colour" if colour else "grey" if weighed.grey.any() else "black-or-white"
    if law == "binarised":
        words = "dynamic binarisation, one draw"
    elif weights.dequantised(run):
        words = f"{grey} images, 8-bit levels dequantised uniformly, one draw"
    else:
        words = f"{grey} images, not binarised"
    return f"{words}, {_p(run)}"


def _p(run: build.Run) -> str:
    """The probability that the model gives."""
    return "p(x | y)" if "label" in run.algorithm.conditions else "p(x)"


def _reconstructions(
    run: build.Run, errors: dict[str, np.ndarray | ValueError]
) -> dict[str, Callable[[], Metric]]:
    protocol = (
        f"images of the {run.info.eval_split} split as they are, not binarised, beside the mean "
        "image at their posterior mean, on [-1, 1]"
    )

    def metric(values, better, unit):
        if isinstance(values, ValueError):
            raise values
        return Metric(float(values.mean()), len(values), protocol, better=better, unit=unit)

    return {name: partial(metric, errors[name], *how) for name, (_, *how) in ERRORS.items()}
