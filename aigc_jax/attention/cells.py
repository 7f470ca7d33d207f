"""Recurrent cells, LSTM and GRU, run over time: each step and its gradient written out."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

State = tuple[jax.Array, ...]  # each f32 [B, D], the output first


class Cell(NamedTuple):
    """A recurrent step and its gradient, written out: the compiler's own reads far more."""

    step: Callable  # (state, x, u) -> (next state, gates [B, G D])
    gradient: Callable  # (gates, state, next state, their gradient) -> those of (state, x, u)
    gates: int  # G
    arrays: int  # of state


def lstm(state: State, x: jax.Array, u: jax.Array) -> tuple[State, jax.Array]:
    """One LSTM step (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000).

    i, f, o = sigmoid(x + u), g = tanh(x + u); c <- f c + i g; h <- o tanh(c).

    Args:
      state: (h, c), each [B, D].
      x: the input's part of the four gates [B, 4 D].
      u: the recurrent part, from h, [B, 4 D].

    Returns:
      the next state, and the gates i, f, g, o [B, 4 D].
    """
    i, f, g, o = jnp.split(_made(x + u), 4, axis=-1)
    gates = _made(jnp.concatenate([nn.sigmoid(i), nn.sigmoid(f), jnp.tanh(g), nn.sigmoid(o)], -1))
    i, f, g, o = jnp.split(gates, 4, axis=-1)
    c = f * state[1] + i * g
    return (o * jnp.tanh(c), c), gates


def lstm_gradient(
    gates: jax.Array, before: State, after: State, cotangents: State
) -> tuple[State, jax.Array, jax.Array]:
    """The gradient of `lstm` to its state, x and u."""
    i, f, g, o = jnp.split(gates, 4, axis=-1)
    (_, c), out, (dh, dc) = before, _made(jnp.tanh(after[1])), cotangents
    dc = _made(dc + dh * o * (1 - out**2))
    parts = dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g**2), dh * out * o * (1 - o)
    dz = jnp.concatenate(parts, axis=-1)
    return (jnp.zeros_like(dh), dc * f), dz, dz


def gru(state: State, x: jax.Array, u: jax.Array) -> tuple[State, jax.Array]:
    """One GRU step (arXiv 1406.1078, with the reset gate after the product, as in cuDNN).

    r, z = sigmoid(x + u), n = tanh(x + r u); h <- (1 - z) n + z h.

    Args:
      state: (h,), [B, D].
      x: the input's part of the three gates [B, 3 D].
      u: the recurrent part, from h, [B, 3 D].

    Returns:
      the next state, and r, z, n and the u of n [B, 4 D].
    """
    (h,) = state
    (xr, xz, xn), (ur, uz, un) = jnp.split(x, 3, axis=-1), jnp.split(u, 3, axis=-1)
    r, z = _made(nn.sigmoid(xr + ur)), _made(nn.sigmoid(xz + uz))
    n = _made(jnp.tanh(xn + r * un))
    return ((1 - z) * n + z * h,), jnp.concatenate([r, z, n, un], axis=-1)


def gru_gradient(
    gates: jax.Array, before: State, after: State, cotangents: State
) -> tuple[State, jax.Array, jax.Array]:
    """The gradient of `gru` to its state, x and u."""
    r, z, n, un = jnp.split(gates, 4, axis=-1)
    (h,), (dh,) = before, cotangents
    dn = dh * (1 - z) * (1 - n**2)
    dr, dz = dn * un * r * (1 - r), dh * (h - n) * z * (1 - z)
    dx, du = jnp.concatenate([dr, dz, dn], axis=-1), jnp.concatenate([dr, dz, dn * r], axis=-1)
    return (dh * z,), dx, du


CELLS = {"lstm": Cell(lstm, lstm_gradient, 4, 2), "gru": Cell(gru, gru_gradient, 3, 1)}


def _made(x: jax.Array) -> jax.Array:
    # In a loop XLA:CPU fuses everything into one pass and then computes it ten times slower.
    return jax.lax.optimization_barrier(x)


def _product(a, kernel):
    return jnp.matmul(a.astype(kernel.dtype), kernel, preferred_element_type=jnp.float32)


def _kept(real, new, old):
    """`new` in rows that are real, else `old`."""
    if real is None:
        return new
    return jax.tree.map(lambda a, b: jnp.where(real[:, None], a, b), new, old)


def _states(cell, kernel, bias, x, state, real):
    """All states after `state`, each [T, B, D], and the gates of every step."""

    def advance(state, inputs):
        x, real = inputs
        u = _product(state[0], kernel) + bias
        new, gates = cell.step(state, x.astype(jnp.float32), u)
        new = _kept(real, new, state)
        return new, (new, gates)

    return jax.lax.scan(advance, state, (x, real))[1]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def unroll(
    cell: Cell,
    kernel: jax.Array,
    bias: jax.Array,
    x: jax.Array,
    state: State,
    real: jax.Array | None,
) -> tuple[State, jax.Array]:
    """Runs a cell over time; steps that are not real leave the state as it is.

    Its gradient sums the recurrent weights' gradient over time in one product of
    [T B, D] and [T B, G D], not in T small ones.

    Args:
      cell: one of `CELLS`, or another of their form.
      kernel: recurrent weights [D, G D].
      bias: of the recurrent part f32 [G D].
      x: the input's part of the gates [T, B, G D].
      state: arrays f32 [B, D], the output first.
      real: bool [T, B]; None: all are.

    Returns:
      the last state, and the outputs f32 [T, B, D].
    """
    states, _ = _states(cell, kernel, bias, x, state, real)
    return jax.tree.map(lambda a: a[-1], states), states[0]


def _unroll_forward(cell, kernel, bias, x, state, real):
    states, gates = _states(cell, kernel, bias, x, state, real)
    result = jax.tree.map(lambda a: a[-1], states), states[0]
    return result, (kernel, gates, state, states, real)


def _unroll_backward(cell, saved, cotangents):
    kernel, gates, state, states, real = saved
    dlast, dh = cotangents
    before = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b[:-1]]), state, states)

    def retreat(dstate, inputs):
        gates, before, after, real, dh = inputs
        dstate = dstate[0] + dh, *dstate[1:]
        dbefore, dx, du = cell.gradient(gates, before, after, dstate)
        dx, du = _kept(real, (dx, du), (0.0, 0.0))
        dbefore = dbefore[0] + _product(du, kernel.T), *dbefore[1:]
        return _kept(real, dbefore, dstate), (dx, du)

    inputs = (gates, before, states, real, dh)
    dstate, (dx, du) = jax.lax.scan(retreat, dlast, inputs, reverse=True)
    flat = lambda a: a.reshape(-1, a.shape[-1]).astype(kernel.dtype)
    dkernel = jnp.matmul(flat(before[0]).T, flat(du), preferred_element_type=jnp.float32)
    return dkernel.astype(kernel.dtype), du.sum((0, 1)), dx.astype(kernel.dtype), dstate, None


unroll.defvjp(_unroll_forward, _unroll_backward)
