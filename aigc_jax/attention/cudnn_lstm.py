"""LSTM layers over whole sequences by cuDNN, several times faster than a scan on a GPU.

cuDNN runs where tracing and compiling it succeeds; everywhere else the scan of `rnn` does. Tests
compare packing and gates with JAX's own reference of the cuDNN layout, which runs on any device.
"""

import functools
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

# NotImplementedError and the compiler's errors are RuntimeErrors.
REFUSALS = (ImportError, AttributeError, RuntimeError, ValueError, TypeError)
Cell = Mapping[str, Any]  # {"in": {"kernel", "bias"}, "kernel", "bias"}, gates i, f, g, o
State = tuple[jax.Array, jax.Array]  # (h, c), each f32 [B, D]


def packed(cells: Sequence[Cell]) -> jax.Array:
    """Parameters of stacked layers as cuDNN has them: f32 [layers (8 D^2 + 8 D)].

    Matrices [4 D, D] of all layers, the input's before the recurrent one, then the biases [4 D] in
    the same order. Gates come in cuDNN's order already.
    """
    matrices = [k.T for cell in cells for k in (cell["in"]["kernel"], cell["kernel"])]
    biases = [b for cell in cells for b in (cell["in"]["bias"], cell["bias"])]
    return jnp.concatenate([x.astype(jnp.float32).ravel() for x in (*matrices, *biases)])


def run(
    cells: Sequence[Cell], x: jax.Array, states: Sequence[State], dtype: Any
) -> tuple[jax.Array, list[State]]:
    """Stacked LSTM layers: inputs [T, B, D] -> outputs in `dtype` [T, B, D], last states.

    cuDNN computes in float32, with TF32 products where `dtype` is lower, or where JAX's default
    precision allows them.
    """
    h, c = (jnp.stack(arrays) for arrays in zip(*states, strict=True))
    y, h, c = _call(packed(cells), jnp.moveaxis(x, 0, 1).astype(jnp.float32), h, c, dtype)
    return jnp.moveaxis(y, 0, 1).astype(dtype), list(zip(h, c, strict=True))


def _call(weights, x, h, c, dtype):
    """cuDNN on x [B, T, D] and states [layers, B, D]."""
    from jax.experimental import rnn  # experimental: its absence is a reason to use the scan

    batch, length, dim = x.shape
    return rnn.lstm(
        *(x, h, c, weights, jnp.full((batch,), length, jnp.int32)),
        input_size=dim,
        hidden_size=dim,
        num_layers=h.shape[0],
        dropout=0.0,
        bidirectional=False,
        precision=None if dtype == jnp.float32 else jax.lax.Precision.HIGH,
    )


@functools.cache
def available(shape: tuple[int, int, int], layers: int, dtype: Any) -> bool:
    """Whether cuDNN can run so many layers on inputs [T, B, D]; if not, a log line says why."""
    try:
        _try(shape, layers, dtype)
    except REFUSALS as reason:
        logging.getLogger(__name__).info("LSTM by a scan, not by cuDNN: %s", reason)
        return False
    return True


def _try(shape, layers, dtype):
    """Compiles cuDNN's LSTM of these shapes, forward and backward; raises what it raises."""
    if jax.default_backend() != "gpu" or jax.device_count() > 1:
        # The compiler can't divide a call of cuDNN's LSTM: every device would run the whole batch.
        raise ValueError("it needs a single GPU")
    length, batch, dim = shape
    shapes = (layers * 8 * dim * (dim + 1),), (batch, length, dim), *[(layers, batch, dim)] * 2
    like = [jax.ShapeDtypeStruct(s, jnp.float32) for s in shapes]
    total = lambda *args: _call(*args, dtype)[0].sum()
    jax.jit(jax.grad(total, argnums=(0, 1))).lower(*like).compile()
