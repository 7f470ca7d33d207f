"""Windows show every offset in training and every target once in evaluation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.data.windows import (
    compact,
    eval_count,
    eval_windows,
    piece_count,
    piece_windows,
    train_windows,
)


def numbered(length, first=0):
    """Tokens that are their own positions, so that a window says where it was cut."""
    return np.arange(first, first + length, dtype=np.int32)


def everything(split):
    return split.gather(split.arrays, np.arange(split.length))


def predicted(split):
    """All targets that count, in the order of the windows."""
    batch = everything(split)
    return batch["tokens"][:, 1:][batch["mask"] == 1]


@pytest.mark.parametrize(("length", "context"), [(9, 8), (10, 3), (65, 64), (200, 7)])
def test_training_shows_every_offset_once(length, context):
    split = train_windows(numbered(length), context)
    assert split.length == length - context
    windows = everything(split)["tokens"]
    assert windows.dtype == np.int32
    np.testing.assert_array_equal(windows[:, 0], np.arange(length - context))
    np.testing.assert_array_equal(np.diff(windows, axis=1), 1)
    assert windows.max() == length - 1


@pytest.mark.parametrize("context", [1, 2, 3, 7, 64])
@pytest.mark.parametrize("length", [2, 3, 8, 15, 64, 65, 66, 129, 1000])
def test_evaluation_predicts_every_token_after_the_first_exactly_once(length, context):
    split = eval_windows([numbered(length)], context)
    assert split.length == eval_count(length, context) == -(-(length - 1) // context)
    np.testing.assert_array_equal(predicted(split), np.arange(1, length))
    batch = everything(split)
    assert batch["mask"].shape == (split.length, context)
    assert batch["tokens"].shape == (split.length, context + 1)
    assert batch["mask"].dtype == np.float32


def test_a_target_that_counts_follows_its_input():
    batch = everything(eval_windows([numbered(50), numbered(3, 100), numbered(17, 200)], 8))
    steps = np.diff(batch["tokens"], axis=1)
    assert (steps[batch["mask"] == 1] == 1).all()
    assert (np.diff(batch["mask"], axis=1) <= 0).all()  # padding only behind the end


def test_pieces_are_not_crossed_and_all_their_notes_count():
    lengths = [5, 41, 9, 2]
    pieces = [numbered(n, 1000 * i) for i, n in enumerate(lengths)]
    split = eval_windows(pieces, 8)
    expected = np.concatenate([piece[1:] for piece in pieces])
    np.testing.assert_array_equal(predicted(split), expected)
    assert split.length == sum(eval_count(n, 8) for n in lengths)


def test_a_window_starts_at_every_stride_of_every_piece_and_before_it():
    pieces = [numbered(1 + 4 * 5), numbered(1 + 4 * 2, 500)]
    batch = everything(piece_windows(pieces, context=8, stride=4))
    # Those before the piece stand at its start, where they cannot see what they do not hold.
    np.testing.assert_array_equal(batch["tokens"][:, 0], [0, 0, 4, 8, 12, 16, 500, 500, 504])
    np.testing.assert_array_equal(batch["mask"].sum(axis=1), [4, 8, 8, 8, 8, 4, 4, 8, 4])
    assert (np.diff(batch["mask"], axis=1) <= 0).all()
    behind = batch["tokens"][[5, 8], 5:]
    assert (behind == 0).all()


@pytest.mark.parametrize(("context", "stride"), [(4, 4), (8, 4), (20, 4), (64, 16), (12, 1)])
def test_every_token_after_the_first_weighs_the_same(context, stride):
    lengths = [2, 5, 38, 65, 129]
    split = piece_windows([numbered(n, 1000 * i) for i, n in enumerate(lengths)], context, stride)
    assert split.length == sum(piece_count(n, context, stride) for n in lengths)
    found = predicted(split)
    expected = [1000 * i + k for i, n in enumerate(lengths) for k in range(1, n)]
    ids, times = np.unique(found, return_counts=True)
    np.testing.assert_array_equal(ids, expected)
    assert (times == context // stride).all()


def test_a_piece_has_its_weight_in_every_window():
    batch = everything(piece_windows([numbered(9), numbered(9, 50)], 4, 4, weights=[0.5, 3]))
    np.testing.assert_array_equal(batch["mask"].sum(axis=1), [2, 2, 12, 12])


def test_a_stride_that_would_count_tokens_unequally_is_refused():
    with pytest.raises(ValueError, match="stride = 16: must divide the context of 24"):
        piece_windows([numbered(40)], 24, 16)


@pytest.mark.parametrize("kind", ["train", "eval"])
def test_windows_are_the_same_inside_a_compiled_call(kind):
    tokens = compact(np.random.default_rng(0).integers(0, 300, 101))
    split = train_windows(tokens, 16) if kind == "train" else eval_windows([tokens], 16)
    indices = np.array([0, split.length - 1, 3])
    host = split.gather(split.arrays, indices)
    arrays = {name: jnp.asarray(array) for name, array in split.arrays.items()}
    device = jax.jit(split.gather)(arrays, jnp.asarray(indices))
    for name in host:
        np.testing.assert_array_equal(host[name], device[name])
        assert host[name].dtype == device[name].dtype


@pytest.mark.parametrize(("top", "dtype"), [(255, np.uint8), (256, np.uint16), (70000, np.int32)])
def test_tokens_are_stored_in_the_smallest_type_that_holds_them(top, dtype):
    stored = compact(np.array([0, top], np.int32))
    assert stored.dtype == dtype
    assert stored[1] == top
