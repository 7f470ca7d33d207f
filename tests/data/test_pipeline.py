"""Streamed data follows `order.py` id by id, for any number of processes, from any batch."""

import itertools

import numpy as np
import pytest
from absl import flags

from aigc_jax.data.dataset import Split, rows
from aigc_jax.data.order import indices, step_indices
from aigc_jax.data.pipeline import stream

flags.FLAGS.mark_as_parsed()  # Grain reads its flags, and under pytest nobody has parsed them

N, B = 23, 8


class Ids:
    """A source whose example i is i."""

    def __init__(self):
        self.asked = []

    def __len__(self):
        return N

    def __getitem__(self, index):
        self.asked.append(index)
        return {"id": np.array(index, np.int32)}


def ids(split, count, **options):
    """The ids [count, ...] of the first items."""
    items = itertools.islice(stream(split, seed=4, batch=B, **options), count)
    return np.stack([item["id"] for item in items])


def held():
    return Split(N, {"id": np.arange(N, dtype=np.int32)}, rows)


def lazy():
    return Split(N, source=Ids())


@pytest.mark.parametrize("make", [held, lazy])
@pytest.mark.parametrize("processes", [1, 2, 4])
def test_two_epochs_equal_the_order_for_any_process_count(make, processes):
    count = 2 * N // B + 1
    shares = np.split(np.arange(B), processes)
    parts = [ids(make(), count, cursor=0, rows=share) for share in shares]
    expected = np.stack([indices(4, cursor, B, N) for cursor in range(count)])
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), expected)
    epochs = np.concatenate(parts, axis=1).reshape(-1)[: 2 * N].reshape(2, N)
    np.testing.assert_array_equal(np.sort(epochs), np.tile(np.arange(N), (2, 1)))


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_items_of_several_batches_equal_the_interleaved_order(processes):
    shares = np.split(np.arange(3 * B), processes)
    parts = [ids(lazy(), 4, cursor=5, batches=3, rows=share) for share in shares]
    expected = np.stack([step_indices(4, 5 + 3 * i, B, 3, N) for i in range(4)])
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), expected)


def test_a_process_has_the_same_rows_of_every_batch():
    several = ids(lazy(), 1, cursor=2, batches=3, rows=np.arange(3 * B // 2, 3 * B))[0]
    for j in range(3):
        one = ids(lazy(), 1, cursor=2 + j, rows=np.arange(B // 2, B))[0]
        np.testing.assert_array_equal(several[j::3], one)


def test_a_late_start_reads_nothing_before_it():
    cursor = 10**6
    split = lazy()
    np.testing.assert_array_equal(ids(split, 2, cursor=cursor)[1], indices(4, cursor + 1, B, N))
    assert len(split.source.asked) <= 20 * B  # what is read ahead


def test_sources_that_read_many_at_once_are_asked_so():
    class Many(Ids):
        def __getitems__(self, wanted):
            return [{"id": np.array(i, np.int32)} for i in wanted]

    split = Split(N, source=Many())
    np.testing.assert_array_equal(ids(split, 3, cursor=0), ids(lazy(), 3, cursor=0))
    assert split.source.asked == []


def test_errors_of_a_reader_reach_the_caller():
    class Broken(Ids):
        def __getitem__(self, index):
            raise ValueError("image file 7.png: can't be decoded")

    with pytest.raises(ValueError, match=r"7\.png"):
        ids(Split(N, source=Broken()), 1, cursor=0)


def test_a_process_reads_its_own_rows_alone():
    """Here those of two shares that are not neighbours."""
    split, mine = lazy(), np.array([1, 2, 6])
    found = ids(split, 1, cursor=3, rows=mine)[0]
    np.testing.assert_array_equal(found, indices(4, 3, B, N)[mine])
    assert len(split.source.asked) % len(mine) == 0
