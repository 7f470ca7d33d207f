"""Music read back from every kind of file it is written to."""

import io
import json
import wave

import mido
import numpy as np
import pytest
from PIL import Image

from aigc_jax.data import music as notation
from aigc_jax.data import tokenizers
from aigc_jax.media import heatmaps, music, pianoroll, provenance, sound

MARK = provenance.mark(run="runs/chöräle", step=3, config_digest="0f", seed=1)
PIECE = np.array([[72, 67, 60, 48]] * 4 + [[74, 67, -1, 47], [74, 65, 60, 47]], np.int32)


def frames_in(path, frames):
    """The frames of a MIDI file, sounded at their ticks."""
    file, out = mido.MidiFile(path), np.full((frames, 4), -1)
    for voice, track in enumerate(file.tracks[1:]):
        now, began = 0, {}
        for message in track:
            now += message.time
            if message.type == "note_on":
                began[message.note] = now
            elif message.type == "note_off":
                start = began.pop(message.note)
                out[start // 120 : now // 120, voice] = message.note
    return out


def test_frames_come_from_the_tokenizers_text_and_end_with_their_piece():
    tokenizer = tokenizers.music()
    ids = notation.notes(PIECE)
    np.testing.assert_array_equal(music.frames_of(tokenizer.decode(ids)), PIECE)
    np.testing.assert_array_equal(music.frames_of(tokenizer.decode(ids[:-1])), PIECE[:-1])
    np.testing.assert_array_equal(music.frames_of(tokenizer.decode([*ids, *ids])), PIECE)
    assert music.frames_of("").shape == (0, 4)


def test_equal_neighbours_are_one_note_and_silence_is_none():
    assert [note[1:] for note in music.notes_of(PIECE) if note.voice == 2] == [
        (0, 4, 60),
        (5, 1, 60),
    ]
    assert len(music.notes_of(PIECE)) == 2 + 2 + 2 + 2


def test_midi_holds_every_frame_and_the_mark(tmp_path):
    rng = np.random.default_rng(0)
    piece = np.repeat(rng.integers(40, 80, (10, 4)), rng.integers(1, 5, 10), axis=0)
    piece[3:6, 1] = -1
    music.write_midi(tmp_path / "a.mid", piece, MARK)
    np.testing.assert_array_equal(frames_in(tmp_path / "a.mid", len(piece)), piece)
    file = mido.MidiFile(tmp_path / "a.mid", charset="utf-8")
    texts = [message.text for message in file.tracks[0] if message.type == "text"]
    assert [json.loads(text) for text in texts] == [MARK]
    names = [message.name for track in file.tracks for message in track if "name" in message.type]
    assert names == list(music.VOICES)


def pcm(data):
    with wave.open(io.BytesIO(data)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32767, file.getframerate()


def test_sound_has_the_pitch_of_its_note_and_the_mark_behind_it():
    data = music.wav(np.full((8, 4), [69, -1, -1, -1]), MARK)
    samples, rate = pcm(data)
    loudest = np.abs(np.fft.rfft(samples[:rate])).argmax()
    assert loudest == pytest.approx(440, abs=1.5)
    assert int.from_bytes(data[4:8], "little") == len(data) - 8
    assert data.rstrip(b"\0").endswith(provenance.to_text(MARK).encode())


def test_sound_is_neither_clipped_nor_clicks():
    samples, rate = pcm(music.wav(np.repeat(PIECE, 3, axis=0), MARK))
    assert np.abs(samples).max() == pytest.approx(sound.PEAK, abs=1e-3)
    assert len(samples) / rate == pytest.approx(18 * 0.1875 + sound.RELEASE + sound.ROOM, abs=0.01)
    assert samples[0] == 0
    assert np.abs(samples[-50:]).max() < 0.01
    jumps = np.abs(np.diff(samples, 2))  # a click is a jump far above those of the tones
    assert jumps.max() < 2.5 * np.quantile(jumps[: rate * 2], 0.999)


def test_silence_is_silent():
    assert not np.abs(pcm(music.wav(np.full((4, 4), -1), MARK))[0]).any()


def test_a_piano_roll_has_each_voice_where_it_sings():
    notes = music.notes_of(PIECE)
    picture = pianoroll.draw(notes, len(PIECE)).astype(int)
    high = max(note.pitch for note in notes) + 2
    for voice, start, length, pitch in notes:
        x = pianoroll.LEFT + int((start + length / 2) * pianoroll.STEP)
        y = pianoroll.TOP + (high - pitch) * pianoroll.ROW + pianoroll.ROW // 2
        colour = [int(pianoroll.COLOURS[voice][i : i + 2], 16) for i in (1, 3, 5)]
        assert np.abs(picture[y, x] - colour).max() <= 8, (voice, start)


def test_long_pieces_go_on_in_further_lines_and_empty_ones_are_drawn():
    one, two = (pianoroll.draw(music.notes_of(np.tile(PIECE, (n, 1))), 6 * n) for n in (10, 30))
    assert two.shape[0] == 2 * one.shape[0]
    assert music.picture([PIECE, PIECE[:0]]).shape[2] == 3


def test_all_files_are_written_alike_and_say_whose_they_are(tmp_path):
    for name in ("a", "b"):
        paths = music.write_music(tmp_path / name, [PIECE, PIECE + 1], MARK)
    endings = ("mid", "wav", "png")
    names = [f"{i:03}.{ending}" for i in range(2) for ending in endings] + ["grid.png"]
    assert [path.name for path in paths] == names
    assert len(list((tmp_path / "a").iterdir())) == len(names) + 2  # 000.json, 001.json
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    for path in paths:
        index = {} if path.name == "grid.png" else {"index": int(path.stem)}
        assert provenance.read(path) == {**MARK, **index}


def test_a_piece_without_a_frame_has_no_files_and_leaves_the_others_their_numbers(tmp_path):
    music.write_music(tmp_path, [PIECE, PIECE[:0], PIECE + 1], MARK)
    assert {path.stem for path in tmp_path.iterdir()} == {"000", "002", "grid"}
    assert provenance.read(tmp_path / "002.mid")["index"] == 2
    with pytest.raises(ValueError, match="2 pieces: none has a whole frame of 4 notes"):
        music.write_music(tmp_path / "none", [PIECE[:0]] * 2, MARK)
    assert not (tmp_path / "none").exists()


def test_attention_maps_are_dark_where_the_weight_is():
    weights = np.zeros((2, 3, 4, 4))
    weights[..., 0] = 1
    weights[1, 2] = np.eye(4)
    pixels = heatmaps.attention(weights)
    side = 33 * 4
    corner = lambda layer, head: (
        heatmaps.TOP + layer * (side + heatmaps.GAP),
        heatmaps.LEFT + head * (side + heatmaps.GAP),
    )
    for layer, head in ((0, 0), (1, 2)):
        top, left = corner(layer, head)
        shown = pixels[top : top + side, left : left + side][16::33, 16::33]
        dark = (shown == heatmaps.INK).all(-1)
        np.testing.assert_array_equal(dark, weights[layer, head] == 1)
        assert (shown[~dark] == 255).all()
    Image.fromarray(pixels)
    with pytest.raises(ValueError, match=r"\(3, 4, 4\): accepted are \[layers, heads, T, T\]"):
        heatmaps.attention(weights[0])
    with pytest.raises(ValueError, match="numbers from 0 to 1"):
        heatmaps.attention(weights - 1)
