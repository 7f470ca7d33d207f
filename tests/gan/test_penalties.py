"""Gradient penalties against the analytic gradients of a critic that is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.core import example_keys
from aigc_jax.gan import networks, packing, penalties

rng = np.random.default_rng(0)
MATRIX = rng.normal(size=(12, 12)).astype(np.float32)
OFFSET = rng.normal(size=12).astype(np.float32)
REAL, FAKE = rng.normal(size=(2, 5, 2, 3, 2)).astype(np.float32)
KEYS = example_keys(jax.random.key(3), 5)


def quadratic(images):
    """D(x) = x' M x + b' x, whose gradient is (M + M') x + b."""
    x = images.reshape(len(images), -1)
    return jnp.einsum("bi,ij,bj->b", x, MATRIX, x) + x @ OFFSET


def gradient(images):
    return images.reshape(len(images), -1) @ (MATRIX + MATRIX.T) + OFFSET


def test_r1_is_half_the_squared_gradient_at_real_images():
    want = 0.5 * np.sum(gradient(REAL) ** 2, axis=1)
    np.testing.assert_allclose(penalties.r1(quadratic, REAL, FAKE, KEYS), want, rtol=1e-5)


def test_r2_is_half_the_squared_gradient_at_fake_images():
    want = 0.5 * np.sum(gradient(FAKE) ** 2, axis=1)
    np.testing.assert_allclose(penalties.r2(quadratic, REAL, FAKE, KEYS), want, rtol=1e-5)


def test_wgan_gp_is_the_squared_distance_of_the_norm_from_one_between_the_images():
    u = np.array([jax.random.uniform(key) for key in KEYS]).reshape(-1, 1, 1, 1)
    norm = np.linalg.norm(gradient(u * REAL + (1 - u) * FAKE), axis=1)
    got = penalties.wgan_gp(quadratic, REAL, FAKE, KEYS)
    np.testing.assert_allclose(got, (norm - 1) ** 2, rtol=1e-5)


def test_wgan_gp_interpolates_every_example_with_a_uniform_coefficient_of_its_own():
    ones, zeros = jnp.ones((64, 2, 2, 1)), jnp.zeros((64, 2, 2, 1))
    keys = example_keys(jax.random.key(0), 64)
    critic = lambda x: jnp.sum(x**2, axis=(1, 2, 3)) / 4  # gradient x / 2, of norm u at u ones
    coefficients = 1 - jnp.sqrt(penalties.wgan_gp(critic, ones, zeros, keys))
    assert 0.35 < coefficients.mean() < 0.65
    assert coefficients.std() > 0.2
    assert (coefficients >= 0).all()
    assert (coefficients <= 1).all()


@pytest.mark.parametrize("name", ["r1", "r2", "wgan_gp"])
def test_penalties_and_their_gradients_are_finite_where_the_critic_is_flat(name):
    def mean_penalty(scale):
        critic = lambda x: scale * jnp.sum(x**2, axis=(1, 2, 3))
        return jnp.mean(getattr(penalties, name)(critic, 0 * REAL, 0 * FAKE, KEYS))

    value, slope = jax.value_and_grad(mean_penalty)(0.0)
    assert np.isfinite(value)
    assert np.isfinite(slope)


@pytest.mark.parametrize("name", ["r1", "r2", "wgan_gp"])
def test_penalties_teach_the_critic_and_never_the_generator(name):
    penalty = getattr(penalties, name)
    scaled = lambda scale, fake: penalty(lambda x: scale * quadratic(x), REAL, fake, KEYS).mean()
    to_critic, to_generator = jax.grad(scaled, argnums=(0, 1))(1.0, FAKE)
    assert to_critic > 0
    np.testing.assert_array_equal(to_generator, 0)


@pytest.mark.parametrize("name", ["r1", "r2", "wgan_gp"])
def test_a_penalty_of_a_bfloat16_network_is_that_of_the_float32_one_to_a_percent(name):
    draw = np.random.default_rng(0)
    real, fake = draw.uniform(-1, 1, (2, 64, 8, 8, 1)).astype(np.float32)
    label = jnp.asarray(draw.integers(0, 3, 64))
    keys = example_keys(jax.random.key(1), 64)
    whole, half = (
        networks.MlpDiscriminator(num_classes=3, dtype=dtype)
        for dtype in (jnp.float32, jnp.bfloat16)
    )
    drawn = whole.init(jax.random.key(0), real, label, train=False)
    penalty = getattr(penalties, name)
    values = [
        penalty(lambda x: net.apply(drawn, x, label, train=False), real, fake, keys)
        for net in (whole, half)
    ]
    np.testing.assert_allclose(*(value.mean() for value in values), rtol=0.01)
    assert not np.array_equal(*values)


@pytest.mark.parametrize("pack", [1, 2])
def test_a_packed_penalty_is_of_the_gradient_by_all_images_of_a_pack(pack):
    """D(x1, x2) = w1 x1 + w2 x2 has the squared norm |w1|^2 + |w2|^2, whatever the images."""
    images = jnp.asarray(REAL[:4])
    weights = rng.normal(size=(2, 3, 2 * pack)).astype(np.float32)
    critic = lambda x: jnp.einsum("bhwc,hwc->b", x, weights)
    packed = packing.pack(pack)(images)
    value = penalties.r1(critic, packed, packed, KEYS[: len(packed)])
    assert value.shape == (4 // pack,)
    np.testing.assert_allclose(value, 0.5 * np.sum(weights**2), rtol=1e-5)


@pytest.mark.parametrize("name", ["r1", "r2", "wgan_gp"])
def test_norms_are_float32_for_bfloat16_images(name):
    penalty = getattr(penalties, name)
    real, fake = jnp.array(REAL, jnp.bfloat16), jnp.array(FAKE, jnp.bfloat16)
    value = penalty(quadratic, real, fake, KEYS)
    assert value.shape == (5,)
    assert value.dtype == jnp.float32
