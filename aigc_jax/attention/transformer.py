"""A decoder-only transformer: GPT-2 by default, its descendants by options.

Language models here and in `rnn` keep one outer contract, with which `decode.generate` and the loss
work: `vocab`; `hidden(tokens, train)` and `logits(hidden)` for training; for generation `window`,
the number of tokens that can be looked back on, or None for any, `start(pad, capacity, offset)`,
`grow(memory, capacity)` and `extend(tokens, memory)`. Three more are used where there are:
`padded_logits(hidden)`, for the loss, has more columns than tokens, -inf where there is none;
`for_generation(params)` is the network and parameters that generate the same, but faster;
`attention_of(intermediates)` shows attention weights.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from aigc_jax.attention import blocks
from aigc_jax.attention.blocks import FFNS, INIT, NORMS
from aigc_jax.layers.attention import (
    KeyValues,
    SelfAttention,
    cached_view,
    causal_view,
    empty_cache,
    enlarged,
)
from aigc_jax.layers.broadcast import broadcast
from aigc_jax.layers.positions import SCHEMES
from aigc_jax.ranges import at_least, below, between


class Memory(NamedTuple):
    """What generation carries from token to token."""

    layers: Sequence[KeyValues] | KeyValues  # one each, or all in one [layers, B, K, S, H]
    column: jax.Array  # i32 [], columns filled
    pad: jax.Array  # i32 [B], void columns at the left of each row
    offset: jax.Array  # i32 [B], tokens of the text that come before a row's first one


def check(model: "Transformer") -> None:
    """Raises ValueError when the options of `model` do not fit together."""
    for option, known in (("positions", SCHEMES), ("norm", NORMS), ("ffn", FFNS)):
        if (value := getattr(model, option)) not in known:
            raise ValueError(f"{option}={value!r} is none of {', '.join(sorted(known))}")
    for option in ("vocab", "context"):
        if (value := getattr(model, option)) < 1:
            raise ValueError(f"{option}={value} must be at least 1 (tokens come from text data)")
    if model.heads < 1 or model.dim % model.heads:
        known = _divisors(model.dim)
        raise ValueError(f"heads={model.heads} must divide dim={model.dim}: one of {known}")
    if model.heads % (model.kv_heads or model.heads):
        known = _divisors(model.heads)
        raise ValueError(
            f"kv_heads={model.kv_heads} must divide heads={model.heads}: one of {known}"
        )
    width = model.dim // model.heads
    if model.positions == "rope" and width % 2:
        raise ValueError(f"positions='rope' needs an even dim / heads, not {width}")


def _divisors(number: int) -> list[int]:
    """Those that are numbers of heads: up to 1024."""
    return [n for n in range(1, min(number, 1024) + 1) if number % n == 0]


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

    Options that change speed alone: `vocab_multiple` rounds the rows of the embeddings up to a
    multiple, 128 on GPUs, whose extra tokens have no probability; `scan_layers` runs all blocks as
    a loop over stacked parameters, traced once for all; `remat` computes a block's activations
    again in the backward pass, for memory.
    Raises ValueError, when built, for a combination that `check` refuses.
    """

    vocab: Annotated[int, at_least(1)]
    context: Annotated[int, at_least(1)]
    dim: Annotated[int, at_least(1)] = 128
    layers: Annotated[int, between(1, 1000)] = 4
    heads: Annotated[int, at_least(1)] = 4
    kv_heads: Annotated[int | None, at_least(1)] = None  # None: as many as heads
    positions: Literal[tuple(SCHEMES)] = "learned"
    periods: Annotated[Sequence[int], at_least(2)] = ()
    norm: Literal[tuple(NORMS)] = "layer"
    ffn: Literal[FFNS] = "gelu"
    qk_norm: bool = False
    bias: bool = True
    dropout: Annotated[float, below(1)] = 0.0
    vocab_multiple: Annotated[int, at_least(1)] = 1
    scan_layers: bool = False
    remat: bool = False
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
        feed_forward = functools.partial(blocks.FeedForward, self.ffn, **common)
        norm = functools.partial(NORMS[self.norm], epsilon=1e-5, dtype=self.dtype)
        if self.norm == "layer":
            norm = functools.partial(norm, use_bias=self.bias)
        rows = -(-self.vocab // self.vocab_multiple) * self.vocab_multiple
        self.embed = nn.Embed(rows, self.dim, embedding_init=INIT)
        if self.positions == "learned":
            self.places = nn.Embed(self.context, self.dim, embedding_init=INIT)
        self.phases = [nn.Embed(n, self.dim, embedding_init=INIT) for n in self.periods]
        self.drop = nn.Dropout(self.dropout)
        block = blocks.recomputed(self.scan_layers) if self.remat else blocks.Block
        options = (norm, attention, feed_forward, self.dropout)
        if self.scan_layers:
            self.blocks = blocks.scanned(block, self.layers)(*options)
        else:
            self.blocks = [block(*options) for _ in range(self.layers)]
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
        return self._run(tokens, view, view.positions, None, train)[0]

    def logits(self, hidden: jax.Array) -> jax.Array:
        """hidden E^T, E the token embeddings: [..., D] -> f32 [..., V]."""
        return self.padded_logits(hidden)[..., : self.vocab]

    def padded_logits(self, hidden: jax.Array) -> jax.Array:
        """[..., D] -> f32 [..., rows of E]: the logits, then -inf."""
        scores = blocks.scores(hidden, self.embed.embedding)
        if (rows := scores.shape[-1]) == self.vocab:
            return scores
        return jnp.where(jnp.arange(rows) < self.vocab, scores, -jnp.inf)

    @nn.nowrap
    def attention_of(self, intermediates: Mapping[str, Any]) -> jax.Array:
        """Weights f32 [B, layers, heads, T, T] from what a pass puts into "intermediates"."""
        if self.scan_layers:
            return jnp.moveaxis(intermediates["blocks"]["attention"]["weights"][0], 0, 1)
        each = [intermediates[f"blocks_{i}"]["attention"] for i in range(self.layers)]
        return jnp.stack([block["weights"][0] for block in each], axis=1)

    @nn.nowrap
    def for_generation(self, params: Mapping[str, Any]) -> tuple["Transformer", dict[str, Any]]:
        """The network with its layers apart, and its parameters, matrices cast to `dtype`.

        Otherwise every token would read the matrices in float32, and a scan over layers would copy
        the cache.
        """
        if self.scan_layers:
            params = blocks.apart(params, self.layers)
        model = self.clone(scan_layers=False, remat=False)
        return model, blocks.multiplied_in(self.dtype, params)

    @nn.nowrap
    def start(self, pad: jax.Array, capacity: int, offset: jax.Array) -> Memory:
        """An empty cache for `capacity` tokens in rows whose first pad i32 [B] columns are void.

        `offset` i32 [B] tokens of each row's text have been left behind.
        """
        width = self.dim // self.heads
        layer = empty_cache(pad.shape[0], capacity, self._kv_heads, width, self.dtype)
        if self.scan_layers:
            layers = jax.tree.map(lambda x: jnp.stack([x] * self.layers), layer)
        else:
            layers = [layer] * self.layers
        return Memory(layers, jnp.zeros((), jnp.int32), pad, offset)

    @nn.nowrap
    def grow(self, memory: Memory, capacity: int) -> Memory:
        """The cache with room for `capacity` tokens."""
        return memory._replace(layers=enlarged(memory.layers, capacity))

    def extend(self, tokens: jax.Array, memory: Memory) -> tuple[jax.Array, Memory]:
        """States of the next tokens i32 [B, T], given those in `memory`: ([B, T, D], memory)."""
        length, capacity = tokens.shape[1], jax.tree.leaves(memory.layers)[0].shape[-2]
        scheme, column = SCHEMES[self.positions], memory.column
        view = cached_view(scheme, self.heads, memory.pad, column, length, capacity)
        places = view.positions + memory.offset[:, None]
        hidden, layers = self._run(tokens, view, places, memory.layers, train=False)
        return hidden, memory._replace(layers=layers, column=column + length)

    def _embedded(self, tokens, positions, places):
        """The sum of the embeddings of tokens i32 [B, T], of positions, and of places in a text."""
        rounded = lambda rows: broadcast(rows, (*tokens.shape, self.dim), self.dtype)
        x = rounded(self.embed(tokens))
        if self.positions == "learned":
            x = x + rounded(self.places(positions))
        for period, phase in zip(self.periods, self.phases, strict=True):
            x = x + rounded(phase(places % period))
        return x

    def _run(self, tokens, view, places, caches, train):
        x = self._embedded(tokens, view.positions, places)
        x = self.drop(x, deterministic=not train)
        if self.scan_layers:
            x, new = self.blocks(x, view, caches, train)
            return self.norm_out(x), new
        new = []
        for block, cache in zip(self.blocks, caches or [None] * self.layers, strict=True):
            x, cache = block(x, view, cache, train)
            new.append(cache)
        return self.norm_out(x), new
