"""The Fréchet distance is that of the Gaussians with the samples' moments."""

import numpy as np
import pytest

from aigc_jax.metrics import frechet
from aigc_jax.metrics.frechet import frechet_distance


def with_moments(mean, covariance, rng, n=200):
    """Samples whose mean and unbiased covariance are exactly those given."""
    x = rng.normal(size=(n, len(mean)))
    x -= x.mean(axis=0)
    white = np.linalg.solve(np.linalg.cholesky(np.cov(x.T)), x.T)
    return (np.linalg.cholesky(covariance) @ white).T + mean


def rotation(dimensions, rng):
    return np.linalg.qr(rng.normal(size=(dimensions, dimensions)))[0]


def test_of_diagonal_gaussians_is_the_distance_of_means_and_deviations():
    rng = np.random.default_rng(0)
    mean_a, mean_b = rng.normal(size=(2, 6))
    std_a, std_b = rng.uniform(0.1, 3, size=(2, 6))
    a = with_moments(mean_a, np.diag(std_a**2), rng)
    b = with_moments(mean_b, np.diag(std_b**2), rng)
    expected = np.sum((mean_a - mean_b) ** 2) + np.sum((std_a - std_b) ** 2)
    np.testing.assert_allclose(frechet_distance(a, b), expected, rtol=1e-10)
    q = rotation(6, rng)
    np.testing.assert_allclose(frechet_distance(a @ q, b @ q), expected, rtol=1e-10)


def test_of_gaussians_that_do_not_commute():
    """In two dimensions tr((A B)^(1/2)) = sqrt(tr(A B) + 2 sqrt(det(A B)))."""
    rng = np.random.default_rng(1)
    q = rotation(2, rng)
    cov_a, cov_b = np.diag([4.0, 0.25]), q @ np.diag([9.0, 1.0]) @ q.T
    assert not np.allclose(cov_a @ cov_b, cov_b @ cov_a)
    product = cov_a @ cov_b
    root = np.sqrt(np.trace(product) + 2 * np.sqrt(np.linalg.det(product)))
    a, b = with_moments([0, 0], cov_a, rng), with_moments([1, -2], cov_b, rng, n=300)
    expected = 5 + np.trace(cov_a + cov_b) - 2 * root
    np.testing.assert_allclose(frechet_distance(a, b), expected, rtol=1e-10)
    np.testing.assert_allclose(frechet_distance(b, a), expected, rtol=1e-10)


def test_is_zero_for_the_same_features_even_where_some_are_constant():
    a = np.random.default_rng(2).normal(size=(100, 8)).astype(np.float32)
    a[:, 3] = 5
    a[:, 4] = a[:, 5]
    assert 0 <= frechet_distance(a, a) < 1e-6
    assert 0 <= frechet_distance(a, a[::-1]) < 1e-6


def test_shift_far_from_zero_is_not_lost_to_rounding():
    a = np.random.default_rng(3).normal(size=(500, 4)).astype(np.float32)
    near = frechet_distance(a, a + np.float32(0.5))
    far = frechet_distance(a + np.float32(1024), a + np.float32(1024.5))
    np.testing.assert_allclose([near, far], 1, rtol=1e-3)


def test_bias_falls_with_the_number_of_samples():
    rng = np.random.default_rng(4)
    few, many = (
        np.mean([frechet_distance(*rng.normal(size=(2, n, 16))) for _ in range(5)])
        for n in (100, 1000)
    )
    assert few > 5 * many > 0


def test_refuses_too_few_samples_and_nan():
    good = np.random.default_rng(5).normal(size=(65, 64))
    frechet_distance(good, good)
    message = (
        "features_b of 64 samples: frechet_distance needs at least 65, one more than the 64 dim"
    )
    with pytest.raises(ValueError, match=message):
        frechet_distance(good, good[:64])
    good[0, 0] = np.nan
    with pytest.raises(ValueError, match="features_a: 1 of 4160 values"):
        frechet_distance(good, good)


def test_moments_in_parts_are_those_of_all_together():
    rng = np.random.default_rng(0)
    features = 1e4 + rng.normal(size=(200, 5)) @ rng.normal(size=(5, 5))
    other = features[::-1] + rng.normal(size=features.shape)
    parts = frechet.moments(np.split(features, [1, 7, 120]))
    assert parts.count == 200
    value = frechet.between(parts, frechet.moments([other]))
    assert value == pytest.approx(frechet.frechet_distance(features, other), rel=1e-6)
    np.testing.assert_allclose(parts.scatter / 199, np.cov(features.T), rtol=1e-9)
    with pytest.raises(ValueError, match="no features"):
        frechet.moments([])
