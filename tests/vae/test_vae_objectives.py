"""Reduction, beta, free bits and the importance-weighted bound, against hand-written values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from aigc_jax import core
from aigc_jax.vae import bottlenecks, checks
from aigc_jax.vae.objectives import Terms, importance_weighted, negative_elbo

DISTORTION = jnp.array([10.0, 20.0])
KL = jnp.array([[1.0, 0.1, 0.0], [3.0, 0.3, 0.0]])


def terms(kl=KL, distortion=DISTORTION):
    """One draw of each example, whose log ratio is its expectation."""
    return Terms(distortion[:, None], kl, kl.sum(-1, keepdims=True))


def random_terms(draws=5, batch=7):
    draw = np.random.default_rng(0)
    kl = draw.exponential(size=(batch, 3))
    values = 10 + 3 * draw.standard_normal((batch, draws)), kl, draw.normal(2, 2, (batch, draws))
    return Terms(*(jnp.asarray(v, jnp.float32) for v in values))


def test_rate_is_summed_over_dimensions_and_averaged_over_the_batch():
    np.testing.assert_allclose(negative_elbo(terms()), 15 + 2.2, rtol=1e-6)
    np.testing.assert_allclose(negative_elbo(terms(), beta=4.0), 15 + 4 * 2.2, rtol=1e-6)


def test_draws_are_averaged():
    several = random_terms()
    expected = several.distortion.mean() + several.kl.sum(-1).mean()
    np.testing.assert_allclose(negative_elbo(several), expected, rtol=1e-6)


def test_without_beta_the_rate_has_no_gradient():
    slope = jax.grad(lambda kl: negative_elbo(terms(kl), beta=0.0))(KL)
    np.testing.assert_array_equal(slope, 0.0)


def test_free_bits_are_paid_for_only_above_them():
    value = negative_elbo(terms(), free_bits=0.5)
    np.testing.assert_allclose(value, 15 + 2.0 + 0.5 + 0.5, rtol=1e-6)
    slope = jax.grad(lambda kl: negative_elbo(terms(kl), free_bits=0.5))(KL)
    np.testing.assert_allclose(slope, [[0.5, 0, 0], [0.5, 0, 0]])


def test_free_bits_look_at_the_mean_over_the_batch():
    kl = jnp.array([[0.0], [1.2]])
    np.testing.assert_allclose(negative_elbo(terms(kl, jnp.zeros(2)), free_bits=0.5), 0.6)


@pytest.mark.parametrize("beta", [1.0, 0.3])
def test_importance_weighted_is_the_log_of_the_mean_weight(beta):
    several = random_terms()
    log_weights = -np.float64(several.distortion) - beta * np.float64(several.log_ratio)
    expected = -np.mean(scipy.special.logsumexp(log_weights, 1) - np.log(5))
    np.testing.assert_allclose(importance_weighted(several, beta=beta), expected, rtol=1e-6)


def test_one_importance_sample_is_the_elbo_of_that_draw():
    one = random_terms(draws=1)
    expected = (one.distortion + one.log_ratio).mean()
    np.testing.assert_allclose(importance_weighted(one), expected, rtol=1e-6)


# p(x | z) = N(x; z, 0.25 I) for two images, and posteriors that are not the true ones.
IMAGES = jnp.array([[1.0, -0.5], [0.2, 2.0]])
POSTERIOR = bottlenecks.Posterior(
    jnp.array([[0.5, 0.0], [0.4, 1.2]]), jnp.array([[-1.0, -0.3], [0.2, -2.0]])
)


def drawn(posterior, draws, keys):
    """Terms of z ~ q(z | x) under the law above."""
    eps = core.normal(keys, (draws, 2))
    z = posterior.mu[:, None] + jnp.exp(0.5 * posterior.logvar[:, None]) * eps
    distortion = (0.5 * (IMAGES[:, None] - z) ** 2 / 0.25 + 0.5 * np.log(2 * np.pi * 0.25)).sum(-1)
    ratio = bottlenecks.log_ratio(posterior, eps, z)
    return Terms(distortion, bottlenecks.kl(posterior), ratio)


def mean_and_error(values):
    values = np.asarray(values, np.float64)
    return values.mean(0), values.std(0) / np.sqrt(len(values))


def test_the_gradient_of_one_importance_sample_is_the_elbos_in_expectation():
    def gradients(objective):
        def at(key):
            keys = jax.random.split(key, 2)
            return jax.grad(lambda q: objective(drawn(q, 1, keys)))(POSTERIOR)

        return jax.jit(jax.vmap(at))(jax.random.split(jax.random.key(1), 20_000))

    pairs = zip(gradients(importance_weighted), gradients(negative_elbo), strict=True)
    for found, expected in pairs:
        mean, error = mean_and_error(found - expected)
        assert (error > 0).all()
        assert (np.abs(mean) <= 4 * error).all()
        assert (np.abs(np.asarray(expected).mean(0)) > 10 * error).any()


def test_more_importance_samples_tighten_the_bound_towards_log_p():
    log_p = scipy.stats.norm.logpdf(IMAGES, 0, np.sqrt(1.25)).sum(-1).mean()

    def losses(draws, objective):
        def at(key):
            return objective(drawn(POSTERIOR, draws, jax.random.split(key, 2)))

        return np.asarray(jax.jit(jax.vmap(at))(jax.random.split(jax.random.key(2), 4000)))

    elbo, _ = mean_and_error(losses(1, negative_elbo))
    found = [mean_and_error(losses(k, importance_weighted)) for k in (1, 2, 8, 64)]
    means, errors = (np.array(column) for column in zip(*found, strict=True))
    assert abs(means[0] - elbo) < 4 * errors[0]
    assert (np.diff(means) < -4 * errors[1:]).all()
    assert (means > -log_p - 4 * errors).all()
    assert abs(means[-1] + log_p) < 0.05 < means[0] + log_p


def test_free_bits_need_the_batch_in_one_piece_and_an_objective_that_has_them():
    checks.free_bits(0.0, importance_weighted, accumulate=4, axis_name="data")
    checks.free_bits(0.5, negative_elbo, accumulate=1, axis_name=None)
    with pytest.raises(ValueError, match="accumulate=4"):
        checks.free_bits(0.5, negative_elbo, accumulate=4, axis_name=None)
    with pytest.raises(ValueError, match="pmap"):
        checks.free_bits(0.5, negative_elbo, accumulate=1, axis_name="data")
    with pytest.raises(ValueError, match="objective=importance_weighted"):
        checks.free_bits(0.5, importance_weighted, accumulate=1, axis_name=None)
