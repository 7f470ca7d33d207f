"""Positional schemes, each a pair of pure functions.

`rotate(x, positions)` acts on queries and keys before keys are cached; `bias(heads, q_positions,
k_positions)` is added to the attention logits. Positions are arrays, so left padding and any other
numbering of the tokens need no further code.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Scheme(NamedTuple):
    """How attention knows where a token stands."""

    rotate: Callable[[jax.Array, jax.Array], jax.Array]
    bias: Callable[[int, jax.Array, jax.Array], jax.Array | None]


def unrotated(x: jax.Array, positions: jax.Array) -> jax.Array:
    """`x` as it is."""
    return x


def unbiased(heads: int, q_positions: jax.Array, k_positions: jax.Array) -> None:
    """No bias at all, so that fused attention kernels can be used."""


def rotary(x: jax.Array, positions: jax.Array, base: float = 10000.0) -> jax.Array:
    """Rotates pair (i, i + H/2) of every head by the angle p / base^(2i/H).

    The product of a rotated query and key depends on their distance alone. Computed in float32.
    RoFormer, arXiv 2104.09864.

    Args:
      x: queries or keys [B, T, N, H], H even.
      positions: [B, T] or [1, T].
      base: the longest wavelength is 2 pi base.
    """
    half = x.shape[-1] // 2
    angles = positions[..., None] * base ** (-jnp.arange(half) / half)  # [B, T, H/2]
    cos, sin = jnp.cos(angles)[:, :, None], jnp.sin(angles)[:, :, None]
    x1, x2 = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    rotated = jnp.concatenate([x1 * cos - x2 * sin, x1 * sin + x2 * cos], axis=-1)
    return rotated.astype(x.dtype)


def distance_bias(heads: int, q_positions: jax.Array, k_positions: jax.Array) -> jax.Array:
    """ALiBi: -m_n |q - k| with slopes m_n = 2^(-8n/N), n = 1..N (arXiv 2108.12409).

    Args:
      heads: N.
      q_positions: [B, T].
      k_positions: [B, S].

    Returns:
      f32 [B, N, T, S].
    """
    slopes = 2.0 ** (-8.0 * jnp.arange(1, heads + 1) / heads)
    distance = jnp.abs(q_positions[:, :, None] - k_positions[:, None, :])  # [B, T, S]
    return -slopes[:, None, None] * distance[:, None]


SCHEMES = {
    "learned": Scheme(unrotated, unbiased),  # the network adds a table to its embeddings
    "rope": Scheme(rotary, unbiased),
    "alibi": Scheme(unrotated, distance_bias),
    "none": Scheme(unrotated, unbiased),
}
