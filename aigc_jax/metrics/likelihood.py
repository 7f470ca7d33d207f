"""Bounds on the log-likelihood from importance weights, and what of the latent is in use."""

import math

import numpy as np
from numpy.typing import ArrayLike

from aigc_jax.metrics import checks


def importance_weighted_bound(log_weights: ArrayLike) -> np.ndarray:
    """log (1 / K) sum_k w_k <= log p(x) in expectation, nats f64 [N], of log-weights [N, K].

    log w_k = log p(x, z_k) - log q(z_k | x) for z_k ~ q(z | x) (Burda et al. 2016, arXiv
    1509.00519). With K = 1 it is a draw of the ELBO; the more draws, the tighter.

    Raises:
      ValueError: the weights are not [N, K] with K >= 1, or NaN or +infinity.
    """
    log_weights = np.asarray(log_weights)
    total = log_sum(np.full(log_weights.shape[:1], -np.inf), log_weights)
    return total - math.log(log_weights.shape[1])


def log_sum(before: ArrayLike, log_weights: ArrayLike) -> np.ndarray:
    """log (exp before + sum_k w_k), f64 [N], of a sum so far [N] and more log-weights [N, k].

    Begins with -infinity; `log_sum - log K` after all K is the importance-weighted bound, without
    that all weights were ever held at once.

    Raises:
      ValueError: as `importance_weighted_bound`.
    """
    before, log_weights = np.asarray(before, np.float64), np.asarray(log_weights)
    if log_weights.ndim != 2 or log_weights.shape[1] < 1:
        raise ValueError(
            f"log-weights of shape {log_weights.shape}: the bound needs [images, K] with K >= 1"
        )
    wrong = np.isnan(log_weights) | np.isposinf(log_weights)
    if wrong.any():
        raise ValueError(
            f"log-weights of {wrong.any(1).sum()} of {len(wrong)} images are NaN or +infinity: "
            "the bound needs numbers"
        )
    # In f64: the f32 sum of weights around -10^5, as of large pictures, is right to 0.01 only.
    return np.logaddexp(before, np.logaddexp.reduce(log_weights.astype(np.float64), axis=1))


def active_units(means: ArrayLike, threshold: float = 0.01) -> int:
    """Latent dimensions u with Var_x(E_q(u | x)[u]) > threshold, of posterior means [N, D].

    The rule of Burda et al. 2016 (arXiv 1509.00519) for what of a latent is in use.

    Raises:
      ValueError: the means are not finite, or of fewer than two images.
    """
    means = checks.features(means, "posterior means", "active units")
    checks.enough(means, "posterior means", "active units", 2, "to vary")
    return int((means.astype(np.float64).var(0) > threshold).sum())


def bits_per_dim(nats: float, dims: int, *, levels: int = 0) -> float:
    """nats / (dims log 2) of a negative log-likelihood, plus log2((levels - 1) / 2) for a density.

    A density over [-1, 1] at one of n levels, which lie 2 / (n - 1) apart, stands for a probability
    of density * 2 / (n - 1) in each dimension: for 8-bit pixels log2(127.5) bits are added.

    Args:
      nats: -log p(x), or an upper bound of it.
      dims: pixels times channels.
      levels: 0 where the pixels have a probability, as black-or-white ones; 256 for a density.

    Raises:
      ValueError: `nats` is not finite, or `dims` or `levels` is impossible.
    """
    if not math.isfinite(nats) or dims < 1 or levels == 1 or levels < 0:
        raise ValueError(
            f"nats={nats}, dims={dims}, levels={levels}: bits per dimension need a finite number, "
            "at least 1 dimension, and 0 or at least 2 levels"
        )
    return float(nats) / (dims * math.log(2)) + (math.log2((levels - 1) / 2) if levels else 0.0)
