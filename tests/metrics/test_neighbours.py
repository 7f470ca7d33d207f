"""Neighbours, and the metrics made of them, equal brute force; blocks change nothing."""

import numpy as np
import pytest

from aigc_jax.metrics import distances as blocked
from aigc_jax.metrics import neighbours
from aigc_jax.metrics.neighbours import (
    mean_pairwise_distance,
    nearest,
    nearest_in,
    precision_recall_density_coverage,
)


def distances(a, b):
    return np.linalg.norm(a[:, None].astype(float) - b[None].astype(float), axis=-1)


def memorisation(fake, train, held_out):
    return neighbours.memorisation(nearest(fake, train)[0], nearest(held_out, train)[0])


def small_blocks(monkeypatch, size):
    monkeypatch.setattr(blocked, "BLOCK_BYTES", size)


@pytest.mark.parametrize("size", [1, 5_000, 2**20])
def test_nearest_equals_brute_force(monkeypatch, size):
    small_blocks(monkeypatch, size)
    rng = np.random.default_rng(0)
    queries, references = rng.normal(size=(37, 6)), rng.normal(size=(101, 6))
    expected = distances(queries, references)
    found, indices = nearest(queries, references, k=4)
    np.testing.assert_array_equal(indices, np.argsort(expected, axis=1)[:, :4])
    np.testing.assert_allclose(found, np.sort(expected, axis=1)[:, :4], rtol=1e-5)


def test_nearest_leaves_out_the_sample_but_not_its_copies():
    x = np.random.default_rng(1).normal(size=(50, 3))
    x[7] = x[30]
    found, indices = nearest(x, x, k=2, exclude_self=True)
    without = distances(x, x)
    np.fill_diagonal(without, np.inf)
    np.testing.assert_allclose(found, np.sort(without, axis=1)[:, :2], atol=1e-5)
    assert (indices[7, 0], indices[30, 0]) == (30, 7)
    assert found[7, 0] == found[30, 0] == 0


def test_copies_are_at_zero_far_from_the_origin():
    x = np.random.default_rng(2).normal(1000, 1, size=(500, 64))
    found, indices = nearest(x[100:150], x, k=3)
    np.testing.assert_array_equal(indices[:, 0], np.arange(100, 150))
    np.testing.assert_array_equal(found[:, 0], 0)
    np.testing.assert_allclose(found, np.sort(distances(x[100:150], x))[:, :3], rtol=1e-4)


def test_nearest_refuses_more_neighbours_than_there_are():
    x = np.zeros((5, 2))
    nearest(x, x, k=5)
    with pytest.raises(ValueError, match="of 5 samples: nearest needs at least 6, for k = 6"):
        nearest(x, x, k=6)
    with pytest.raises(ValueError, match="at least 6, for k = 5 others than itself"):
        nearest(x, x, k=5, exclude_self=True)
    with pytest.raises(ValueError, match="4 queries and 5 references"):
        nearest(x[:4], x, exclude_self=True)
    with pytest.raises(ValueError, match="k = 0"):
        nearest(x, x, k=0)


def test_references_in_parts_are_the_same_references(monkeypatch):
    small_blocks(monkeypatch, 3_000)
    rng = np.random.default_rng(11)
    queries, references = rng.integers(0, 4, size=(2, 300, 3)).astype(np.uint8)  # full of ties
    expected = distances(queries, references)
    found, indices = nearest_in(queries, np.split(references, [2, 3, 120]), k=5)
    np.testing.assert_array_equal(found, np.sort(expected, axis=1)[:, :5])
    np.testing.assert_array_equal(np.take_along_axis(expected, indices, axis=1), found)
    assert all(len(set(row)) == 5 for row in indices.tolist())


def brute_force_quality(real, fake, k):
    radius = lambda s: np.sort(distances(s, s), axis=1)[:, k]  # column 0 is the sample itself
    between = distances(real, fake)
    in_real, in_fake = between <= radius(real)[:, None], between <= radius(fake)[None]
    return (
        in_real.any(axis=0).mean(),
        in_fake.any(axis=1).mean(),
        in_real.sum(axis=0).mean() / k,
        in_real.any(axis=1).mean(),
    )


@pytest.mark.parametrize("size", [3_000, 2**20])
@pytest.mark.parametrize("k", [1, 5])
def test_quality_equals_brute_force(monkeypatch, size, k):
    small_blocks(monkeypatch, size)
    rng = np.random.default_rng(3)
    real, fake = rng.normal(size=(200, 8)), rng.normal(0.6, 0.8, size=(173, 8))
    found = precision_recall_density_coverage(real, fake, k)
    expected = brute_force_quality(real, fake, k)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert len(set(expected)) == 4
    assert all(0.1 < value < 0.97 for value in expected)


