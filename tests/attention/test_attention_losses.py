import math
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax import flops
from aigc_jax.attention import blocks, losses

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


@pytest.mark.parametrize("limit", [1, 3 * B * V, 7 * B * V, losses.LOGITS])
def test_the_total_equals_the_weighted_sum_in_value_and_gradients(limit):
    table, hidden, targets, weights = inputs()

    def plain(table, hidden, weights):
        return (weights * losses.cross_entropy(hidden @ table, targets)).sum() ** 2

    def total(table, hidden, weights):
        logits = lambda h: jnp.pad(h @ table, [(0, 0)] * 2 + [(0, 4)], constant_values=-jnp.inf)
        return losses.total_nll(logits, hidden, targets, V, weights, limit) ** 2

    compute = lambda f: jax.jit(jax.value_and_grad(f, (0, 1, 2)))(table, hidden, weights)
    value, grads = compute(total)
    expected, expected_grads = compute(plain)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(jax.jit(total)(table, hidden, weights), expected, rtol=1e-5)
    chex.assert_trees_all_close(grads, expected_grads, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("function", [losses.total_nll, losses.token_nll])
def test_no_gradient_ever_holds_all_logits(function):
    """In what is compiled for bfloat16, no array is as large as the logits of half the batch."""
    length, vocab = 64, 1024
    hidden = jax.ShapeDtypeStruct((2, length, 8), jnp.bfloat16)
    table, targets = jnp.ones((vocab, 8)), jnp.zeros((2, length), jnp.int32)

    def loss(hidden, table):
        logits = lambda h: blocks.scores(h, table)
        return function(logits, hidden, targets, vocab, limit=32 * vocab).sum()

    lowered = jax.jit(jax.value_and_grad(loss, (0, 1))).lower(hidden, table)
    shapes = re.findall(r"\w+\[([\d,]+)\]", lowered.compile().as_text())
    largest = max(math.prod(map(int, shape.split(","))) for shape in shapes)
    assert 32 * vocab <= largest < length * vocab


def test_the_gradient_of_the_total_multiplies_with_the_vocabulary_three_times():
    table, hidden, targets, _ = inputs()

    def products(function):
        total = lambda t, h: function(lambda h: h @ t, h, targets, V, limit=3 * B * V).sum()
        counted = flops.of(jax.value_and_grad(total, (0, 1)), table, hidden)
        return counted.matmul / (2 * hidden.size * V)

    # 10 positions in chunks of 2; of 3, they would be 12.
    assert products(losses.total_nll) == 3
    assert products(losses.token_nll) == 4


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


def test_weights_of_unit_mean_make_a_weighted_mean_a_mean_over_examples():
    w, x = jnp.array([[1, 0, 0], [2, 3, 0]]), jnp.array([[5.0, 7, 9], [1, 2, jnp.e]])
    np.testing.assert_allclose((losses.unit_mean(w) * x).mean(), (5 + 2 + 6) / 6, rtol=1e-6)
    assert losses.unit_mean(jnp.zeros((2, 3))).tolist() == [[0] * 3] * 2
