"""What devices add up on their own is the sum over the whole batch, however many they are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.layers import shares


@pytest.mark.parametrize("ways", [1, 2, 4])
def test_a_lookup_is_take_in_value_and_gradient(ways):
    draw = np.random.default_rng(0)
    table = jnp.asarray(draw.normal(size=(7, 3)), jnp.float32)
    indices = jnp.asarray(draw.integers(0, 7, (8, 5)))
    weights = jnp.asarray(draw.normal(size=(8, 5, 3)), jnp.float32)
    take = lambda table: (weights * jnp.take(table, indices, axis=0) ** 2).sum()
    look = lambda table: (weights * shares.lookup(ways, table, indices) ** 2).sum()
    assert look(table) == take(table)
    np.testing.assert_allclose(jax.grad(look)(table), jax.grad(take)(table), rtol=1e-5, atol=1e-6)


def test_a_gradient_is_as_exact_as_the_table():
    """A thousand small numbers after a large one would be lost in the dtype of the activations."""
    indices = jnp.zeros((1001,), jnp.int32)
    cotangent = jnp.ones((1001, 1), jnp.bfloat16).at[0].set(1024)
    look = lambda table: shares.lookup(1, table, indices).astype(jnp.bfloat16)
    _, pull = jax.vjp(look, jnp.zeros((1, 1), jnp.float32))
    assert pull(cotangent)[0].item() == 2024
