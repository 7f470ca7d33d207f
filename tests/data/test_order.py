"""The order is a bijection per epoch, new in every epoch and for every seed, and stateless."""

import itertools

import numpy as np
import pytest

from aigc_jax.data.order import AHEAD, indices, step_indices, step_stream


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 16, 17, 63, 64, 65, 1437, 10007])
@pytest.mark.parametrize("seed", [0, -1, 2**70])
def test_every_example_comes_exactly_once_per_epoch(n, seed):
    for epoch in (0, 1, 12):
        np.testing.assert_array_equal(np.sort(indices(seed, epoch, n, n)), np.arange(n))


def test_batches_that_span_epochs_still_cover_each_epoch_once():
    n, batch = 10, 7
    drawn = np.concatenate([indices(3, cursor, batch, n) for cursor in range(10)])
    np.testing.assert_array_equal(np.sort(drawn.reshape(7, n)), np.tile(np.arange(n), (7, 1)))


def test_the_stream_does_not_depend_on_the_batch_size():
    small = np.concatenate([indices(0, cursor, 4, 100) for cursor in range(90)])
    large = np.concatenate([indices(0, cursor, 60, 100) for cursor in range(6)])
    np.testing.assert_array_equal(small, large)


def test_a_batch_may_be_larger_than_the_data():
    assert np.bincount(indices(0, 0, 35, 10)).min() >= 3


def test_epochs_and_seeds_have_orders_of_their_own():
    n = 1000
    orders = [indices(seed, epoch, n, n) for seed in (0, 1, 2) for epoch in (0, 1, 2)]
    for i, one in enumerate(orders):
        for other in orders[:i]:
            # Two random permutations agree in one place on average, a Poisson count.
            assert (one == other).sum() < 10


def test_each_example_comes_at_each_place_equally_often():
    n, epochs = 10, 4000
    counts = np.zeros((n, n))
    for epoch in range(epochs):
        counts[np.arange(n), indices(7, epoch, n, n)] += 1
    expected = epochs / n
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert chi_square < 81 + 4 * np.sqrt(2 * 81)  # (n - 1)^2 degrees of freedom, four sigma


def test_neighbours_in_the_data_are_not_neighbours_in_the_order():
    n = 10007
    order = indices(0, 0, n, n).astype(np.int64)
    correlation = np.corrcoef(order[:-1], order[1:])[0, 1]
    assert abs(correlation) < 4 / np.sqrt(n)


def test_the_order_is_the_same_on_every_machine_and_version():
    drawn = indices(0, 0, 8, 10007)
    assert drawn.dtype == np.int32
    assert drawn.tolist() == [5795, 5366, 9884, 7844, 1276, 823, 3159, 8447]
    assert indices(1, 2**31 - 1, 4, 60000).tolist() == [31212, 40941, 57143, 25054]


def test_rows_of_consecutive_batches_are_interleaved():
    drawn = step_indices(5, 11, 6, 3, 100)
    for j in range(3):
        np.testing.assert_array_equal(drawn[j::3], indices(5, 11 + j, 6, 100))


@pytest.mark.parametrize("n", [0, -3, 2**31])
def test_sizes_that_no_index_can_count_are_refused(n):
    with pytest.raises(ValueError, match=f"n={n}"):
        indices(0, 0, 4, n)


@pytest.mark.parametrize(("cursor", "batch", "batches", "n"), [(0, 64, 1, 100), (7, 3, 2, 50)])
def test_a_stream_is_the_steps_one_by_one(cursor, batch, batches, n):
    steps = AHEAD // (batch * batches) + 3  # more than are drawn at a time
    stream = itertools.islice(step_stream(5, cursor, batch, batches, n), steps)
    for step, got in enumerate(stream):
        want = step_indices(5, cursor + step * batches, batch, batches, n)
        np.testing.assert_array_equal(got, want)
