"""The posterior's rate against Monte Carlo, its draws and its limits."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from aigc_jax.vae import bottlenecks

MU = np.array([0.0, 1.5, -2.0, 0.3], np.float32)
LOGVAR = np.array([0.0, -2.0, 1.0, -6.0], np.float32)
POSTERIOR = bottlenecks.Posterior(jnp.asarray(MU)[None], jnp.asarray(LOGVAR)[None])


def test_kl_is_its_monte_carlo_estimate():
    n, sigma = 100_000, np.exp(LOGVAR / 2)
    z = MU + sigma * np.random.default_rng(0).standard_normal((n, 4))
    ratio = scipy.stats.norm.logpdf(z, MU, sigma) - scipy.stats.norm.logpdf(z)
    standard_error = ratio.std(0) / np.sqrt(n)
    kl = np.asarray(bottlenecks.kl(POSTERIOR))[0]
    assert (np.abs(ratio.mean(0) - kl) <= 4 * standard_error + 1e-6).all()
    assert (kl[1:] > 0.1).all()


def test_kl_is_zero_at_the_prior_and_accurate_beside_it():
    logvar = jnp.array([[0.0, 1e-3]])
    kl = bottlenecks.kl(bottlenecks.Posterior(jnp.zeros((1, 2)), logvar))[0]
    assert kl[0] == 0
    np.testing.assert_allclose(kl[1], 2.5008e-7, rtol=0.05)


def test_draws_have_the_posteriors_moments():
    n = 100_000
    eps = jax.random.normal(jax.random.key(0), (n, 4))
    z = np.asarray(bottlenecks.reparameterize(POSTERIOR, eps))
    sigma = np.exp(LOGVAR / 2)
    assert (np.abs(z.mean(0) - MU) <= 4 * sigma / np.sqrt(n)).all()
    np.testing.assert_allclose(z.std(0), sigma, rtol=0.01)


def test_draws_are_differentiable_in_the_posterior():
    eps = jnp.array([[0.5, -1.0, 2.0, 0.1]])
    slope = jax.grad(lambda q: bottlenecks.reparameterize(q, eps).sum())(POSTERIOR)
    np.testing.assert_allclose(slope.mu, 1.0)
    np.testing.assert_allclose(slope.logvar[0], 0.5 * np.exp(LOGVAR / 2) * eps[0], rtol=1e-6)


def test_log_variance_is_limited_softly():
    h = jnp.array([[0.0, 0.0, 0.0, 0.1, 1e3, -1e3]])
    mu, logvar = bottlenecks.diagonal_gaussian(h)
    assert mu.shape == logvar.shape == (1, 3)
    np.testing.assert_allclose(logvar[0], [0.1, 10.0, -10.0], rtol=1e-4)
    slope = jax.grad(lambda h: bottlenecks.diagonal_gaussian(h).logvar.sum())(
        jnp.full((1, 2), 15.0)
    )
    assert slope[0, 1] > 0.01


def test_posterior_is_float32_whatever_the_encoder_computes_in():
    posterior = bottlenecks.diagonal_gaussian(jnp.ones((1, 4), jnp.bfloat16))
    assert posterior.mu.dtype == posterior.logvar.dtype == jnp.float32
