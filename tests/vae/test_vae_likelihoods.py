"""Log-probabilities against scipy, means and the limits of sigma."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from aigc_jax.vae import likelihoods

SHAPE = (5, 4, 3, 2)


def random(seed, scale=1.0):
    return scale * np.random.default_rng(seed).standard_normal(SHAPE).astype(np.float32)


def sigma_of(law, params):
    """From the height of one pixel's density: log p = -log sigma - log(2 pi) / 2 at its mean."""
    x = jnp.zeros((1, 1, 1, 1))
    return np.exp(-float(law.log_prob(params, x, x)[0])) / np.sqrt(2 * np.pi)


def test_bernoulli_is_scipys_on_binary_images():
    law, out = likelihoods.bernoulli(), random(0, 3)
    image = np.sign(random(1))
    pixels = scipy.stats.bernoulli.logpmf(image > 0, scipy.special.expit(out.astype(np.float64)))
    expected = pixels.sum((1, 2, 3))
    np.testing.assert_allclose(law.log_prob({}, out, image), expected, rtol=1e-5)


def test_bernoulli_on_grey_images_is_the_cross_entropy():
    law, out = likelihoods.bernoulli(), random(0)
    image = np.clip(random(1), -1, 1)
    y, p = (image + 1) / 2, 1 / (1 + np.exp(-out.astype(np.float64)))
    expected = (y * np.log(p) + (1 - y) * np.log(1 - p)).sum((1, 2, 3))
    np.testing.assert_allclose(law.log_prob({}, out, image), expected, rtol=1e-5)


def test_bernoulli_stays_finite_at_certain_logits():
    law = likelihoods.bernoulli()
    out = jnp.full((1, 1, 1, 1), 1e4)
    value, slope = jax.value_and_grad(lambda o: law.log_prob({}, o, -jnp.ones_like(o))[0])(out)
    assert value == -1e4
    np.testing.assert_allclose(slope, -1.0)


@pytest.mark.parametrize("sigma", [0.1, 1.0])
@pytest.mark.parametrize("learned", [False, True])
def test_gaussian_is_scipys(sigma, learned):
    law, out, image = likelihoods.gaussian(sigma=sigma, learned=learned), random(0), random(1)
    params = {name: jnp.float32(value) for name, value in law.params.items()}
    if learned:
        sigma = sigma_of(law, params)
    expected = scipy.stats.norm.logpdf(image.astype(np.float64), out, sigma).sum((1, 2, 3))
    np.testing.assert_allclose(law.log_prob(params, out, image), expected, rtol=1e-5)


def test_learned_sigma_starts_at_the_one_asked_for():
    law = likelihoods.gaussian(sigma=0.3)
    np.testing.assert_allclose(sigma_of(law, law.params), 0.3, rtol=0.01)


def test_sigma_has_a_floor_that_it_can_leave():
    law = likelihoods.gaussian()
    assert sigma_of(law, {"log_sigma": -20.0}) > np.exp(-6.1)
    x = jnp.zeros((1, 1, 1, 1))
    slope = jax.grad(lambda value: law.log_prob({"log_sigma": value}, x, x + 1)[0])(-8.0)
    assert slope > 1


def test_means_are_images():
    out = random(0, 5)
    np.testing.assert_allclose(
        likelihoods.bernoulli().mean(out), np.tanh(out.astype(np.float64) / 2), atol=1e-6
    )
    np.testing.assert_array_equal(likelihoods.gaussian().mean(out), np.clip(out, -1, 1))


def test_log_probs_are_float32_whatever_the_network_computes_in():
    out = jnp.asarray(random(0), jnp.bfloat16)
    assert likelihoods.bernoulli().log_prob({}, out, np.sign(random(1))).dtype == jnp.float32
