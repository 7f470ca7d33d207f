"""What a variational autoencoder minimises: one number from the terms of every example.

An objective is a function `(terms, *, beta) -> f32 []`, a mean over examples. One that also has a
parameter `free_bits` gets the option of that name.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Terms(NamedTuple):
    """What B images and K draws z ~ q(z | x) of each cost, in nats, summed over their events."""

    distortion: jax.Array  # f32 [B, K], -log p(x | z)
    kl: jax.Array  # f32 [B, D], KL(q(z | x) || p(z)) by latent dimension
    log_ratio: jax.Array  # f32 [B, K], log q(z | x) - log p(z), whose mean over z is the KL


def negative_elbo(
    terms: Terms, *, beta: jax.Array | float = 1.0, free_bits: float = 0.0
) -> jax.Array:
    """Distortion + beta * rate in nats, averaged over the draws of an image and over the batch.

    loss = mean_bk distortion_bk + beta sum_d max(mean_b kl_bd, free_bits)

    With beta = 1 and no free bits this is the negative evidence lower bound. beta > 1 asks for
    fewer nats through the latent (beta-VAE, Higgins et al. 2017). Each latent dimension may carry
    `free_bits` nats on average over the batch without paying, so that none is given up early
    (Kingma et al. 2016, arXiv 1606.04934). The maximum is taken of a batch mean, so
    with free bits the objective is not a mean over examples: it cannot be cut into microbatches or
    averaged over devices.

    Args:
      beta: weight of the rate.
      free_bits: nats per latent dimension.
    """
    return terms.distortion.mean() + beta * jnp.maximum(terms.kl.mean(0), free_bits).sum()


def importance_weighted(terms: Terms, *, beta: jax.Array | float = 1.0) -> jax.Array:
    """The importance-weighted bound on -log p(x) of K draws, averaged over the batch.

    loss = -mean_b log (1 / K) sum_k p(x_b | z_bk) (p(z_bk) / q(z_bk | x_b))^beta

    With beta = 1 this is the objective of the IWAE (Burda et al. 2016, arXiv 1509.00519): one draw
    gives the negative ELBO in expectation, more draws a tighter bound.
    """
    log_weights = -terms.distortion - beta * terms.log_ratio
    draws = log_weights.shape[1]
    return (jnp.log(draws) - jax.nn.logsumexp(log_weights, axis=1)).mean()
