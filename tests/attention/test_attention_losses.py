import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.attention import losses

B, T, D, V = 3, 10, 8, 17


def inputs():
    keys = jax.random.split(jax.random.key(0), 4)
    table = jax.random.normal(keys[0], (D, V))
    hidden = jax.random.normal(keys[1], (B, T, D))
    targets = jax.random.randint(keys[2], (B, T), 0, V)
    return table, hidden, targets, jax.random.uniform(keys[3], (B, T))


@pytest.mark.parametrize("limit", [1, 2 * B * V, 3 * B * V, 7 * B * V])
def test_chunks_equal_the_plain_loss_in_value_and_gradient(limit):
    table, hidden, targets, weights = inputs()

    def loss(table, hidden, limit):
        nll = losses.token_nll(lambda h: h @ table, hidden, targets, V, limit)
        return (weights * nll).sum() / weights.sum()

    compute = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)), static_argnums=2)
    value, grads = compute(table, hidden, limit)
    plain, plain_grads = compute(table, hidden, losses.LOGITS)
    np.testing.assert_allclose(value, plain, rtol=1e-6)
    chex.assert_trees_all_close(grads, plain_grads, atol=1e-5)


def test_chunks_hold_no_more_logits_than_the_limit():
    table, hidden, targets, _ = inputs()
    shapes = []

    def logits(h):
        shapes.append(h.shape)
        return h @ table

    losses.token_nll(logits, hidden, targets, V, limit=3 * B * V)
    assert all(np.prod(shape[:-1]) <= 3 * B for shape in shapes)


def test_cross_entropy_by_hand():
    logits = jnp.log(jnp.array([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]))
    expected = -np.log([0.25, 0.8])
    np.testing.assert_allclose(losses.cross_entropy(logits, jnp.array([1, 2])), expected, rtol=1e-6)


def test_weighted_sum_counts_what_has_weight():
    nll = jnp.array([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]])
    total, count = losses.weighted_sum(nll, jnp.array([[1.0, 0, 1], [0, 0, 0]]))
    np.testing.assert_array_equal(total, [5, 0])
    np.testing.assert_array_equal(count, [2, 0])
    np.testing.assert_array_equal(losses.weighted_sum(nll)[1], [3, 3])
