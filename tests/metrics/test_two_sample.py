"""The two-sample test is at 1/2 for one distribution, at 1 for two, below for copies."""

import numpy as np
import pytest

from aigc_jax.metrics.two_sample import nearest_neighbour_accuracy


def test_accuracy_is_a_half_for_the_same_distribution():
    real, fake = np.random.default_rng(0).normal(size=(2, 2000, 4))
    found = nearest_neighbour_accuracy(real, fake)
    np.testing.assert_allclose(found, 0.5, atol=0.05)


def test_accuracy_of_distant_copied_and_collapsed_samples():
    real, other = np.random.default_rng(1).normal(size=(2, 500, 4))
    assert nearest_neighbour_accuracy(real, other + 20) == (1, 1, 1)
    assert nearest_neighbour_accuracy(real, real + 1e-3) == (0, 0, 0)
    collapsed = nearest_neighbour_accuracy(real, 0.01 * other)
    assert collapsed.fake > 0.99
    assert collapsed.accuracy > 0.9


def test_accuracy_counted_by_hand():
    found = nearest_neighbour_accuracy([[0.0], [1.0], [10.0]], [[1.4], [10.3], [10.5]])
    # 0 -> 1 right, 1 -> 1.4 wrong, 10 -> 10.3 wrong; 1.4 -> 1 wrong, 10.3 <-> 10.5 right
    np.testing.assert_allclose(found, [1 / 2, 1 / 3, 2 / 3])


def test_copies_of_both_kinds_are_half_right():
    real = np.repeat(np.random.default_rng(2).normal(100, 1, size=(30, 24)), 10, axis=0)
    assert nearest_neighbour_accuracy(real, real[::-1]) == (0.5, 0.5, 0.5)


def test_refuses_different_counts_and_a_single_pair():
    x = np.zeros((4, 2))
    with pytest.raises(ValueError, match="4 real and 3 fake samples: .* needs the same number"):
        nearest_neighbour_accuracy(x, x[:3])
    with pytest.raises(ValueError, match="real of 1 samples: .* at least 2"):
        nearest_neighbour_accuracy(x[:1], x[:1])
