"""MIDI from anywhere: the notes of what is whole, one kind of error for the rest, and no hang."""

import random
import struct
import time

import mido
import numpy as np
import pytest

from aigc_jax.data import midi
from aigc_jax.data.dirt import KINDS, Unusable

BIG = midi.MAX_BYTES - 100


def saved(path, *tracks, kind=1):
    """A file that mido writes."""
    file = mido.MidiFile(type=kind, ticks_per_beat=480)
    file.tracks.extend(mido.MidiTrack(track) for track in tracks)
    file.save(path)
    return path


def song(rng, channel, count=40):
    """Messages of all kinds around `count` notes."""
    found = [mido.MetaMessage("track_name", name=f"voice {channel}")]
    found.append(mido.Message("program_change", program=5, channel=channel))
    for _ in range(count):
        pitch, length = int(rng.integers(30, 90)), int(rng.integers(1, 1000))
        off = rng.choice(["note_on", "note_off"])
        found += [
            mido.Message("note_on", note=pitch, velocity=80, channel=channel, time=17),
            mido.Message("pitchwheel", pitch=100, channel=channel, time=3),
            mido.Message(off, note=pitch, velocity=0, channel=channel, time=length),
            mido.Message("sysex", data=(1, 2, 3), time=2),
            mido.MetaMessage("text", text="x" * 200, time=200),
        ]
    return found


def notes_by_mido(path):
    """(start, length, pitch, channel) of every note, as mido reads the file."""
    found = []
    for track in mido.MidiFile(path).tracks:
        now, began = 0, {}
        for message in track:
            now += message.time
            if message.type == "note_on" and message.velocity:
                began[message.note] = now
            elif message.type in ("note_on", "note_off"):
                start = began.pop(message.note)
                found.append([start, now - start, message.note, message.channel])
    return sorted(found)


def container(body, kind=0, tracks=1, division=480):
    """The bytes of a file with one track of raw events."""
    header = struct.pack(">4sIHHH", b"MThd", 6, kind, tracks, division)
    return header + b"MTrk" + struct.pack(">I", len(body)) + body


NOTE = b"\0\x90\x3c\x50\x60\x80\x3c\0"


@pytest.mark.parametrize("kind", [0, 1])
def test_notes_are_those_that_mido_reads(tmp_path, kind):
    rng = np.random.default_rng(0)
    tracks = [song(rng, channel) for channel in range(1 + 3 * kind)]
    path = saved(tmp_path / "a.mid", *tracks, kind=kind)
    piece = midi.read(path)
    assert piece.notes.tolist() == notes_by_mido(path)
    assert piece.ticks == 480
    assert set(piece.tracks) == set(range(1 + 3 * kind))
    np.testing.assert_array_equal(piece.tracks, piece.notes[:, 3])  # each has its channel


def test_a_status_byte_may_be_left_out_and_a_note_may_never_end():
    body = b"\0\x90\x3c\x50" + b"\x10\x40\x50" + b"\x20\x3c\0" + b"\x30\xff\x2f\0"
    assert midi.parse(container(body)).notes.tolist() == [[0, 48, 60, 0], [16, 80, 64, 0]]


@pytest.mark.parametrize("between", [b"\xff\x01\x02hi", b"\xf0\x02\x01\xf7"])
def test_a_status_byte_may_be_left_out_after_a_meta_event(tmp_path, between):
    body = b"\0\x90\x3c\x50" + b"\x10" + between + b"\x20\x3c\0" + b"\0\xff\x2f\0"
    assert midi.parse(container(body)).notes.tolist() == [[0, 48, 60, 0]]
    if between[0] == 0xFF:  # which other software reads, too
        (tmp_path / "x.mid").write_bytes(container(body))
        assert notes_by_mido(tmp_path / "x.mid") == [[0, 48, 60, 0]]


MALFORMED = {
    "nothing": (b"", "empty", "is no MIDI|is empty"),
    "text": (b"hello", "unreadable", "is no MIDI"),
    "cut header": (b"MThd\0\0\0\6\0", "unreadable", "ends inside a chunk"),
    "short header": (b"MThd\0\0\0\2\0\0", "unreadable", "cut MIDI header"),
    "type 2": (container(NOTE, kind=2), "unreadable", "type 2"),
    "no clock": (container(NOTE, division=0), "unreadable", "0 ticks"),
    "a missing track": (container(NOTE, 1, tracks=2), "unreadable", "1 of 2 tracks"),
    "cut track": (container(NOTE)[:-3], "unreadable", "ends inside a chunk"),
    "cut message": (container(NOTE[:-1]), "unreadable", "no valid message"),
    "no status": (container(b"\0\x3c\x50"), "unreadable", "no valid message"),
    "no status but meta": (container(b"\0\xff\1\0\0\x3c\x50"), "unreadable", "no valid message"),
    "data above 127": (container(b"\0\x90\x3c\xf5"), "unreadable", "no valid message"),
    "cut meta event": (container(b"\0\xff\x01\x70abc"), "unreadable", "cut off"),
    "no notes": (container(b"\0\xff\x2f\0"), "empty", "no notes"),
    "an endless number": (container(b"\xff" * BIG), "unreadable", "malformed number"),
    "a huge file": (bytes(midi.MAX_BYTES + 1), "bomb", "bytes; accepted are up to"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_files_are_refused_with_a_reason(name, tmp_path):
    raw, kind, told = MALFORMED[name]
    (tmp_path / "x.mid").write_bytes(raw)
    started = time.perf_counter()
    with pytest.raises(Unusable, match=told) as caught:
        midi.read(tmp_path / "x.mid")
    assert caught.value.kind == kind
    assert time.perf_counter() - started < 1


def test_the_largest_file_takes_seconds():
    body = b"\0\x90" + b"".join(bytes([i % 128, i // 128 % 2, 0]) for i in range(BIG // 3))
    started = time.perf_counter()
    with pytest.raises(Unusable, match="no valid message"):
        midi.parse(container(body))
    assert time.perf_counter() - started < 20  # about 1 s on an idle core


def check_fuzzed(tmp_path, count):
    rng, numbers = random.Random(0), np.random.default_rng(0)
    path = saved(tmp_path / "a.mid", song(numbers, 0), song(numbers, 1))
    seeds = [path.read_bytes(), container(NOTE * 20)]
    whole, told = 0, set()
    for _ in range(count):
        raw = bytearray(rng.choice(seeds))
        for _ in range(rng.choice([1, 2, 5, 20])):
            what, at = rng.random(), rng.randrange(len(raw))
            if what < 0.6:
                raw[rng.choice([at, at % 32])] = rng.randrange(256)
            elif what < 0.8:
                del raw[at + 1 :]
            else:
                raw[at:at] = rng.randbytes(rng.randrange(1, 40))
        started = time.perf_counter()
        try:
            notes = midi.parse(bytes(raw)).notes
            assert (notes[:, :2] >= 0).all()
            assert ((notes[:, 2] >= 0) & (notes[:, 2] < 128)).all()
            whole += 1
        except Unusable as error:
            told.add(error.kind)
        assert time.perf_counter() - started < 1
    assert 0 < whole < count
    assert told <= set(KINDS)


def test_mutated_files_are_notes_or_refused(tmp_path):
    check_fuzzed(tmp_path, 3000)


@pytest.mark.slow
def test_many_mutated_files_are_notes_or_refused(tmp_path):
    check_fuzzed(tmp_path, 100_000)
