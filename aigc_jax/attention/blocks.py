"""Parts of the transformer: the residual block, a scan over blocks, and token scores.

Blocks have their own parameters, "blocks_0" and so on, or, when scanned, one set "blocks" whose
arrays have a leading axis of layers. `apart` turns the second into the first.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from aigc_jax.layers.attention import KeyValues, View
from aigc_jax.layers.dense import Dense

NORMS = {"layer": nn.LayerNorm, "rms": nn.RMSNorm}
FFNS = ("gelu", "swiglu")
INIT = nn.initializers.normal(0.02)


def swiglu_width(dim: int) -> int:
    """8/3 D rounded up to a multiple of 128 (11,008 for 4,096, as in LLaMA), below 512 of 8.

    So a wide layer is divided over 2, 4, 8 or 16 devices in whole groups of eight.
    """
    multiple = 128 if dim >= 512 else 8
    return multiple * -(-8 * dim // (3 * multiple))


class FeedForward(nn.Module):
    """The position-wise network: gelu(x W1) W2, or (silu(x Wg) * x Wu) W2 (arXiv 2002.05202).

    GELU, in GPT-2's tanh form, is 4 D wide; SwiGLU, with its third matrix, `swiglu_width`.
    """

    kind: str
    bias: bool
    dtype: Any
    out_init: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, T, D] -> [B, T, D]."""
        dim = x.shape[-1]
        dense = functools.partial(Dense, use_bias=self.bias, dtype=self.dtype)
        if self.kind == "gelu":
            x = nn.gelu(dense(4 * dim, kernel_init=INIT, name="in")(x))
        else:
            gate_up = dense(2 * swiglu_width(dim), kernel_init=INIT, name="in")(x)
            # In turns of eight, so that devices which divide the columns have both of their own.
            pairs = gate_up.reshape(*gate_up.shape[:-1], -1, 2, 8)
            gate, up = (pairs[..., i, :].reshape(*x.shape[:-1], -1) for i in range(2))
            x = nn.silu(gate) * up
        return dense(dim, kernel_init=self.out_init, name="out")(x)


class Block(nn.Module):
    """Pre-norm residual block: x + attention(norm(x)), then x + feed_forward(norm(x))."""

    norm: Callable[..., nn.Module]
    attention: Callable[..., nn.Module]
    feed_forward: Callable[..., nn.Module]
    dropout: float

    @nn.compact
    def __call__(
        self, x: jax.Array, view: View, cache: KeyValues | None = None, train: bool = False
    ) -> tuple[jax.Array, KeyValues | None]:
        """[B, T, D] and the layer's cache -> both after the block."""
        drop = nn.Dropout(self.dropout, deterministic=not train)
        mixed, cache = self.attention(name="attention")(self.norm(name="norm_1")(x), view, cache)
        x = x + drop(mixed)
        return x + drop(self.feed_forward(name="ffn")(self.norm(name="norm_2")(x))), cache


def recomputed(scanned: bool) -> type[nn.Module]:
    """`Block` whose activations are computed again in the backward pass, not kept."""
    # Inside a scan nothing can be merged with the forward pass, so no barrier is needed.
    return nn.remat(Block, static_argnums=(4,), prevent_cse=not scanned)


def scanned(block: type[nn.Module], layers: int) -> type[nn.Module]:
    """`layers` blocks as one module that is traced once: (x, view, caches, train).

    Parameters, caches and what goes to "intermediates" get a leading axis of layers.
    """
    return nn.scan(
        block,
        variable_axes={"params": 0, "intermediates": 0},
        split_rngs={"params": True, "dropout": True},
        in_axes=(nn.broadcast, 0, nn.broadcast),
        length=layers,
    )


def apart(params: Mapping[str, Any], layers: int) -> dict[str, Any]:
    """Parameters of scanned blocks as those of blocks on their own, "blocks_0" and so on."""
    rest = {name: tree for name, tree in params.items() if name != "blocks"}
    pick = lambda i: jax.tree.map(lambda x: x[i], params["blocks"])
    return rest | {f"blocks_{i}": pick(i) for i in range(layers)}


def multiplied_in(dtype: Any, params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters, those of dense layers and embeddings cast as these cast them at every call.

    Norms compute with theirs in float32, so they stay.
    """

    def cast(tree):
        if not isinstance(tree, Mapping):
            return tree
        if "kernel" in tree or "embedding" in tree:
            return jax.tree.map(lambda x: x.astype(dtype), tree)
        return {name: cast(child) for name, child in tree.items()}

    return cast(params)


@jax.custom_vjp
def scores(hidden: jax.Array, table: jax.Array) -> jax.Array:
    """hidden E^T, multiplied in the dtype of `hidden` and summed in float32.

    The gradient multiplies in that dtype too. JAX's own has one float32 operand, which turns two of
    the three largest products of a bfloat16 language model into float32 ones.

    Args:
      hidden: [..., D].
      table: E, f32 [V, D].

    Returns:
      f32 [..., V].
    """
    matrix = table.astype(hidden.dtype)
    return jnp.matmul(hidden, matrix.T, preferred_element_type=jnp.float32)


def _scores_forward(hidden, table):
    return scores(hidden, table), (hidden, table)


def _scores_backward(saved, cotangent):
    hidden, table = saved
    flat = lambda x: x.reshape(-1, x.shape[-1]).astype(hidden.dtype)
    product = functools.partial(jnp.matmul, preferred_element_type=jnp.float32)
    dhidden = product(flat(cotangent), table.astype(hidden.dtype)).reshape(hidden.shape)
    dtable = product(flat(cotangent).T, flat(hidden))
    return dhidden.astype(hidden.dtype), dtable.astype(table.dtype)


scores.defvjp(_scores_forward, _scores_backward)
