"""Chorales become frames of four voices that no window tears apart."""

import json
import sys

import numpy as np
import pytest

from aigc_jax.data import music, text_builders, tokenizers


@pytest.fixture
def config(tmp_path):
    return {
        "name": "jsb_chorales",
        "manual_dir": None,
        "data_dir": str(tmp_path),
        "context": 64,
        "tokenizer": "auto",
        "vocab_size": 1024,
        "limit": None,
        "transpose": 0,
    }


@pytest.fixture
def dataset(config, manual_dir):
    return music.load({**config, "manual_dir": str(manual_dir)})


@pytest.fixture
def chorales(manual_dir):
    return json.loads(next(manual_dir.rglob("Jsb16thSeparated.json")).read_text())


def batch_of(split, indices):
    return split.gather(split.arrays, np.asarray(indices))


def test_notes_are_frame_by_frame_and_voice_by_voice():
    ids = music.notes(np.array([[72, 67, -1, 48], [81, 60, 59, 36]]))
    text = tokenizers.music().decode(ids)
    assert text == "| 72 67 . 48\n81 60 59 36\n"


def test_pieces_come_back_from_their_notes(dataset, chorales):
    for split, key in ((dataset.train, "train"), (dataset.eval, "test")):
        pieces = music.pieces_of(split.arrays["tokens"])
        assert len(pieces) == len(chorales[key])
        for piece, real in zip(pieces, chorales[key], strict=True):
            np.testing.assert_array_equal(piece, real)
    sampled = music.notes(np.array(chorales["test"][0]))[1:14]  # from the middle, part of a frame
    np.testing.assert_array_equal(music.pieces_of(sampled), [chorales["test"][0][:3]])
    assert music.pieces_of(sampled[:2]) == []


