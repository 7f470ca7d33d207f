"""A folder of MIDI files is a data set: its pieces, their split, and what is left out and lost."""

import numpy as np
import pytest

from aigc_jax.data import load, midi_folder, music, tokenizers, voices
from aigc_jax.media import music as media


def chords(seed, beats):
    rng = np.random.default_rng(seed)
    low = np.array([65, 58, 50, 40])
    return (low + rng.integers(0, 6, (beats, 4))).repeat(4, axis=0)


def put(root, names):
    """Writes MIDI files of so many beats, {path inside: beats}, and returns their frames."""
    written = {}
    for i, (name, beats) in enumerate(names.items()):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        written[name] = chords(i, beats)
        media.write_midi(root / name, written[name], {})
    return written


def config(root, **options):
    data_dir = str(root.parent / "data")
    return {"name": str(root), "data_dir": data_dir, "context": 32, **options}


def test_pieces_are_windows_of_notes_split_by_piece(tmp_path):
    written = put(tmp_path / "own", {f"{i}.mid": 3 + i for i in range(1, 13)})
    dataset = load.load(config(tmp_path / "own", transpose=1))
    assert dataset.info == load.describe(config(tmp_path / "own", transpose=1))
    assert (dataset.info.name, dataset.info.eval_split, dataset.info.rejected) == (
        *("own", "validation", 0),
    )
    assert dataset.info.sizes == {
        "train": dataset.train.length,
        "validation": dataset.eval.length,
    }
    assert dataset.tokenizer.name == "music"
    held_out = music.pieces_of(dataset.eval.arrays["tokens"])
    trained = music.pieces_of(dataset.train.arrays["tokens"])
    assert len(trained) == 3 * (12 - len(held_out))
    expected = {piece.tobytes() for piece in map(np.int16, written.values())}
    assert {p.tobytes() for p in [*held_out, *trained]} & expected == expected
    lengths = [len(piece) for piece in trained[::3]]
    assert lengths == sorted(lengths)  # in natural order: 2.mid before 10.mid
    put(tmp_path / "own", {"later.mid": 4})
    more = load.load(config(tmp_path / "own"))
    assert {p.tobytes() for p in music.pieces_of(more.eval.arrays["tokens"])} >= {
        p.tobytes() for p in held_out
    }
    assert more.info.fingerprint["sha256"] != dataset.info.fingerprint["sha256"]


def test_folders_say_the_split(tmp_path):
    written = put(tmp_path / "own", {"train/a.mid": 5, "train/b/c.MIDI": 6, "test/d.mid": 7})
    put(tmp_path / "own", {"elsewhere/e.mid": 8})
    info = load.describe(config(tmp_path / "own"))
    assert info.eval_split == "test"
    dataset = load.load(config(tmp_path / "own"))
    (held_out,) = music.pieces_of(dataset.eval.arrays["tokens"])
    np.testing.assert_array_equal(held_out, written["test/d.mid"])
    assert len(music.pieces_of(dataset.train.arrays["tokens"])) == 2
    assert load.load(config(tmp_path / "own", limit=1)).train.length < dataset.train.length
    other = load.load(config(tmp_path / "own", splits="test,elsewhere"))
    (trained,) = music.pieces_of(other.train.arrays["tokens"])
    np.testing.assert_array_equal(trained, written["test/d.mid"])


def test_what_cannot_be_used_and_what_is_lost_is_said(tmp_path, capsys, monkeypatch):
    root = tmp_path / "own"
    put(root, {f"{i}.mid": 4 for i in range(5)})
    media.write_midi(root / "low.mid", chords(9, 8) - 6, {})  # some of its bass is below 36
    (root / "about.txt").write_text("not music")
    (root / "broken.mid").write_bytes(b"MThd but no more")
    with pytest.raises(ValueError, match=r"1 of 7 files \(14 %\) can't be used: broken.mid ends"):
        load.describe(config(root))
    dataset = load.load(config(root, max_rejected=0.2))
    assert dataset.info.rejected == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(f"MIDI folder {root}: 1 of 7 files")
    assert said[1].endswith("not taken are 1 texts")
    assert "notes, in a grid of sixteenths with four voices, " in said[2]
    assert said[2].endswith("are outside of 36 to 81")
    monkeypatch.setattr(voices, "frames", None)  # files that have not changed are read once
    again = load.load(config(root, max_rejected=0.2))
    assert again.info == dataset.info
    np.testing.assert_array_equal(again.train.arrays["tokens"], dataset.train.arrays["tokens"])


def test_voices_that_never_sing_do_not_keep_the_others_from_other_keys():
    melody = np.full((8, 4), -1)
    melody[:, 0] = 60
    copies, weights = music.in_other_keys([melody, melody + 2 * (melody >= 0)], 5)
    pitches = [copy[0, 0] for copy in copies]
    assert set(pitches) == {60, 61, 62}
    share = np.bincount(pitches, weights)[60:]
    np.testing.assert_allclose(share, share.mean())
    assert all((copy[:, 1:] == -1).all() for copy in copies)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ({"1.mid": 4}, "1 of the files can be used; training and validation need two"),
        ({"train/1.mid": 4, "test/x": 0}, "no file in test/ can be used"),
        ({"train/x": 0, "test/y": 0, "1.mid": 4}, "no MIDI files in train, test"),
    ],
)
def test_folders_without_enough_are_refused(names, told, tmp_path):
    put(tmp_path / "own", {name: beats for name, beats in names.items() if beats})
    for name, beats in names.items():
        if not beats:
            (tmp_path / "own" / name).parent.mkdir(parents=True, exist_ok=True)
    with pytest.raises(ValueError, match=told):
        load.load(config(tmp_path / "own"))


def test_another_tokenizer_is_refused(tmp_path):
    put(tmp_path / "own", {"1.mid": 4, "2.mid": 4})
    with pytest.raises(ValueError, match="tokenizer = 'char'.*only the music tokenizer"):
        load.describe(config(tmp_path / "own", tokenizer="char"))
    with pytest.raises(ValueError, match="only the music tokenizer"):
        load.describe(config(tmp_path / "own"), tokenizers.byte())
    assert midi_folder.read(config(tmp_path / "own", max_rejected=0, splits="")).rejected == 0
