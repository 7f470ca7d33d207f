"""Counting the modes that a generator covers, where the modes are known.

Mode collapse is compared on mixtures of Gaussians, and on Stacked MNIST, which puts three digits
into the channels of an image and so makes 1000 modes.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from aigc_jax.metrics import checks

HIGH_QUALITY_SIGMAS = 3
STACKED_SAMPLES = 26_000  # of VEEGAN's and PacGAN's protocol


class Modes(NamedTuple):
    """What samples cover of a mixture of Gaussians."""

    found: int  # modes with at least one high-quality sample
    high_quality: float  # share of samples within 3 sigma of a mean
    reverse_kl: float  # nats, all samples, each counted for its nearest mode
    reverse_kl_high_quality: float  # nats, high-quality samples only; NaN without any


class StackedModes(NamedTuple):
    """What samples cover of Stacked MNIST."""

    found: int  # modes with at least one sample
    kl: float  # nats, of the samples' modes from uniform


def kl_to_uniform(counts: ArrayLike) -> float:
    """KL(p || uniform) = sum_k p_k log(K p_k) in nats, p the shares of counts [K]: 0 to log K.

    Raises:
      ValueError: for counts that are not a vector, negative, or all 0.
    """
    counts = np.asarray(counts, np.float64)
    if counts.ndim != 1 or not np.all(counts >= 0) or not counts.sum() > 0:
        raise ValueError(
            f"counts of shape {counts.shape} and sum {counts.sum():g}: kl_to_uniform needs one "
            "count of at least 0 for each mode, and one above 0"
        )
    p = counts[counts > 0] / counts.sum()
    return float(max(np.sum(p * np.log(len(counts) * p)), 0.0))


def gaussian_modes(points: ArrayLike, means: ArrayLike, sigma: float) -> Modes:
    """What points [N, D] cover of the Gaussians of standard deviation `sigma` around means [K, D].

    A point belongs to its nearest mean and is of high quality within 3 sigma of it. `reverse_kl`
    counts all points; PacGAN's own value (Lin et al., arXiv 1712.04086) counts those of high
    quality, and so hides what lies between the modes. Even true samples have (K - 1) / 2N nats on
    average: fix N (the protocol's is 2500).

    Raises:
      ValueError: for points that are not finite, another D, or a sigma that is not above 0.
    """
    points, means = checks.pair(points, means, ("points", "means"), "gaussian_modes")
    if not sigma > 0:
        raise ValueError(f"sigma = {sigma}: gaussian_modes needs more than 0")
    points = points.astype(np.float64)
    distances = np.stack([np.linalg.norm(points - mean, axis=1) for mean in means], axis=1)
    mode, good = distances.argmin(axis=1), distances.min(axis=1) <= HIGH_QUALITY_SIGMAS * sigma
    counts = np.bincount(mode, minlength=len(means))
    good_counts = np.bincount(mode[good], minlength=len(means))
    return Modes(
        found=int(np.sum(good_counts > 0)),
        high_quality=float(good.mean()),
        reverse_kl=kl_to_uniform(counts),
        reverse_kl_high_quality=kl_to_uniform(good_counts) if good.any() else float("nan"),
    )


def stacked_modes(labels: ArrayLike, num_modes: int = 1000) -> StackedModes:
    """Modes found and KL(p_gen || uniform) in nats of Stacked MNIST samples.

    `labels` are what a classifier calls the channels [26000, C], of num_modes^(1/C) classes each,
    or the modes themselves [26000]. The number of samples is fixed, since the KL falls with it:
    true triples of MNIST digits with their true labels have 0.0247 nats at 26,000 samples and
    0.0565 at 10,000. (VEEGAN, arXiv 1705.07761; PacGAN, arXiv 1712.04086.)

    Raises:
      ValueError: for another number of samples, or labels that are not whole numbers of a mode.
    """
    ids = _mode_ids(np.asarray(labels), num_modes)
    if len(ids) != STACKED_SAMPLES:
        raise ValueError(
            f"labels of {len(ids)} samples: stacked_modes needs exactly {STACKED_SAMPLES}, because "
            "its KL depends on their number (true triples: 0.0247 there, 0.0565 with 10000)"
        )
    counts = np.bincount(ids, minlength=num_modes)
    return StackedModes(int(np.sum(counts > 0)), kl_to_uniform(counts))


def _mode_ids(labels: np.ndarray, num_modes: int) -> np.ndarray:
    """Modes [N] of labels [N] or, one for each channel, [N, C]: the digits of a number."""
    channels = labels.shape[1] if labels.ndim == 2 else 1
    classes = round(num_modes ** (1 / channels)) if channels else 0
    whole = np.issubdtype(labels.dtype, np.integer)
    if not whole or labels.ndim not in (1, 2) or classes**channels != num_modes:
        raise ValueError(
            f"labels of shape {labels.shape} and type {labels.dtype}: stacked_modes needs whole "
            f"numbers [N, C] or [N], of which C make {num_modes} modes"
        )
    if np.any((labels < 0) | (labels >= classes)):
        raise ValueError(
            f"labels from {labels.min()} to {labels.max()}: stacked_modes of {num_modes} modes "
            f"accepts 0 to {classes - 1}"
        )
    weights = classes ** np.arange(channels)[::-1]
    return labels.reshape(len(labels), channels).astype(np.int64) @ weights
