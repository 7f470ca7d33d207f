"""Likelihoods p(x | z) of images x in [-1, 1], in nats, given what the decoder puts out.

A likelihood is made by a function, `bernoulli()` or `gaussian(sigma=0.1)`, whose arguments are the
config's `likelihood_args`. All are summed over the event (height, width, channels), never averaged:
a mean would silently divide the weight of the rate by the number of pixels.
"""

import math
from collections.abc import Callable, Mapping
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp

from aigc_jax.ranges import above

# Standard deviation of rounding [-1, 1] to 8 bits: (2 / 255) / sqrt(12) = exp(-6.1). A density
# sharper than this only learns the rounding, and on constant pixels grows without bound.
LOG_SIGMA_FLOOR = -6.0


class Likelihood(NamedTuple):
    """p(x | z) as pure functions of the decoder's output `out` f32 [B, H, W, C]."""

    params: Mapping[str, float]  # initial values of the parameters it learns itself
    log_prob: Callable  # (params, out, image [B, H, W, C] in [-1, 1]) -> f32 [B], nats
    mean: Callable  # (out) -> image [B, H, W, C] in [-1, 1]
    binary: bool  # whether it is a law of black-or-white pixels, which may be binarised
    discrete: bool = False  # else: a probability of each of 256 levels, and no density


def bernoulli() -> Likelihood:
    """Black-or-white pixels, `out` their logits: log p = sum y out - log(1 + exp(out)).

    y = (image + 1) / 2. On grey images this is the customary cross-entropy, but no likelihood: its
    values compare with nothing published. Binarise for those.
    """

    def log_prob(params, out, image):
        return _sum_event(0.5 * (image + 1) * out - jax.nn.softplus(out))

    def mean(out):
        return 2 * jax.nn.sigmoid(out) - 1

    return Likelihood({}, log_prob, mean, binary=True)


def gaussian(*, sigma: Annotated[float, above(0)] = 1.0, learned: bool = True) -> Likelihood:
    """Independent normal pixels around `out`, all of one standard deviation on the [-1, 1] scale.

    log p = sum -(x - out)^2 / (2 sigma^2) - log sigma - log(2 pi) / 2. A density: its logarithm may
    be positive. `learned` makes log sigma a parameter that starts at `sigma`, which balances rate
    and distortion without tuning: the sigma-VAE (Rybkin et al. 2021, arXiv 2006.13202).
    """
    start = math.log(sigma)

    def log_prob(params, out, image):
        log_sigma = _soft_floor(params["log_sigma"]) if learned else start
        error = (image - out) * jnp.exp(-log_sigma)
        return -_sum_event(0.5 * error**2 + log_sigma + 0.5 * math.log(2 * math.pi))

    def mean(out):
        return jnp.clip(out, -1, 1)

    return Likelihood({"log_sigma": start} if learned else {}, log_prob, mean, binary=False)


def _soft_floor(log_sigma: jax.Array) -> jax.Array:
    """log sigma kept above `LOG_SIGMA_FLOOR` = f by f + softplus(log sigma - f), smoothly.

    A hard maximum has no gradient below the floor, so that a sigma once there never grows again.
    """
    return LOG_SIGMA_FLOOR + jax.nn.softplus(log_sigma - LOG_SIGMA_FLOOR)


def _sum_event(x: jax.Array) -> jax.Array:
    return x.astype(jnp.float32).sum(tuple(range(1, x.ndim)))