def test_sizes_are_known_before_the_set_is_there(config, dataset, chorales):
    info = music.describe(config)
    assert info == dataset.info
    beats = sum(map(len, chorales["train"])) // 4
    assert info.sizes["train"] == beats + 3 * 229 == 14494  # windows of 4 beats
    for split, key in (("validation", "valid"), ("test", "test")):
        assert info.sizes[split] == sum(-(-4 * len(piece) // 64) for piece in chorales[key])
    assert (dataset.train.length, dataset.eval.length) == (14494, info.sizes["test"])
    assert (info.vocab, info.eval_split) == (48, "test")


def test_every_test_note_is_predicted_exactly_once_and_nothing_else(dataset, chorales):
    batch = batch_of(dataset.eval, np.arange(dataset.eval.length))
    predicted = batch["tokens"][:, 1:][batch["mask"] == 1]
    words = [tokenizers.MUSIC_WORDS[i] for i in predicted]
    notes = [n for piece in chorales["test"] for frame in piece for n in frame]
    assert words == ["." if note == -1 else str(note) for note in notes]


def test_training_windows_start_with_every_beat_of_the_file_and_before_it(dataset, chorales):
    batch = batch_of(dataset.train, np.arange(14494))
    starts = [(p, max(i, 0)) for p in chorales["train"] for i in range(-3, len(p) // 4)]
    expected = [music.notes(np.array(p[4 * i : 4 * i + 4]))[1:] for p, i in starts]
    np.testing.assert_array_equal(batch["tokens"][:, 1:17], expected)
    assert (batch["mask"].sum(axis=1) % 16 == 0).all()
    assert (batch["mask"][:, :16] == 1).all()


@pytest.mark.parametrize(("context", "transpose"), [(4, 0), (20, 2), (64, 5), (256, 3)])
def test_every_training_note_weighs_the_same_in_expectation(
    config, dataset, chorales, context, transpose
):
    # `dataset` has prepared the pieces.
    changes = {"context": context, "transpose": transpose, "limit": 40}
    split = music.load({**config, **changes}).train
    tokens, copies = split.arrays["tokens"], 2 * transpose + 1
    weight = np.zeros(len(tokens))
    for some in np.array_split(np.arange(split.length), 1 + split.length // 20000):
        places = split.arrays["starts"][some][:, None] + np.arange(1, context + 1)
        np.add.at(weight, places, batch_of(split, some)["mask"])
    at, of_note = 0, []
    for frames in map(len, chorales["train"][:40]):
        of_piece = weight[at : at + copies * (1 + 4 * frames + context)].reshape(copies, -1)
        keys = tokens[at : at + of_piece.size].reshape(copies, -1)
        assert (of_piece[:, [0]] == 0).all()
        of_note.append(of_piece[:, 1 : 1 + 4 * frames].sum(0))
        which = np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)
        of_key = np.bincount(which, of_piece[:, 1])
        np.testing.assert_allclose(of_key, of_key.mean(), rtol=1e-5)
        at += of_piece.size
    of_note = np.concatenate(of_note)
    assert of_note.min() > 0
    np.testing.assert_allclose(of_note, of_note.mean(), rtol=1e-5)
    assert batch_of(split, np.arange(split.length))["mask"].max() == 1


def test_every_piece_comes_in_as_many_keys_and_stays_within_the_voices(chorales):
    pieces = [np.array(piece) for piece in chorales["train"]]
    copies, weights = music.in_other_keys(pieces, 5)
    assert len(copies) == len(weights) == 11 * len(pieces)
    lowest = np.where(np.concatenate(pieces) < 0, 127, np.concatenate(pieces)).min(0)
    for i, piece in enumerate(pieces):
        sung = piece >= 0
        shifts = []
        for copy in copies[11 * i : 11 * (i + 1)]:
            np.testing.assert_array_equal(copy[~sung], -1)
            by = np.unique((copy - piece)[sung])
            assert len(by) == 1
            shifts += by.tolist()
        assert set(shifts) == set(range(min(shifts), max(shifts) + 1)) >= {0}
        assert min(shifts) >= -5
        assert max(shifts) <= 5
    together = np.concatenate(copies)
    np.testing.assert_array_equal(np.where(together < 0, 127, together).min(0), lowest)
    np.testing.assert_array_equal(together.max(0), np.concatenate(pieces).max(0))


def test_transposition_multiplies_training_and_leaves_the_test_alone(config, dataset):
    more = music.load({**config, "transpose": 2})
    assert more.info == music.describe({**config, "transpose": 2})
    assert more.train.length == more.info.sizes["train"] == 5 * 14494
    for name, array in dataset.eval.arrays.items():
        np.testing.assert_array_equal(array, more.eval.arrays[name])


def test_training_windows_end_with_their_piece(dataset, chorales):
    first, last = 3, 3 + len(chorales["train"][0]) // 4 - 1
    batch = batch_of(dataset.train, [0, first, last, last + 1, last + 4])
    np.testing.assert_array_equal(batch["mask"].sum(axis=1), [16, 64, 16, 16, 64])
    start = dataset.tokenizer.start
    np.testing.assert_array_equal(batch["tokens"][:, 0] == start, [True, True, False, True, True])


def test_loads_again_without_files_or_tfds(config, dataset, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    again = music.load(config)
    for name, array in dataset.train.arrays.items():
        np.testing.assert_array_equal(array, again.train.arrays[name])


def test_limit_keeps_the_first_pieces_and_as_large_a_share_of_test(config, dataset, chorales):
    limited = music.load({**config, "limit": 3})
    assert limited.info == music.describe({**config, "limit": 3})
    assert limited.train.length == sum(map(len, chorales["train"][:3])) / 4 + 3 * 3
    kept = chorales["test"][: -(-77 * 3 // 229)]
    assert limited.eval.length == sum(-(-4 * len(piece) // 64) for piece in kept)


def test_builder_is_a_tfds_data_source(manual_dir, tmp_path, chorales):
    builder = text_builders.jsb_chorales(manual_dir, tmp_path)
    builder.download_and_prepare()
    source = builder.as_data_source()
    assert {k: len(v) for k, v in source.items()} == {"train": 229, "validation": 76, "test": 77}
    example = source["validation"][5]
    expected = chorales["valid"][int(example["index"])]
    np.testing.assert_array_equal(example["frames"], expected)


@pytest.mark.parametrize("call", [music.describe, music.load])
def test_what_does_not_fit_music_is_refused(config, call):
    with pytest.raises(ValueError, match="context = 66.*multiples of 4"):
        call({**config, "context": 66})
    with pytest.raises(ValueError, match="tokenizer = 'char'.*music"):
        call({**config, "tokenizer": "char"})
    with pytest.raises(ValueError, match="'char'.*music tokenizer"):
        call(config, tokenizers.char("abc"))
