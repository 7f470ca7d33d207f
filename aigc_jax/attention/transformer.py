"""A decoder-only transformer: GPT-2 by default, its descendants by options.

Language models here and in `rnn` keep one outer contract, with which `decode.generate` and the loss
work: `vocab`; `hidden(tokens, train)` and `logits(hidden)` for training; for generation `window`,
the number of tokens that can be looked back on, or None for any, `start(pad, capacity, offset)`,
`grow(memory, capacity)` and `extend(tokens, memory)`.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from aigc_jax.layers.attention import (
    KeyValues,
    SelfAttention,
    View,
    cached_view,
    causal_view,
    empty_cache,
    enlarged,
)
from aigc_jax.layers.dense import Dense
from aigc_jax.layers.positions import SCHEMES

NORMS = {"layer": nn.LayerNorm, "rms": nn.RMSNorm}
FFNS = ("gelu", "swiglu")
INIT = nn.initializers.normal(0.02)


class Memory(NamedTuple):
    """What generation carries from token to token."""

    layers: Sequence[KeyValues]
    column: jax.Array  # i32 [], columns filled
    pad: jax.Array  # i32 [B], void columns at the left of each row
    offset: jax.Array  # i32 [B], tokens of the text that come before a row's first one


def check(model: "Transformer") -> None:
    """Raises ValueError when the options of `model` do not fit together."""
    for option, known in (("positions", SCHEMES), ("norm", NORMS), ("ffn", FFNS)):
        if (value := getattr(model, option)) not in known:
            raise ValueError(f"{option}={value!r} is none of {', '.join(sorted(known))}")
    for option in ("vocab", "context", "dim", "layers", "heads"):
        if (value := getattr(model, option)) < 1:
            raise ValueError(f"{option}={value} must be at least 1 (tokens come from text data)")
    divisors = [n for n in range(1, model.dim + 1) if model.dim % n == 0]
    if model.heads not in divisors:
        raise ValueError(f"heads={model.heads} must divide dim={model.dim}: one of {divisors}")
    groups = [n for n in range(1, model.heads + 1) if model.heads % n == 0]
    if (model.kv_heads or model.heads) not in groups:
        raise ValueError(
            f"kv_heads={model.kv_heads} must divide heads={model.heads}: one of {groups}"
        )
    width = model.dim // model.heads
    if model.positions == "rope" and width % 2:
        raise ValueError(f"positions='rope' needs an even dim / heads, not {width}")
    if any(period < 2 for period in model.periods):
        raise ValueError(f"periods={model.periods} must be at least 2 tokens each")
    if not 0 <= model.dropout < 1:
        raise ValueError(f"dropout={model.dropout} must be at least 0 and below 1")


class FeedForward(nn.Module):
    """The position-wise network: gelu(x W1) W2, or (silu(x Wg) * x Wu) W2 (arXiv 2002.05202).

    GELU, in GPT-2's tanh form, is 4 D wide; SwiGLU, with its third matrix, 8/3 D rounded up to a
    multiple of 8.
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
            gate_up = dense(16 * -(-dim // 3), kernel_init=INIT, name="in")(x)
            gate, up = jnp.split(gate_up, 2, axis=-1)
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


class Transformer(nn.Module):
    """Decoder-only transformer with tied embeddings (GPT-2; initialised as in nanoGPT).

    Weights are normal with deviation 0.02, those that write into the residual stream
    0.02 / sqrt(2 layers). Parameters are float32; matrices multiply in `dtype`, while norms,
    softmax and logits are float32. Dropout is on the embeddings and on what each branch adds;
    attention weights have none, since fused attention never holds them.

    Options: `positions` "learned", "rope", "alibi", "none"; `norm` "layer", "rms"; `ffn` "gelu",
    "swiglu"; `kv_heads` below `heads` for grouped queries; `qk_norm`; `bias` for all dense and norm
    layers; `periods` p add a learned embedding of (place in the text) mod p to each input, such as
    the voice and the place in the beat of music whose windows start with a period of their piece.
    Raises ValueError, when built, for a combination that `check` refuses.
    """

    vocab: int
    context: int
    dim: int = 128
    layers: int = 4
    heads: int = 4
    kv_heads: int | None = None  # None: as many as heads
    positions: str = "learned"
    periods: Sequence[int] = ()
    norm: str = "layer"
    ffn: str = "gelu"
    qk_norm: bool = False
    bias: bool = True
    dropout: float = 0.0
    dtype: Any = jnp.float32

    def __post_init__(self):
        check(self)
        super().__post_init__()

    def setup(self):
        common = {"bias": self.bias, "dtype": self.dtype}
        common["out_init"] = nn.initializers.normal(0.02 / math.sqrt(2 * self.layers))
        attention = functools.partial(
            SelfAttention, self.heads, self._kv_heads, self.positions, self.qk_norm, **common
        )
        feed_forward = functools.partial(FeedForward, self.ffn, **common)
        norm = functools.partial(NORMS[self.norm], epsilon=1e-5, dtype=self.dtype)
        if self.norm == "layer":
            norm = functools.partial(norm, use_bias=self.bias)
        self.embed = nn.Embed(self.vocab, self.dim, embedding_init=INIT, dtype=self.dtype)
        if self.positions == "learned":
            self.places = nn.Embed(self.context, self.dim, embedding_init=INIT, dtype=self.dtype)
        self.phases = [
            nn.Embed(period, self.dim, embedding_init=INIT, dtype=self.dtype)
            for period in self.periods
        ]
        self.drop = nn.Dropout(self.dropout)
        self.blocks = [
            Block(norm, attention, feed_forward, self.dropout) for _ in range(self.layers)
        ]
        self.norm_out = norm()

    @property
    def _kv_heads(self) -> int:
        return self.kv_heads or self.heads

    @property
    def window(self) -> int:
        """The number of tokens that can be looked back on."""
        return self.context

    def __call__(self, tokens: jax.Array, train: bool = False) -> jax.Array:
        """Next-token logits: i32 [B, T] -> f32 [B, T, V]."""
        return self.logits(self.hidden(tokens, train))

    def hidden(self, tokens: jax.Array, train: bool = False) -> jax.Array:
        """States after the last norm: i32 [B, T] -> [B, T, D]. Raises ValueError if T > context."""
        if tokens.shape[1] > self.context:
            raise ValueError(f"{tokens.shape[1]} tokens exceed context={self.context}")
        view = causal_view(SCHEMES[self.positions], self.heads, tokens.shape[1])
        return self._run(tokens, view, view.positions, [None] * self.layers, train)[0]

    def logits(self, hidden: jax.Array) -> jax.Array:
        """hidden E^T, E the token embeddings: [..., D] -> f32 [..., V]."""
        table = self.embed.embedding.astype(self.dtype)
        return jnp.matmul(hidden, table.T, preferred_element_type=jnp.float32)

    @nn.nowrap
    def attention_of(self, intermediates: Mapping[str, Any]) -> jax.Array:
        """Weights f32 [B, layers, heads, T, T] from what a pass puts into "intermediates"."""
        blocks = [intermediates[f"blocks_{i}"]["attention"] for i in range(self.layers)]
        return jnp.stack([block["weights"][0] for block in blocks], axis=1)

    @nn.nowrap
    def start(self, pad: jax.Array, capacity: int, offset: jax.Array) -> Memory:
        """An empty cache for `capacity` tokens in rows whose first pad i32 [B] columns are void.

        `offset` i32 [B] tokens of each row's text have been left behind.
        """
        width = self.dim // self.heads
        layer = empty_cache(pad.shape[0], capacity, self._kv_heads, width, self.dtype)
        return Memory([layer] * self.layers, jnp.zeros((), jnp.int32), pad, offset)

    @nn.nowrap
    def grow(self, memory: Memory, capacity: int) -> Memory:
        """The cache with room for `capacity` tokens."""
        return memory._replace(layers=[enlarged(layer, capacity) for layer in memory.layers])

    def extend(self, tokens: jax.Array, memory: Memory) -> tuple[jax.Array, Memory]:
        """States of the next tokens i32 [B, T], given those in `memory`: ([B, T, D], memory)."""
        length, capacity = tokens.shape[1], memory.layers[0].keys.shape[2]
        scheme, column = SCHEMES[self.positions], memory.column
        view = cached_view(scheme, self.heads, memory.pad, column, length, capacity)
        places = view.positions + memory.offset[:, None]
        hidden, layers = self._run(tokens, view, places, memory.layers, train=False)
        return hidden, memory._replace(layers=layers, column=column + length)

    def _run(self, tokens, view, places, caches, train):
        x = self.embed(tokens)
        if self.positions == "learned":
            x = x + self.places(view.positions)
        for period, phase in zip(self.periods, self.phases, strict=True):
            x = x + phase(places % period)
        x = self.drop(x, deterministic=not train)
        new = []
        for block, cache in zip(self.blocks, caches, strict=True):
            x, cache = block(x, view, cache, train)
            new.append(cache)
        return self.norm_out(x), new
