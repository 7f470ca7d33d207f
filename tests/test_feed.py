"""What the compiled calls are fed with: the same batches from memory and from a stream."""

import numpy as np
import pytest
import tiny_runs

from aigc_jax import feed
from aigc_jax.data.dataset import Split

TRAIN = tiny_runs.dataset(tiny_runs.IMAGES).train


def streamed(split):
    """The same examples, read one by one."""
    source = [{k: v[i] for k, v in split.arrays.items()} for i in range(split.length)]
    return Split(split.length, source=source)


def taken(split, count, **options):
    """Raw batches of the first `count` items, as the compiled call sees them."""
    items = feed.training_items(split, seed=3, **options)
    gather = feed.gather_of(split)
    return [gather(split.arrays, next(items)) for _ in range(count)]


@pytest.mark.parametrize("cursor", [0, 5])
@pytest.mark.parametrize(("batches", "steps"), [(1, 1), (2, 1), (1, 3), (2, 2)])
def test_data_in_memory_and_streamed_data_are_the_same(cursor, batches, steps):
    options = dict(cursor=cursor, batch_size=8, batches_per_step=batches, steps=steps)
    here, there = taken(TRAIN, 4, **options), taken(streamed(TRAIN), 4, **options)
    for one, other in zip(here, there, strict=True):
        assert one["image"].shape == (steps, batches * 8, 8, 8, 1)
        assert one.keys() == other.keys()
        assert all((one[name] == other[name]).all() for name in one)


def test_items_go_on_from_the_cursor():
    options = dict(batch_size=8, batches_per_step=2, steps=1)
    whole = taken(TRAIN, 5, cursor=0, **options)
    rest = taken(TRAIN, 3, cursor=4, **options)
    for one, other in zip(whole[2:], rest, strict=True):
        np.testing.assert_array_equal(one["image"], other["image"])


def test_an_epoch_has_every_example_once():
    items = feed.training_items(TRAIN, seed=1, cursor=0, batch_size=8, batches_per_step=1, steps=2)
    epochs = [np.concatenate([next(items).ravel() for _ in range(3)]) for _ in range(2)]
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(48))
    assert (epochs[0] != epochs[1]).any()


@pytest.mark.parametrize("split", [TRAIN, streamed(TRAIN)], ids=["memory", "stream"])
@pytest.mark.parametrize("batch", [7, 16, 48, 100])
def test_evaluation_covers_every_example_once(split, batch):
    seen = []
    gather = feed.gather_of(split)
    for item, weight in feed.evaluation_items(split, batch):
        raw = gather(split.arrays, item)
        assert len(weight) == len(raw["image"]) == batch
        assert weight.dtype == np.float32
        seen.append(raw["image"][weight == 1])
        assert set(weight) <= {0, 1}
    np.testing.assert_array_equal(np.concatenate(seen), TRAIN.arrays["image"])


def test_evaluation_can_take_the_first_batches_alone():
    items = list(feed.evaluation_items(TRAIN, 7, batches=2))
    assert [rows.tolist() for rows, _ in items] == [list(range(7)), list(range(7, 14))]
    assert len(list(feed.evaluation_items(TRAIN, 48, batches=5))) == 1
