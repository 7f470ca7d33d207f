"""What stands between encoder and decoder: the approximate posterior q(z | x) over the latent."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

LOGVAR_LIMIT = 10.0


class Posterior(NamedTuple):
    """The diagonal Gaussian q(z | x) = N(mu, diag exp(logvar))."""

    mu: jax.Array  # f32 [B, D]
    logvar: jax.Array  # f32 [B, D]


def diagonal_gaussian(h: jax.Array) -> Posterior:
    """The posterior from the encoder's output [B, 2 D]: mu, then the log-variance.

    logvar = 10 tanh(h / 10), in (-10, 10): one unusual image early in training can send exp(h) to
    infinity, and the run to NaN. Unlike a hard clip the soft one keeps a gradient to come back by
    (the limits are those of NVAE, Vahdat & Kautz 2020).
    """
    mu, h = jnp.split(h.astype(jnp.float32), 2, axis=-1)
    return Posterior(mu, LOGVAR_LIMIT * jnp.tanh(h / LOGVAR_LIMIT))


def reparameterize(posterior: Posterior, eps: jax.Array) -> jax.Array:
    """A draw z = mu + exp(logvar / 2) eps [B, D] from standard normal noise `eps` [B, D].

    z is differentiable in mu and logvar (Kingma & Welling 2014, arXiv 1312.6114).
    """
    return posterior.mu + jnp.exp(0.5 * posterior.logvar) * eps


def kl(posterior: Posterior) -> jax.Array:
    """KL(q(z | x) || N(0, I)) by dimension: (mu^2 + exp(logvar) - 1 - logvar) / 2, nats [B, D]."""
    mu, logvar = posterior
    # expm1: near the prior, exp(logvar) - 1 - logvar is a small difference of large terms.
    return 0.5 * (mu**2 + jnp.expm1(logvar) - logvar)


def log_ratio(posterior: Posterior, eps: jax.Array, z: jax.Array) -> jax.Array:
    """log q(z | x) - log p(z) of draws z [B, K, D] made from noise `eps` [B, K, D], nats [B, K].

    = sum_d (z^2 - eps^2 - logvar) / 2, in which (z - mu)^2 / exp(logvar) is eps^2 exactly: nothing
    is divided by a small variance. Its mean over eps is the KL.
    """
    return 0.5 * (z**2 - eps**2 - posterior.logvar[:, None]).sum(-1)