@pytest.mark.parametrize("offset", [0, 1000])
@pytest.mark.parametrize("size", [3_000, 2**20])
def test_fakes_that_are_the_real_samples_lie_in_their_balls(monkeypatch, size, offset):
    """With copies balls are points; without, the k-th neighbour lies on their border."""
    small_blocks(monkeypatch, size)
    real = np.random.default_rng(12).normal(offset, 1, size=(60, 24)).astype(np.float32)
    assert precision_recall_density_coverage(real, real) == (1, 1, 6 / 5, 1)
    copied = np.repeat(real, 10, axis=0)
    shuffled = np.random.default_rng(13).permutation(copied)
    assert precision_recall_density_coverage(copied, shuffled) == (1, 1, 2, 1)
    # One in ten of the real samples once more: their balls are as before, the fakes all within.
    assert precision_recall_density_coverage(copied, real) == (1, 1, 2, 1)


def test_quality_tells_fidelity_from_diversity():
    rng = np.random.default_rng(4)
    real, same = rng.normal(size=(2, 1000, 4))
    ideal = precision_recall_density_coverage(real, same)
    assert ideal.precision > 0.8
    assert ideal.recall > 0.8
    assert abs(ideal.density - 1) < 0.1
    assert abs(ideal.coverage - (1 - 2**-5)) < 0.02
    collapsed = precision_recall_density_coverage(real, 0.05 * same)
    assert collapsed.precision > 0.99
    assert collapsed.recall < 0.05
    assert collapsed.coverage < 0.2
    noisy = precision_recall_density_coverage(real, 4 * same)
    assert noisy.precision < 0.2
    assert noisy.density < 0.1
    assert noisy.recall > 0.9


def test_density_and_coverage_ignore_an_outlier_that_inflates_precision():
    """One real sample far away has a ball around everything."""
    rng = np.random.default_rng(5)
    real, fake = rng.normal(size=(300, 2)), rng.normal(30, 1, size=(300, 2))
    real[0] = 60
    found = precision_recall_density_coverage(real, fake)
    assert found.precision == 1
    assert found.density == pytest.approx(0.2)
    assert found.coverage == pytest.approx(1 / 300)


def test_quality_refuses_too_few_samples_and_nan():
    x = np.random.default_rng(6).normal(size=(6, 2))
    precision_recall_density_coverage(x, x)
    with pytest.raises(ValueError, match="fake of 5 samples: .* at least 6, one more than k = 5"):
        precision_recall_density_coverage(x, x[:5])
    with pytest.raises(ValueError, match="fake: 12 of 12 values are NaN"):
        precision_recall_density_coverage(x, x * np.nan)


def test_memorisation_tells_copies_from_fresh_samples():
    rng = np.random.default_rng(7)
    train, held_out, fresh = rng.normal(size=(3, 2000, 8)).astype(np.float32)
    found = memorisation(fresh, train, held_out)
    assert found.ratio == pytest.approx(1, abs=0.05)
    assert found.share == pytest.approx(0.01, abs=0.01)
    assert memorisation(train[:500], train, held_out) == (0, 1)
    noisy = train[:500] + 0.01 * fresh[:500]
    found = memorisation(noisy, train, held_out)
    assert found.ratio < 0.05
    assert found.share == 1
    half = np.concatenate([noisy, fresh[:500]])
    assert memorisation(half, train, held_out).share == pytest.approx(0.5, abs=0.02)


def test_copies_are_seen_where_some_held_out_samples_are_copies_too():
    train, held_out = np.random.default_rng(10).normal(size=(2, 200, 3))
    held_out[:10] = train[:10]
    assert memorisation(train, train, held_out).share == 1


def test_memorisation_refuses_held_out_samples_that_are_few_or_seen():
    train = np.random.default_rng(8).normal(size=(200, 2))
    with pytest.raises(ValueError, match="held_out of 99 samples: .* 100, to have one in its"):
        memorisation(train, train, train[:99])
    with pytest.raises(ValueError, match="queries: 400 of 400 values are NaN"):
        memorisation(train * np.nan, train, train)
    with pytest.raises(ValueError, match="half of its samples or more are also in train"):
        memorisation(train, train, train[:150])


@pytest.mark.parametrize("size", [1, 3_000, 2**20])
def test_mean_pairwise_distance_equals_brute_force(monkeypatch, size):
    small_blocks(monkeypatch, size)
    rng = np.random.default_rng(9)
    x, y = rng.normal(size=(53, 5)), rng.normal(2, 1, size=(41, 5))
    expected = distances(x, x).sum() / (53 * 52)
    np.testing.assert_allclose(mean_pairwise_distance(x), expected, rtol=1e-5)
    np.testing.assert_allclose(mean_pairwise_distance(x, y), distances(x, y).mean(), rtol=1e-5)
    three = rng.normal(size=(3, 3000))  # rounding of a distance to itself would show
    np.testing.assert_allclose(
        mean_pairwise_distance(three), distances(three, three).sum() / 6, rtol=1e-6
    )


def test_mean_pairwise_distance_of_a_collapsed_generator_is_zero():
    assert mean_pairwise_distance(np.full((100, 64), 0.3, np.float32)) < 1e-5
    with pytest.raises(ValueError, match="x of 1 samples: mean_pairwise_distance needs at least 2"):
        mean_pairwise_distance(np.zeros((1, 3)))
