"""Causal self-attention: its core, what a query may see, and the cache of keys and values.

Shapes: B rows, T new tokens (queries), S cached columns, N query heads, K key/value heads, H width
of a head, D = N H.
"""

import functools
import logging
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from aigc_jax.layers import positions as schemes
from aigc_jax.layers.dense import Dense


class KeyValues(NamedTuple):
    """The cache of one layer; heads before columns, the order in which decoding reads it."""

    keys: jax.Array  # [B, K, S, H]
    values: jax.Array  # [B, K, S, H]


class View(NamedTuple):
    """What the queries of one call may see."""

    positions: jax.Array  # i32 [B, T] or [1, T]
    mask: jax.Array | None = None  # bool [B, 1, T, S]; None: plain causal
    bias: jax.Array | None = None  # f32 [B, N, T, S]
    column: jax.Array | None = None  # i32 [], where in the cache the new tokens go


def causal_view(scheme: schemes.Scheme, heads: int, length: int) -> View:
    """Every token sees itself and the ones before: no mask array, so fused kernels can be used."""
    positions = jnp.arange(length)[None]
    return View(positions, bias=scheme.bias(heads, positions, positions))


def cached_view(
    scheme: schemes.Scheme,
    heads: int,
    pad: jax.Array,
    column: jax.Array,
    length: int,
    capacity: int,
) -> View:
    """Tokens at columns column .. column + length - 1 of rows whose first pad[b] columns are void.

    Token c of row b has position c - pad[b] and sees the columns pad[b] .. c. Void tokens see
    nothing; attention then averages all values, and nobody reads the result.

    Args:
      scheme: how positions enter.
      heads: N.
      pad: i32 [B].
      column: i32 [], columns that are filled already.
      length: T.
      capacity: S.
    """
    queries, keys = column + jnp.arange(length), jnp.arange(capacity)
    causal = keys[None, None] <= queries[None, :, None]  # [1, T, S]
    real = keys[None, None] >= pad[:, None, None]  # [B, 1, S]
    at = lambda columns: jnp.maximum(columns - pad[:, None], 0)
    bias = scheme.bias(heads, at(queries[None]), at(keys[None]))
    return View(at(queries[None]), (causal & real)[:, None], bias, column)


def empty_cache(batch: int, capacity: int, kv_heads: int, width: int, dtype: Any) -> KeyValues:
    """A cache of zeros for `capacity` columns."""
    zeros = jnp.zeros((batch, kv_heads, capacity, width), dtype)
    return KeyValues(zeros, zeros)


def enlarged(caches: Any, capacity: int) -> Any:
    """A cache, or any tree of caches, with zeros after the columns, `capacity` in all."""

    def put(old):  # [..., S, H]
        room = [(0, 0)] * old.ndim
        room[-2] = (0, capacity - old.shape[-2])
        return jnp.pad(old, room)

    return jax.tree.map(put, caches)


def write(cache: KeyValues, k: jax.Array, v: jax.Array, column: jax.Array) -> KeyValues:
    """The cache with keys and values [B, T, K, H] put at `column`."""

    def put(old, new):
        new = jnp.moveaxis(new, 1, 2).astype(old.dtype)
        return jax.lax.dynamic_update_slice(old, new, (0, 0, column, 0))

    return KeyValues(put(cache.keys, k), put(cache.values, v))


@functools.cache
def implementation(query: tuple, key: tuple, dtype: Any) -> str:
    """The kernel of plain causal attention: "cudnn" where it can, else "xla" and a log line."""
    try:
        _try_cudnn(query, key, dtype)
    except (RuntimeError, NotImplementedError, ValueError, TypeError) as reason:
        logging.getLogger(__name__).info("attention by XLA, not by cuDNN: %s", reason)
        return "xla"
    return "cudnn"


def _try_cudnn(query, key, dtype):
    """Compiles cuDNN attention of these shapes, forward and backward; raises what it raises.

    Tracing finds only the shapes that JAX refuses; others have no plan in the cuDNN at hand, which
    shows when they are compiled, and would then stop the whole program.
    """
    if jax.default_backend() != "gpu" or dtype not in (jnp.bfloat16, jnp.float16):
        raise ValueError(f"it needs bfloat16 or float16 on a GPU, not {dtype}")
    fused = functools.partial(jax.nn.dot_product_attention, is_causal=True, implementation="cudnn")
    like = [jax.ShapeDtypeStruct(shape, dtype) for shape in (query, key, key)]
    total = lambda *qkv: fused(*qkv).astype(jnp.float32).sum()
    jax.jit(jax.grad(total, argnums=(0, 1, 2))).lower(*like).compile()


