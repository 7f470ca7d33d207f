"""Notes of any MIDI file as four voices in sixteenths, and what is lost is counted."""

import json

import numpy as np
import pytest

from aigc_jax.data import midi, voices
from aigc_jax.data.dirt import Unusable
from aigc_jax.media import music as media


def piece(rows, ticks=4, tracks=None):
    """Rows (start, length, pitch, channel) in sixteenths, or ticks of another clock."""
    rows = sorted(zip(rows, tracks or [0] * len(rows), strict=True))
    notes = np.array([row for row, _ in rows], np.int64)
    return midi.Piece(notes, ticks, np.array([track for _, track in rows], np.int64))


def framed(*args, **options):
    frames, lost = voices.frames(piece(*args, **options))
    assert frames.dtype == np.int16
    return frames.tolist(), lost


def test_what_is_written_is_read_again(tmp_path, manual_dir):
    chorales = json.loads(next(manual_dir.rglob("Jsb16thSeparated.json")).read_text())
    for i, frames in enumerate(chorales["valid"][:8]):
        media.write_midi(tmp_path / f"{i}.mid", np.array(frames), {})
        found, lost = voices.frames(midi.read(tmp_path / f"{i}.mid"))
        np.testing.assert_array_equal(found, frames)
        assert lost.told() == ""
        assert lost.notes > 100


def test_parts_of_one_note_at_a_time_are_voices_the_highest_first():
    low, high = (0, 2, 48, 0), (0, 1, 72, 3)
    crossing = (1, 1, 40, 3)  # a voice stays one where it goes below another
    assert framed([low, high, crossing])[0] == [[72, 48, -1, -1], [40, 48, -1, -1]]
    same_channel = [(0, 2, 48, 0), (0, 1, 72, 0), (1, 1, 40, 0)]
    assert framed(same_channel, tracks=[5, 2, 2])[0] == [[72, 48, -1, -1], [40, 48, -1, -1]]


def test_chords_are_read_from_the_outside():
    chord = lambda start, *pitches: [(start, 1, pitch, 0) for pitch in pitches]
    rows = chord(0, 60, 64, 67, 72) + chord(1, 60) + chord(2, 60, 64) + chord(3, 60, 62, 64)
    frames, lost = framed(rows)
    assert frames == [[72, 67, 64, 60], [60, -1, -1, -1], [64, -1, -1, 60], [64, 62, -1, 60]]
    assert lost == voices.Lost(notes=10)


def test_what_four_voices_cannot_hold_is_counted():
    fifth = [(0, 1, pitch, 0) for pitch in (40, 50, 60, 70, 80)]
    frames, lost = framed([*fifth, (4, 1, 35, 0), (4, 1, 82, 0), (4, 1, 60, voices.DRUMS)])
    assert frames == [[80, 70, 60, 40]]
    assert lost == voices.Lost(notes=8, percussion=1, outside=2, crowded=1)
    assert lost.told() == (
        "of 8 notes, in a grid of sixteenths with four voices, 2 are outside of 36 to 81, "
        "1 are percussion, 1 are more than four at a time or shorter than the grid"
    )
    assert lost + lost == voices.Lost(notes=16, percussion=2, outside=4, crowded=2)


def test_notes_are_put_onto_the_grid():
    # 24 ticks per quarter note: a sixteenth is 6, a triplet's eighth 8, a thirty-second 3.
    triplet = [(0, 8, 60, 0), (8, 8, 62, 0), (16, 8, 64, 0)]
    frames, lost = framed(triplet, ticks=24)
    assert [row[0] for row in frames] == [60, 62, 62, 64]
    assert (lost.moved, lost.crowded) == (2, 0)
    fast = [(0, 3, 60, 0), (3, 3, 62, 0), (6, 3, 64, 0), (9, 3, 65, 0)]
    frames, lost = framed(fast, ticks=24)
    assert [row[0] for row in frames] == [60, 64, 65]
    assert (lost.moved, lost.crowded) == (1, 1)
    # Staccato and legato.
    frames, lost = framed([(0, 4, 60, 0), (6, 7, 62, 0), (12, 1, 64, 0)], ticks=24)
    assert [row[0] for row in frames] == [60, 62, 64]
    assert lost == voices.Lost(notes=3)


def test_silence_before_the_first_beat_is_left_out_and_the_beat_kept():
    frames, _ = framed([(10, 1, 60, 0)])
    assert frames == [[-1] * 4, [-1] * 4, [60, -1, -1, -1]]


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([(0, 1, 30, 0)], "no note from 36 to 81"),
        ([(0, 1, 60, voices.DRUMS)], "no note"),
        ([(0, 1, 60, 0), (0, 1, 30, 0), (1, 1, 30, 0)], "keeps less than half: of 3 notes"),
        ([(0, 1, 60, 0), (2**30, 1, 60, 0)], r"lasts 1,073,741,825 sixteenths.* 65,536"),
    ],
)
def test_what_is_no_four_voice_music_is_refused(rows, told):
    with pytest.raises(Unusable, match=told):
        voices.frames(piece(rows))
