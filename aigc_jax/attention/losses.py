"""Next-token cross-entropy, computed without holding all logits at once."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

# Logits held at a time: 2^27 float32 are half a gibibyte.
LOGITS = 2**27


def cross_entropy(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """-log softmax(logits)[target] in nats: [..., V] and i32 [...] -> f32 [...]."""
    logits = logits.astype(jnp.float32)
    picked = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    return jax.nn.logsumexp(logits, axis=-1) - picked


def token_nll(
    logits: Callable[[jax.Array], jax.Array],
    hidden: jax.Array,
    targets: jax.Array,
    vocab: int,
    limit: int = LOGITS,
) -> jax.Array:
    """The cross-entropy of every target, with at most about `limit` logits alive.

    Positions are taken in chunks by a scan that computes its logits again in the backward pass, so
    memory grows with the chunk, not with B T V. Chunks run along time: the batch axis stays whole,
    and a batch that is sharded over devices is not moved.

    Args:
      logits: hidden states [..., D] -> logits [..., V]; may close over parameters.
      hidden: [B, T, D].
      targets: i32 [B, T].
      vocab: V.
      limit: logits per chunk, at least those of one position of every row.

    Returns:
      nats f32 [B, T].
    """
    batch, length, _ = hidden.shape
    chunks = min(length, -(-batch * length * vocab // limit))
    if chunks <= 1:
        return cross_entropy(logits(hidden), targets)
    width = -(-length // chunks)

    def split(x):  # [B, T, ...] -> [chunks, B, width, ...]
        x = jnp.pad(x, [(0, 0), (0, -length % width)] + [(0, 0)] * (x.ndim - 2))
        return jnp.moveaxis(x.reshape(batch, -1, width, *x.shape[2:]), 1, 0)

    @jax.checkpoint
    def chunk_nll(piece):
        hidden, targets = piece
        return cross_entropy(logits(hidden), targets)

    nll = jax.lax.map(chunk_nll, (split(hidden), split(targets)))  # [chunks, B, width]
    return jnp.moveaxis(nll, 0, 1).reshape(batch, -1)[:, :length]


def weighted_sum(nll: jax.Array, weights: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
    """(sum of w nll over time, sum of w) per row: f32 [B, T] and 1 or [B, T] -> f32 [B] twice.

    Perplexity, bits per byte (sum / ln 2 / bytes) and nats per token are views of the pair.
    """
    weights = jnp.ones_like(nll) if weights is None else weights
    return (nll * weights).sum(axis=-1), weights.sum(axis=-1)
