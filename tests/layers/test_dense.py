import chex
import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

from aigc_jax.layers.dense import Dense


@pytest.mark.parametrize("use_bias", [True, False])
def test_equals_linen_dense_in_parameters_values_and_gradients(use_bias):
    x = jax.random.normal(jax.random.key(0), (2, 3, 5))
    ours, linen = Dense(4, use_bias), nn.Dense(4, use_bias)
    variables = linen.init(jax.random.key(1), x)
    chex.assert_trees_all_equal(ours.init(jax.random.key(1), x), variables)

    def loss(variables, x, layer):
        return jnp.sin(layer.apply(variables, x)).sum()

    for argument in (0, 1):
        gradient = jax.grad(loss, argnums=argument)
        chex.assert_trees_all_close(gradient(variables, x, ours), gradient(variables, x, linen))
    chex.assert_trees_all_close(ours.apply(variables, x), linen.apply(variables, x))


def test_takes_a_single_vector():
    layer = Dense(4)
    x = jnp.arange(3.0)
    assert layer.apply(layer.init(jax.random.key(0), x), x).shape == (4,)
