"""Bounds against closed forms, and what they refuse."""

import numpy as np
import pytest
import scipy.special
import scipy.stats

from aigc_jax.metrics import likelihood

# p(z) = N(0, 1), p(x | z) = N(z, 0.5^2), so p(x) = N(0, 1.25) and p(z | x) = N(0.8 x, 0.2).
X = np.linspace(-2, 2, 200)


def log_weights(draws, mean, deviation, seed=0):
    """Log-weights [N, K] of draws from q(z | x) = N(mean x, deviation^2)."""
    z = mean * X[:, None] + deviation * np.random.default_rng(seed).standard_normal((200, draws))
    joint = scipy.stats.norm.logpdf(z) + scipy.stats.norm.logpdf(X[:, None], z, 0.5)
    return joint - scipy.stats.norm.logpdf(z, mean * X[:, None], deviation)


LOG_P = scipy.stats.norm.logpdf(X, 0, np.sqrt(1.25))


def test_one_draw_of_the_true_posterior_is_exact():
    found = likelihood.importance_weighted_bound(log_weights(1, 0.8, np.sqrt(0.2)))
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, LOG_P, rtol=1e-5)


def test_a_wrong_posterior_is_below_and_more_draws_bring_it_up():
    found = [likelihood.importance_weighted_bound(log_weights(k, 0.5, 0.7)) for k in (1, 10, 3000)]
    means = [values.mean() for values in found]
    assert means[0] < means[1] < means[2]
    assert means[0] < LOG_P.mean() - 0.2
    np.testing.assert_allclose(found[2], LOG_P, atol=0.1)
    np.testing.assert_allclose(means[2], LOG_P.mean(), atol=0.01)


def test_the_bound_is_scipys_log_mean_exp_far_from_zero():
    values = -1000 + 30 * np.random.default_rng(0).standard_normal((5, 9))
    expected = scipy.special.logsumexp(values, 1) - np.log(9)
    np.testing.assert_allclose(likelihood.importance_weighted_bound(values), expected, rtol=1e-6)


@pytest.mark.parametrize("sizes", [(12,), (5, 7), (1,) * 12])
def test_chunks_add_up_to_the_whole(sizes):
    values = log_weights(12, 0.5, 0.7)
    total = np.full(len(values), -np.inf)
    for chunk in np.split(values, np.cumsum(sizes)[:-1], axis=1):
        total = likelihood.log_sum(total, chunk)
    found = total - np.log(12)
    np.testing.assert_allclose(found, likelihood.importance_weighted_bound(values), atol=1e-5)


def test_a_draw_of_no_weight_counts_as_zero():
    found = likelihood.importance_weighted_bound([[-np.inf, 2.0], [-np.inf, -np.inf]])
    np.testing.assert_allclose(found, [2 - np.log(2), -np.inf], rtol=1e-6)


def test_weights_of_large_pictures_keep_their_digits():
    """The f32 weights themselves are right to 1 / 128 there; their sum must not add to that."""
    weights = np.float32(-98304) + np.arange(20, dtype=np.float32)[None] / 128
    exact = scipy.special.logsumexp(weights.astype(np.float64)) - np.log(20)
    assert likelihood.importance_weighted_bound(weights)[0] == pytest.approx(exact, abs=1e-9)


def test_active_units_vary():
    draw = np.random.default_rng(0).standard_normal((5000, 4))
    means = 3 + draw * np.sqrt([0.0, 0.008, 0.012, 1.0])
    assert likelihood.active_units(means) == 2
    assert likelihood.active_units(means, threshold=0.001) == 3


def test_bits_of_fair_coins_and_of_a_uniform_density_are_one_and_eight():
    assert likelihood.bits_per_dim(784 * np.log(2), 784) == pytest.approx(1)
    # The density 1 / 2 on [-1, 1]: 255 steps of 2 / 255, so log2(255) bits.
    assert likelihood.bits_per_dim(12 * np.log(2), 12, levels=256) == pytest.approx(np.log2(255))


@pytest.mark.parametrize(
    ("refused", "message"),
    [
        (lambda: likelihood.importance_weighted_bound(np.zeros((3, 0))), r"\(3, 0\).*K >= 1"),
        (lambda: likelihood.importance_weighted_bound(np.zeros(3)), r"\(3,\).*\[images, K\]"),
        (lambda: likelihood.importance_weighted_bound([[0.0, np.nan], [0, 0]]), "1 of 2 images"),
        (lambda: likelihood.importance_weighted_bound([[np.inf]]), "infinity"),
        (lambda: likelihood.active_units(np.full((3, 2), np.nan)), "NaN"),
        (lambda: likelihood.active_units(np.zeros((1, 2))), "1 samples.*at least 2"),
        (lambda: likelihood.bits_per_dim(np.nan, 3), "nats=nan"),
        (lambda: likelihood.bits_per_dim(1.0, 0), "dims=0"),
        (lambda: likelihood.bits_per_dim(1.0, 3, levels=1), "levels=1"),
    ],
)
def test_what_is_no_input_is_refused(refused, message):
    with pytest.raises(ValueError, match=message):
        refused()
