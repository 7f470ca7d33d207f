"""Packs: m images that the discriminator judges together, so that it sees their variety."""

import dataclasses
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp


def pack(m: int) -> Callable[[jax.Array], jax.Array]:
    """Images [B, H, W, C] -> [B / m, H, W, m C]: rows m i .. m i + m - 1 along the channels of i.

    Of independent samples any m will do; consecutive rows leave a sharded batch in place
    (PacGAN, Lin et al., arXiv 1712.04086).

    Raises:
      ValueError: B is not a multiple of m.
    """

    def packed(images):
        size, height, width, channels = images.shape
        if size % m:
            raise ValueError(
                f"config.algorithm.pack = {m}: a batch of {size} images on a device cannot be put "
                f"into packs; accepted are multiples of {m}"
            )
        together = images.reshape(size // m, m, height, width, channels)
        return jnp.moveaxis(together, 1, 3).reshape(size // m, height, width, m * channels)

    return packed if m > 1 else lambda images: images


def judging(discriminator: nn.Module, m: int) -> nn.Module:
    """The discriminator for packs of m: one with a field `shape` gets m times the channels."""
    fields = {field.name for field in dataclasses.fields(discriminator)}
    if m == 1 or "shape" not in fields:
        return discriminator
    height, width, channels = discriminator.shape
    return discriminator.clone(shape=(height, width, m * channels))
