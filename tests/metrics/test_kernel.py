"""The kernel distance is the unbiased sum over all pairs."""

import numpy as np
import pytest

from aigc_jax.metrics import kernel
from aigc_jax.metrics.kernel import kernel_distance


def by_pairs(a, b):
    k = lambda x, y: (float(x @ y) / len(x) + 1) ** 3
    within = lambda s: np.mean(
        [k(x, y) for i, x in enumerate(s) for j, y in enumerate(s) if i != j]
    )
    return within(a) + within(b) - 2 * np.mean([k(x, y) for x in a for y in b])


def test_equals_the_sum_over_pairs_in_blocks_of_any_size(monkeypatch):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(23, 5)), rng.normal(0.3, 2, size=(17, 5))
    expected = by_pairs(a, b)
    for rows in (1, 4, 7, 1000):
        monkeypatch.setattr(kernel, "BLOCK_BYTES", 8 * 23 * rows)
        np.testing.assert_allclose(kernel_distance(a, b), expected, rtol=1e-12)
        np.testing.assert_allclose(kernel_distance(b, a), expected, rtol=1e-12)


def test_is_unbiased():
    """Its mean over draws of one distribution is 0 even for few samples, and some are negative."""
    rng = np.random.default_rng(1)
    values = [
        kernel_distance(rng.gamma(2, size=(8, 3)), rng.gamma(2, size=(6, 3))) for _ in range(4000)
    ]
    assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(len(values))
    assert np.mean(np.array(values) < 0) > 0.1


def test_sees_a_difference_of_means_of_deviations_and_of_skewness():
    rng = np.random.default_rng(2)
    a, same = rng.normal(size=(2, 2000, 8))
    noise = abs(kernel_distance(a, same))
    skewed = rng.gamma(1, size=(2000, 8)) - 1
    for other in (same + 0.3, same * 1.3, skewed):
        assert kernel_distance(a, other) > 5 * noise


def test_small_distance_beside_large_kernels_keeps_its_digits():
    a = np.random.default_rng(3).normal(100, 0.01, size=(300, 4)).astype(np.float32)
    b = a[:299] + np.float32(0.125)
    # The kernel is 1e12, the distance a few 1e5 of it: what float32 sums would round away.
    np.testing.assert_allclose(
        kernel_distance(a, b), by_pairs(a.astype(float), b.astype(float)), rtol=1e-5
    )


def test_refuses_a_single_sample_and_nan():
    a = np.ones((4, 2))
    message = "features_b of 1 samples: kernel_distance needs at least 2, to have a pair"
    with pytest.raises(ValueError, match=message):
        kernel_distance(a, a[:1])
    with pytest.raises(ValueError, match="features_b: 8 of 8 values are NaN"):
        kernel_distance(a, a * np.nan)
