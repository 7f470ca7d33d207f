import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.attention import cells, rnn

T, B, D = 4, 3, 4


def inputs(cell):
    _, _, gates, arrays = made = cells.CELLS[cell]
    keys = jax.random.split(jax.random.key(0), 4)
    kernel = jax.random.normal(keys[0], (D, gates * D))
    bias = jax.random.normal(keys[1], (gates * D,))
    x = jax.random.normal(keys[2], (T, B, gates * D))
    state = tuple(jax.random.normal(keys[3], (arrays, B, D)))
    return made, kernel, bias, x, state


def plain(cell, kernel, bias, x, state, real):
    """The same recurrence with JAX's own gradient."""
    outputs = []
    for t in range(len(x)):
        new, _ = cell.step(state, x[t], state[0] @ kernel + bias)
        state = tuple(jnp.where(real[t][:, None], a, b) for a, b in zip(new, state, strict=True))
        outputs.append(state[0])
    return state, jnp.stack(outputs)


@pytest.mark.parametrize("cell", cells.CELLS)
def test_unroll_equals_a_loop_in_values_and_gradients(cell):
    made, *arguments = inputs(cell)
    real = jnp.arange(T)[:, None] >= jnp.array([0, 2, 3])

    def loss(run, arguments):
        state, outputs = run(made, *arguments, real)
        return jnp.sin(outputs).sum() + sum(jnp.cos(s).sum() for s in state)

    compute = jax.jit(jax.value_and_grad(loss, argnums=1), static_argnums=0)
    ours, theirs = compute(cells.unroll, arguments), compute(plain, arguments)
    chex.assert_trees_all_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_lstm_step_by_hand():
    """Gates wide open or shut: c = 1 * 3 + 1 * tanh(0.5), h = 1 * tanh(c)."""
    state = (jnp.zeros((1, 1)), jnp.array([[3.0]]))
    x, u = jnp.array([[50.0, 50.0, 0.25, 50.0]]), jnp.array([[0, 0, 0.25, 0]])
    (h, c), _ = cells.lstm(state, x, u)
    np.testing.assert_allclose(c, [[3 + np.tanh(0.5)]], rtol=1e-6)
    np.testing.assert_allclose(h, np.tanh(c), rtol=1e-6)


def test_gru_step_by_hand():
    """An update gate of 1 keeps the state; of 0 it takes tanh(x + r u), here with r = 1/2."""
    state = (jnp.array([[0.7]]),)
    ((kept,), _) = cells.gru(state, jnp.array([[0.0, 50.0, 1.0]]), jnp.zeros((1, 3)))
    ((new,), _) = cells.gru(state, jnp.array([[0.0, -50.0, 1.0]]), jnp.array([[0.0, 0.0, 2.0]]))
    np.testing.assert_allclose(kept, [[0.7]], rtol=1e-6)
    np.testing.assert_allclose(new, [[np.tanh(1 + 0.5 * 2)]], rtol=1e-6)


def test_only_an_lstms_forget_gate_begins_open():
    model = rnn.RnnLanguageModel(30, dim=4, layers=1)
    params = model.init(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))["params"]
    expected = [0] * 4 + [1] * 4 + [0] * 8
    np.testing.assert_array_equal(params["cells_0"]["bias"], expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cell": "rnn"}, "cell='rnn' is none of lstm, gru"),
        ({"vocab": 0}, "vocab=0 must be at least 1"),
    ],
)
def test_options_without_meaning_are_refused_when_built(options, message):
    with pytest.raises(ValueError, match=message):
        rnn.RnnLanguageModel(**{"vocab": 30} | options)
