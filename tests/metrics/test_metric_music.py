"""Rules on small examples written by hand, and on the chorales, which keep most of them."""

import json

import numpy as np
import pytest

from aigc_jax.metrics import music

CHORD = [72, 67, 64, 48]


def real(manual_dir, split):
    chorales = json.loads(next(manual_dir.rglob("Jsb16thSeparated.json")).read_text())
    return [np.array(piece) for piece in chorales[split]]


def after(*changes):
    """Frames that begin with `CHORD`, each next one changed by so many semitones per voice."""
    return CHORD + np.concatenate([np.zeros((1, 4), int), np.cumsum(changes, axis=0)])


def test_crossing_is_counted_by_frame_and_needs_two_sung_voices():
    frames = np.array([[72, 67, 64, 48], [66, 67, 64, 48], [60, 67, 70, 72], [-1, 67, 64, 48]])
    assert music.voice_crossing([frames[:2], frames[2:]]) == 2 / 4


@pytest.mark.parametrize(
    ("piece", "fifths", "octaves"),
    [
        (after([2, 0, 0, 2]), 0, 100),  # soprano and bass, two octaves
        (after([-2, 0, 0, 2]), 0, 0),  # in contrary motion
        (after([0, 2, 0, 2]), 100, 0),  # alto and bass, an octave and a fifth
        (after([0, 0, 0, 0], [0, 2, 0, 2], [0, 0, 1, 0]), 50, 0),  # held frames are no changes
        (after([0, 0, 0, 7]), 0, 0),  # one voice alone
        (np.array([[60, 65, 50, 40], [62, 67, 50, 40]]), 0, 0),  # a crossed fourth is no fifth
        (np.array([[67, 60, -1, 40], [69, 62, -1, 41]]), 100, 0),
    ],
)
def test_parallels_per_100_chord_changes(piece, fifths, octaves):
    assert music.parallels([piece], 7) == pytest.approx(fifths)
    assert music.parallels([piece], 0) == pytest.approx(octaves)


def test_leaps_are_a_share_of_moves():
    piece = after([8, 0, 0, -7], [0, 0, 0, 0], [-1, 2, 0, 0])
    assert music.leaps([piece]) == 1 / 4
    assert music.leaps([np.array([CHORD, [-1, 67, 64, 48], CHORD])]) != 0  # nan: no move at all


def test_range_is_a_share_of_sung_pitches():
    assert music.in_range([np.array([[82, 67, 64, 48], [-1, 67, 64, 48]])]) == 6 / 7


def test_real_chorales_keep_the_rules_as_measured_before(manual_dir):
    test = real(manual_dir, "test")
    assert music.voice_crossing(test) == pytest.approx(0.020, abs=0.0005)
    assert music.parallels(test, 7) == pytest.approx(0.211, abs=0.005)
    assert music.parallels(test, 0) == pytest.approx(0.08, abs=0.005)
    assert music.leaps(test) == pytest.approx(0.024, abs=0.0005)
    assert music.in_range(test) == 1


def longest_by_trying_all(piece, corpus):
    rows = lambda frames: [tuple(row) for row in frames.tolist()]
    a, best = rows(piece), 0
    for b in map(rows, corpus):
        for i in range(len(a)):
            for j in range(len(b)):
                n = 0
                while i + n < len(a) and j + n < len(b) and a[i + n] == b[j + n]:
                    n += 1
                best = max(best, n)
    return best


def test_the_longest_copied_run_is_that_of_all_places():
    rng = np.random.default_rng(0)
    pieces = [rng.integers(60, 62, (30, 4)) for _ in range(3)]
    expected = max(longest_by_trying_all(piece, pieces[1:]) for piece in pieces[:1])
    assert music.longest_copied_run(pieces[:1], pieces[1:]) == expected > 0


def test_a_transposed_copy_is_found_in_any_key_only():
    rng = np.random.default_rng(0)
    corpus = [rng.integers(40, 80, (20, 4)), rng.integers(40, 80, (12, 4))]
    copy = np.concatenate([rng.integers(40, 80, (3, 4)), corpus[0][5:14] + 3])
    assert music.longest_copied_run([copy], corpus) == 0
    assert music.longest_copied_run([copy], corpus, any_key=True) == 9
    assert music.longest_copied_run([corpus[0]], corpus) == 20
    joined = np.concatenate([corpus[0][-3:], corpus[1][:2]])  # pieces do not run into each other
    assert music.longest_copied_run([joined], corpus) == 3


def test_accuracy_on_changes_leaves_held_notes_out():
    tokens = np.array([[0, 5, 6, 7, 8, 5, 6, 7, 9, 1, 1, 1, 1]])
    said = np.array([[5, 6, 7, 8, 5, 6, 7, 8, 0, 0, 0, 0]])  # the last frame again
    logits, mask = np.eye(10)[said], np.repeat([[1.0, 0.0]], [8, 4], axis=1)
    assert music.accuracy(logits, tokens, mask) == {
        "accuracy": (7 / 8, 8),
        "accuracy_on_changes": (0.0, 1),
    }


def test_what_is_no_music_is_refused():
    with pytest.raises(ValueError, match=r"shape \(3, 5\): accepted are frames \[F, 4\]"):
        music.voice_crossing([np.zeros((3, 5))])
    with pytest.raises(ValueError, match="1 pieces hold no frame"):
        music.leaps([np.zeros((0, 4))])
