"""Recurrent language models, LSTM and GRU: the baseline beside the transformer.

They keep the contract of `transformer`; what generation carries from token to token is the
recurrent state in place of a cache.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from aigc_jax.attention import cudnn_lstm
from aigc_jax.attention.cells import CELLS, State, unroll
from aigc_jax.layers.dense import Dense
from aigc_jax.ranges import at_least, below, between


class Memory(NamedTuple):
    """What generation carries from token to token."""

    layers: Sequence[State]
    column: jax.Array  # i32 [], tokens read
    pad: jax.Array  # i32 [B], void columns at the left of each row


class Recurrent(nn.Module):
    """One recurrent layer. The input's part of the gates is one product over all time steps."""

    dim: int
    cell: str
    dtype: Any

    @nn.compact
    def __call__(
        self, x: jax.Array, state: State, real: jax.Array | None
    ) -> tuple[jax.Array, State]:
        """[T, B, D], state, bool [T, B] or None -> outputs [T, B, D], last state."""
        cell = CELLS[self.cell]
        features = cell.gates * self.dim
        gate_inputs = Dense(features, dtype=self.dtype, name="in")(x)
        kernel = self.param("kernel", nn.initializers.orthogonal(), (self.dim, features))
        bias = self.param("bias", self._bias, (features,))
        state, h = unroll(cell, kernel.astype(self.dtype), bias, gate_inputs, state, real)
        return h.astype(self.dtype), state

    def _bias(self, key, shape):
        """Zeros, but 1 for an LSTM's forget gate, so that memories last from the start."""
        bias = jnp.zeros(shape)
        return bias.at[self.dim : 2 * self.dim].set(1.0) if self.cell == "lstm" else bias


def check(model: "RnnLanguageModel") -> None:
    """Raises ValueError when an option of `model` has no meaning."""
    if model.cell not in CELLS:
        raise ValueError(f"cell={model.cell!r} is none of {', '.join(CELLS)}")
    if model.vocab < 1:
        raise ValueError(f"vocab={model.vocab} must be at least 1 (tokens come from text data)")


class RnnLanguageModel(nn.Module):
    """Stacked LSTM or GRU over token embeddings (arXiv 1308.0850).

    Dropout is on the embeddings and on every layer's output, not along time (arXiv 1409.2329).
    Every sequence starts from a zero state. Raises ValueError, when built, for what `check`
    refuses.

    On a GPU whole sequences go through cuDNN's LSTM where `cudnn_lstm.available` says so.
    """

    vocab: Annotated[int, at_least(1)]
    dim: Annotated[int, at_least(1)] = 128
    layers: Annotated[int, between(1, 1000)] = 2
    cell: Literal[tuple(CELLS)] = "lstm"
    dropout: Annotated[float, below(1)] = 0.0
    dtype: Any = jnp.float32

    def __post_init__(self):
        check(self)
        super().__post_init__()

    def setup(self):
        self.embed = nn.Embed(self.vocab, self.dim, embedding_init=nn.initializers.normal(1.0))
        self.cells = [Recurrent(self.dim, self.cell, self.dtype) for _ in range(self.layers)]
        self.drop = nn.Dropout(self.dropout)
        self.head = Dense(self.vocab, dtype=jnp.float32)

    @property
    def window(self) -> None:
        """No bound on the number of tokens that can be looked back on."""

    def __call__(self, tokens: jax.Array, train: bool = False) -> jax.Array:
        """Next-token logits: i32 [B, T] -> f32 [B, T, V]."""
        return self.logits(self.hidden(tokens, train))

    def hidden(self, tokens: jax.Array, train: bool = False) -> jax.Array:
        """The last layer's outputs: i32 [B, T] -> [B, T, D]."""
        empty = self._empty(tokens.shape[0])
        return self._run(tokens, empty, None, train)[0]

    def logits(self, hidden: jax.Array) -> jax.Array:
        """[..., D] -> f32 [..., V]."""
        return self.head(hidden)

    @nn.nowrap
    def start(self, pad: jax.Array, capacity: int, offset: jax.Array) -> Memory:
        """The zero state in rows whose first pad i32 [B] columns are void; for any other value."""
        return Memory(self._empty(pad.shape[0]), jnp.zeros((), jnp.int32), pad)

    @nn.nowrap
    def grow(self, memory: Memory, capacity: int) -> Memory:
        """The memory as it is: it has any capacity."""
        return memory

    def extend(self, tokens: jax.Array, memory: Memory) -> tuple[jax.Array, Memory]:
        """Outputs for the next tokens i32 [B, T], given those in `memory`: ([B, T, D], memory)."""
        length = tokens.shape[1]
        columns = memory.column + jnp.arange(length)
        real = columns[:, None] >= memory.pad  # [T, B]
        hidden, layers = self._run(tokens, memory.layers, real, train=False)
        return hidden, Memory(layers, memory.column + length, memory.pad)

    @nn.nowrap
    def _empty(self, batch):
        zeros = jnp.zeros((batch, self.dim))
        return [(zeros,) * CELLS[self.cell].arrays] * self.layers

    @nn.nowrap
    def for_generation(self, params: Mapping[str, Any]) -> tuple["RnnLanguageModel", Any]:
        """The network, and its parameters with the matrices of the cells cast to `dtype`."""

        def cast(path, x):
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            # The recurrent bias is added in float32; embeddings and head are float32.
            multiplied = name.startswith("cells_") and name.split("/", 1)[1] != "bias"
            return x.astype(self.dtype) if multiplied else x

        return self, jax.tree_util.tree_map_with_path(cast, params)

    def _run(self, tokens, states, real, train):
        x = self.drop(self.embed(tokens.T), deterministic=not train)  # [T, B, D]
        apart = self.dropout > 0 and train  # dropout comes between layers
        whole = real is None and self.cell == "lstm" and not self.is_initializing()
        if whole and cudnn_lstm.available(x.shape, 1 if apart else self.layers, self.dtype):
            return self._run_cudnn(x, states, [1] * self.layers if apart else [self.layers])
        new = []
        for cell, state in zip(self.cells, states, strict=True):
            x, state = cell(x, state, real)
            x = self.drop(x, deterministic=not train)
            new.append(state)
        return jnp.moveaxis(x, 0, 1), new

    def _run_cudnn(self, x, states, groups):
        """As `_run`, by cuDNN in groups of so many layers; with dropout after each if several."""
        params, new = self.variables["params"], []
        cells = [params[f"cells_{i}"] for i in range(self.layers)]
        for count in groups:
            part = slice(len(new), len(new) + count)
            x, ends = cudnn_lstm.run(cells[part], x, states[part], self.dtype)
            x = self.drop(x, deterministic=len(groups) == 1)
            new += ends
        return jnp.moveaxis(x, 0, 1), new