def attend(q: jax.Array, k: jax.Array, v: jax.Array, view: View) -> jax.Array:
    """softmax(q k^T / sqrt(H) + bias) v over what `view` lets be seen; the softmax in float32.

    Args:
      q: [B, T, N, H].
      k: [B, S, K, H], N a multiple of K (grouped queries, arXiv 2305.13245).
      v: [B, S, K, H].
      view: mask and bias.

    Returns:
      [B, T, N, H].
    """
    plain = view.mask is None and view.bias is None
    how = implementation(q.shape, k.shape, q.dtype) if plain else "xla"
    return jax.nn.dot_product_attention(
        q, k, v, view.bias, view.mask, is_causal=view.mask is None, implementation=how
    )


def weights(q: jax.Array, k: jax.Array, view: View) -> jax.Array:
    """softmax(q k^T / sqrt(H) + bias) over what `view` lets be seen, which `attend` never holds.

    Args:
      q: [B, T, N, H].
      k: [B, S, K, H].
      view: mask and bias; S is T where it has no mask.

    Returns:
      f32 [B, N, T, S], 0 exactly where nothing is seen.
    """
    k = jnp.repeat(k, q.shape[2] // k.shape[2], axis=2)
    logits = jnp.einsum("btnh,bsnh->bnts", q, k, preferred_element_type=jnp.float32)
    logits = logits / math.sqrt(q.shape[-1])
    if view.bias is not None:
        logits = logits + view.bias
    seen = jnp.tri(q.shape[1], dtype=bool) if view.mask is None else view.mask
    return jax.nn.softmax(jnp.where(seen, logits, -jnp.inf))


class SelfAttention(nn.Module):
    """Multi-head causal self-attention with grouped keys and values (arXiv 1706.03762).

    `qk_norm` takes the RMS norm of every query and key head before they are rotated, which bounds
    the attention logits (arXiv 2302.05442). Where the collection "intermediates" is mutable, the
    attention weights f32 [B, N, T, S] are kept there.
    """

    heads: int
    kv_heads: int
    positions: str
    qk_norm: bool = False
    bias: bool = True
    dtype: Any = jnp.float32
    kernel_init: Any = nn.initializers.normal(0.02)
    out_init: Any = nn.initializers.normal(0.02)

    @nn.compact
    def __call__(
        self, x: jax.Array, view: View, cache: KeyValues | None = None
    ) -> tuple[jax.Array, KeyValues | None]:
        """[B, T, D] and the layer's cache -> [B, T, D] and the cache with T more columns."""
        batch, length, dim = x.shape
        q, k, v = self._project(x, dim // self.heads)
        rotate = schemes.SCHEMES[self.positions].rotate
        q, k = rotate(q, view.positions), rotate(k, view.positions)
        if cache is not None:
            cache = write(cache, k, v, view.column)
            k, v = (jnp.moveaxis(a, 1, 2) for a in cache)
        if self.is_mutable_collection("intermediates"):  # not computed for nobody
            self.sow("intermediates", "weights", weights(q, k, view))
        out = attend(q, k, v, view).reshape(batch, length, dim)
        dense = Dense(dim, self.bias, dtype=self.dtype, kernel_init=self.out_init, name="out")
        return dense(out), cache

    def _project(self, x, width):
        """Queries [B, T, N, H], keys and values [B, T, K, H] from one matrix product."""
        shared = self.heads // self.kv_heads  # queries of one key and value
        features = self.kv_heads * (shared + 2) * width
        init = self.kernel_init
        qkv = Dense(features, self.bias, dtype=self.dtype, kernel_init=init, name="qkv")(x)
        # Columns go by heads of keys and values, so that devices which divide them need no other's.
        heads = qkv.reshape(*x.shape[:2], self.kv_heads, shared + 2, width)
        q = heads[:, :, :, :shared].reshape(*x.shape[:2], self.heads, width)
        k, v = heads[:, :, :, shared], heads[:, :, :, shared + 1]
        if self.qk_norm:
            q = nn.RMSNorm(dtype=self.dtype, name="q_norm")(q)
            k = nn.RMSNorm(dtype=self.dtype, name="k_norm")(k)
        return q, k, v
