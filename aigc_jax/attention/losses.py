"""Next-token cross-entropy, computed without holding all logits at once."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from aigc_jax.layers import shares

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
      logits: hidden states [..., D] -> logits [..., V], or more columns of -inf; may close over
        parameters.
      hidden: [B, T, D].
      targets: i32 [B, T].
      vocab: V.
      limit: logits per chunk, at least those of one position of every row.

    Returns:
      nats f32 [B, T].
    """
    batch, length, _ = hidden.shape
    if (width := _width(batch, length, vocab, limit)) == length:
        return cross_entropy(logits(hidden), targets)

    @jax.checkpoint
    def chunk_nll(piece):
        hidden, targets = piece
        return cross_entropy(logits(hidden), targets)

    nll = jax.lax.map(chunk_nll, (_split(hidden, width), _split(targets, width)))
    return jnp.moveaxis(nll, 0, 1).reshape(batch, -1)[:, :length]


def total_nll(
    logits: Callable[[jax.Array], jax.Array],
    hidden: jax.Array,
    targets: jax.Array,
    vocab: int,
    weights: jax.Array | None = None,
    limit: int = LOGITS,
    ways: int = 1,
) -> jax.Array:
    """The sum over rows and time of weight times cross-entropy, for training: f32 [].

    Its gradient costs three products with the vocabulary, where that of a chunked `token_nll`,
    which computes logits twice, costs four: a sum is linear in its cotangent, so each chunk's
    gradient is computed while its logits are there. Arguments are those of `token_nll`, and
    `weights` [B, T], 1 if not given. Only reverse-mode derivatives of first order.

    Where `ways` devices share the batch, each sums the gradients of its own rows over all chunks,
    and they are added once, at the end; the chunks are those of one device's rows.
    """
    batch, length, _ = hidden.shape
    ways = ways if batch % ways == 0 else 1
    weights = jnp.ones(targets.shape) if weights is None else weights
    if (width := _width(batch // ways, length, vocab, limit)) == length:
        return (weights * cross_entropy(logits(hidden), targets)).sum()
    pieces = [_shares(_split(x, width), ways) for x in (hidden, targets, weights)]
    like = jax.eval_shape(lambda h: h[0, 0], pieces[0])
    with jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((), ())):  # a share stays whole
        logits, parameters = jax.closure_convert(logits, like)
    return _chunked_total(logits, parameters, *pieces)


def _width(batch, length, vocab, limit):
    """Positions per chunk: a divisor of T if there is one of at least half of what `limit` lets."""
    most = max(limit // (batch * vocab), 1)
    divisors = [n for n in range((most + 1) // 2, most + 1) if length % n == 0]
    return length if most >= length else max(divisors, default=most)


def _split(x, width):
    """[B, T, ...] -> [chunks, B, width, ...], zeros after the end."""
    x = jnp.pad(x, [(0, 0), (0, -x.shape[1] % width)] + [(0, 0)] * (x.ndim - 2))
    return jnp.moveaxis(x.reshape(x.shape[0], -1, width, *x.shape[2:]), 1, 0)


def _shares(x, ways):
    """[chunks, B, ...] -> [chunks, ways, B / ways, ...]."""
    return x.reshape(x.shape[0], ways, -1, *x.shape[2:])


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _chunked_total(logits, parameters, hidden, targets, weights):
    return _chunked_total_forward(logits, parameters, hidden, targets, weights)[0]


def _chunked_total_forward(logits, parameters, hidden, targets, weights):
    def share(hidden, targets, weights):
        """(sum, gradients to the parameters, gradient to hidden, nll) of one device's rows."""
        wide = lambda *args: logits(*args).astype(jnp.float32)
        scores, pull = jax.vjp(wide, hidden, *parameters)
        logsum = jax.nn.logsumexp(scores, axis=-1, keepdims=True)
        picked = jnp.take_along_axis(scores, targets[..., None], axis=-1)
        nll = (logsum - picked)[..., 0]
        # Not by scatter, as the gradient of take_along_axis is: this fuses with the softmax.
        hit = jnp.arange(scores.shape[-1]) == targets[..., None]
        dhidden, *new = pull(weights[..., None] * (jnp.exp(scores - logsum) - hit))
        return ((weights * nll).sum(), new), (dhidden, nll)

    def add(sums, piece):
        new, rest = jax.vmap(share)(*piece)
        return jax.tree.map(jnp.add, sums, new), rest

    ways = hidden.shape[1]
    empty = jax.tree.map(
        lambda x: jnp.zeros((ways, *x.shape), x.dtype), (jnp.zeros(()), list(parameters))
    )
    (totals, dparameters), rest = jax.lax.scan(add, empty, (hidden, targets, weights))
    return totals.sum(), (dparameters, *rest)


def _chunked_total_backward(logits, saved, cotangent):
    dparameters, dhidden, nll = jax.tree.map(lambda x: (cotangent * x).astype(x.dtype), saved)
    return [shares.summed(x) for x in dparameters], dhidden, None, nll


_chunked_total.defvjp(_chunked_total_forward, _chunked_total_backward)


def weighted_sum(nll: jax.Array, weights: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
    """(sum of w nll over time, sum of w) per row: f32 [B, T] and 1 or [B, T] -> f32 [B] twice.

    Perplexity, bits per byte (sum / ln 2 / bytes) and nats per token are views of the pair.
    """
    weights = jnp.ones_like(nll) if weights is None else weights
    return (nll * weights).sum(axis=-1), weights.sum(axis=-1)


def unit_mean(weights: jax.Array, axis_name: str | None = None) -> jax.Array:
    """w / mean(w) over the whole batch of a step, f32 [B, ...]; all 0 where no weight counts.

    With these weights, given before microbatches and devices divide the batch, a plain mean of w x
    is sum(w x) / sum(w), and the mean of the parts' means is that of the batch, however many of a
    part's examples count.

    Args:
      weights: at least 0, [B, ...].
      axis_name: of the devices of a pmap, which hold a part of the batch each.
    """
    weights = weights.astype(jnp.float32)
    mean = weights.mean()
    mean = mean if axis_name is None else jax.lax.pmean(mean, axis_name)
    return weights / jnp.where(mean > 0, mean, 1)
