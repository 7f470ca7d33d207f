"""Modes and divergences in cases counted by hand."""

import numpy as np
import pytest

from aigc_jax.data import points
from aigc_jax.metrics.modes import (
    STACKED_SAMPLES,
    gaussian_modes,
    kl_to_uniform,
    stacked_modes,
)

MIXTURES = [points.ring(), points.grid()]
RING, GRID = (mixture.means for mixture in MIXTURES)


def test_kl_of_known_shares():
    assert kl_to_uniform([5, 5, 5, 5]) == 0
    assert kl_to_uniform([0, 7, 0, 0]) == pytest.approx(np.log(4))
    assert kl_to_uniform([3, 3, 0, 0]) == pytest.approx(np.log(2))
    assert kl_to_uniform([3, 1]) == pytest.approx(0.75 * np.log(1.5) + 0.25 * np.log(0.5))
    for wrong in ([0, 0], [2, -1], [[1, 2]], [np.nan, 1]):
        with pytest.raises(ValueError, match="kl_to_uniform needs"):
            kl_to_uniform(wrong)


def test_modes_counted_by_hand():
    means = [[0, 0], [10, 0], [0, 10], [10, 10]]
    points = [[0, 0], [0.5, 0], [0, 0.29], [0.31, 0], [10, 0], [10, 0.1], [9, 9], [20, 20]]
    found = gaussian_modes(points, means, sigma=0.1)
    assert found.found == 2  # nothing is near (0, 10); what is nearest to (10, 10) is far from it
    assert found.high_quality == 4 / 8  # (0, 0), (0, 0.29), (10, 0), (10, 0.1)
    assert found.reverse_kl == pytest.approx(kl_to_uniform([4, 2, 0, 2]))
    assert found.reverse_kl_high_quality == pytest.approx(np.log(2))


def test_true_samples_find_every_mode_and_collapsed_ones_do_not():
    rng = np.random.default_rng(0)
    for means, sigma, _ in MIXTURES:
        drawn = means[rng.integers(len(means), size=2500)]
        drawn = drawn + sigma * rng.normal(size=drawn.shape)
        found = gaussian_modes(drawn, means, sigma)
        assert found.found == len(means)
        assert found.high_quality == pytest.approx(1 - np.exp(-4.5), abs=0.01)
        assert found.reverse_kl == pytest.approx((len(means) - 1) / 5000, abs=0.005)
        collapsed = gaussian_modes(drawn * 0 + means[3], means, sigma)
        assert collapsed == (1, 1, pytest.approx(np.log(len(means))), collapsed.reverse_kl)


def test_samples_without_any_of_high_quality_are_still_counted():
    found = gaussian_modes(GRID + 0.9, GRID, sigma=0.05)
    assert found[:3] == (0, 0, 0)
    assert np.isnan(found.reverse_kl_high_quality)


def test_gaussian_modes_refuse_nan_and_other_dimensions():
    with pytest.raises(ValueError, match="points: 2 of 6 values are NaN or infinite, in 1 of 3"):
        gaussian_modes([[0, 0], [np.nan, np.inf], [1, 1]], RING, 0.1)
    with pytest.raises(ValueError, match="points has 3 dimensions and means has 2"):
        gaussian_modes(np.zeros((4, 3)), RING, 0.1)
    with pytest.raises(ValueError, match="sigma = 0"):
        gaussian_modes(np.zeros((4, 2)), RING, 0)


def test_stacked_modes_of_known_counts():
    ids = np.arange(STACKED_SAMPLES) % 1000
    assert stacked_modes(ids) == (1000, 0)
    assert stacked_modes(ids % 250) == (250, pytest.approx(np.log(4)))
    triples = np.stack([ids // 100, ids // 10 % 10, ids % 10], axis=1)
    assert stacked_modes(triples) == (1000, 0)
    triples[:, 1] = 4  # one channel collapses
    assert stacked_modes(triples) == (100, pytest.approx(np.log(10)))
    assert stacked_modes(np.zeros((STACKED_SAMPLES, 2), int), num_modes=100) == (
        1,
        pytest.approx(np.log(100)),
    )


def test_stacked_modes_floor_is_that_of_uniform_draws():
    """(K - 1) / 2n nats: why the number of samples is fixed."""
    triples = np.random.default_rng(1).integers(10, size=(STACKED_SAMPLES, 3))
    found = stacked_modes(triples)
    assert found.found == 1000
    assert found.kl == pytest.approx(999 / (2 * STACKED_SAMPLES), rel=0.1)


def test_stacked_modes_on_real_digits(manual_dir):
    """True labels of MNIST are not even, which is in the floor that the docstring names."""
    import gzip

    path = next(manual_dir.rglob("train-labels-idx1-ubyte.gz"), None)
    if path is None:
        pytest.skip("no MNIST labels")
    labels = np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=8)
    triples = np.random.default_rng(2).choice(labels, size=(STACKED_SAMPLES, 3))
    assert stacked_modes(triples).kl == pytest.approx(0.0247, abs=0.003)


def test_stacked_modes_refuse_other_counts_and_labels():
    with pytest.raises(ValueError, match="labels of 10000 samples: .* exactly 26000, because"):
        stacked_modes(np.zeros((10_000, 3), int))
    with pytest.raises(ValueError, match="labels from 0 to 10: .* accepts 0 to 9"):
        stacked_modes(np.full((STACKED_SAMPLES, 3), 10) * [0, 0, 1])
    for wrong in (np.zeros((STACKED_SAMPLES, 3)), np.zeros((STACKED_SAMPLES, 2), int)):
        with pytest.raises(ValueError, match="needs whole numbers"):
            stacked_modes(wrong)
