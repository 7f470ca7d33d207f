"""The signals of a game, against their definitions on small batches."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.gan import health

rng = np.random.default_rng(0)
REAL, FAKE = rng.normal(size=(2, 6, 2, 3, 2)).astype(np.float32)


def root_mean_square_distance(images):
    pairs = itertools.combinations(images, 2)
    return np.sqrt(np.mean([np.sum((a - b) ** 2) for a, b in pairs]))


def test_relative_distance_is_that_of_all_pairs():
    want = root_mean_square_distance(3 * FAKE) / root_mean_square_distance(REAL)
    np.testing.assert_allclose(health.relative_distance(3 * FAKE, REAL), want, rtol=1e-5)


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_equal_laws_are_one_and_a_single_image_is_none(offset):
    np.testing.assert_allclose(health.relative_distance(REAL + offset, REAL), 1, rtol=1e-3)
    collapsed = np.broadcast_to(FAKE[:1] + offset, FAKE.shape)
    np.testing.assert_allclose(health.relative_distance(collapsed, REAL), 0, atol=1e-4)


def test_batches_without_any_distance_are_safe():
    assert health.relative_distance(FAKE[:1], REAL[:1]) == 0
    assert health.relative_distance(FAKE, 0 * REAL) == 0
    slope = jax.grad(lambda x: health.relative_distance(x, 0 * REAL))(jnp.asarray(FAKE))
    assert np.isfinite(slope).all()


def test_mean_sign_counts_decisions():
    assert health.mean_sign(jnp.array([3.0, 0.1, -9.0, 2.0])) == 0.5
    assert health.mean_sign(jnp.array([2.0], jnp.bfloat16)).dtype == jnp.float32
