import jax
import jax.numpy as jnp
import numpy as np

from aigc_jax.layers.positions import SCHEMES, distance_bias, rotary


def test_rotary_products_depend_on_distance_alone():
    q, k = jax.random.normal(jax.random.key(0), (2, 1, 1, 1, 8))
    product = lambda p, r: (rotary(q, jnp.array([[p]])) * rotary(k, jnp.array([[r]]))).sum()
    np.testing.assert_allclose(product(7, 3), product(104, 100), rtol=1e-4)
    assert abs(product(7, 3) - product(7, 4)) > 1e-2


def test_rotary_turns_pairs_by_the_stated_angle():
    x = jnp.zeros((1, 1, 1, 4)).at[..., 1].set(1.0)  # the pair (1, 3), of frequency base^-(1/2)
    angle = 3 * 10000.0**-0.5
    expected = [0, np.cos(angle), 0, np.sin(angle)]
    np.testing.assert_allclose(rotary(x, jnp.array([[3]])).ravel(), expected, atol=1e-6)


def test_alibi_by_hand():
    bias = distance_bias(2, jnp.array([[2]]), jnp.array([[0, 1, 2]]))
    expected = [[[-2 / 16, -1 / 16, 0]], [[-2 / 256, -1 / 256, 0]]]
    np.testing.assert_allclose(bias[0], expected)


def test_schemes_without_relative_positions_leave_attention_alone():
    x = jnp.ones((1, 2, 1, 4))
    for name in ("learned", "none"):
        assert SCHEMES[name].rotate(x, jnp.arange(2)[None]) is x
        assert SCHEMES[name].bias(1, jnp.arange(2)[None], jnp.arange(2)[None]) is None
