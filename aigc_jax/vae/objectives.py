"""What a variational autoencoder minimises: one number from per-example rates and distortions."""

import jax
import jax.numpy as jnp


def negative_elbo(
    distortion: jax.Array, kl: jax.Array, *, beta: jax.Array | float = 1.0, free_bits: float = 0.0
) -> jax.Array:
    """Distortion + beta * rate in nats, each summed over its event, averaged over the batch.

    loss = mean_b distortion_b + beta sum_d max(mean_b kl_bd, free_bits)

    With beta = 1 and no free bits this is the negative evidence lower bound. beta > 1 asks for
    fewer nats through the latent (beta-VAE, Higgins et al. 2017). Each latent dimension may carry
    `free_bits` nats on average over the batch without paying, so that none is given up early
    (Kingma et al. 2016, arXiv 1606.04934). The maximum is taken of a batch mean, so
    with free bits the objective is not a mean over examples: it cannot be cut into microbatches or
    averaged over devices.

    Args:
      distortion: -log p(x | z), f32 [B].
      kl: the rate by latent dimension, f32 [B, D].
      beta: weight of the rate.
      free_bits: nats per latent dimension.
    """
    return distortion.mean() + beta * jnp.maximum(kl.mean(0), free_bits).sum()


def bound(distortion: jax.Array, rate: jax.Array) -> dict[str, jax.Array]:
    """The evidence lower bound elbo = -(rate + distortion) <= log p(x) and its parts, in nats.

    Always with beta = 1 and without free bits, so that differently trained models compare.
    """
    return {"elbo": -(rate + distortion), "rate": rate, "distortion": distortion}


def check_free_bits(free_bits: float, accumulate: int, axis_name: str | None) -> None:
    """Raises ValueError when free bits are asked for where the batch is not seen in one piece."""
    if free_bits < 0:
        raise ValueError(f"free_bits={free_bits}: must be 0 or more nats per latent dimension")
    if free_bits > 0 and accumulate > 1:
        raise ValueError(
            f"free_bits={free_bits} with accumulate={accumulate}: free bits are not a mean over "
            "examples, so microbatches would change them; use accumulate=1 or free_bits=0"
        )
    if free_bits > 0 and axis_name is not None:
        raise ValueError(
            f"free_bits={free_bits} with each device on a batch of its own (axis {axis_name!r}): "
            "free bits are not a mean over examples; use jit instead of pmap, or free_bits=0"
        )
