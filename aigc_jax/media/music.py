"""Four-voice music as files: MIDI to play and edit, sound to hear, a piano roll to look at.

A piece is its frames int [F, 4]: the MIDI pitches of soprano, alto, tenor and bass in every
sixteenth note, -1 where a voice is silent. Frames do not tell a held note from one that is sung
again, so equal neighbours are one note.
"""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from aigc_jax.media import pianoroll, sound
from aigc_jax.media.images import write_png
from aigc_jax.media.provenance import check_writable, of_sample, stems, to_text

VOICES = ("soprano", "alto", "tenor", "bass")
TEMPO = 80  # quarter notes per minute: a sixteenth takes 0.1875 s
TICKS = 480  # of MIDI per quarter note
PROGRAM = 52  # of General MIDI, counted from 0: choir
SHOWN = 8  # pieces in the overview


class Note(NamedTuple):
    """One sung note."""

    voice: int  # 0: soprano
    start: int  # sixteenths from the beginning
    length: int  # sixteenths
    pitch: int  # MIDI, 60 is middle C


def frames_of(text: str) -> np.ndarray:
    """Frames int [F, 4] of a text of the music tokenizer, "| 72 67 64 48 ...", "." is silence.

    It ends where another piece begins; what does not fill a frame is cut.
    """
    words = text.split("|")[1 if text.lstrip().startswith("|") else 0].split()
    pitches = [-1 if word == "." else int(word) for word in words]
    whole = len(pitches) // len(VOICES) * len(VOICES)
    return np.array(pitches[:whole], np.int32).reshape(-1, len(VOICES))


def notes_of(frames: np.ndarray) -> list[Note]:
    """The notes of a piece, equal pitches of neighbouring frames joined, by voice and start."""
    found = []
    for voice, pitches in enumerate(np.asarray(frames).T):
        changes = np.flatnonzero(np.diff(pitches)) + 1
        starts = np.concatenate([[0], changes]).astype(int)
        ends = np.concatenate([changes, [len(pitches)]]).astype(int)
        found += [
            Note(voice, int(start), int(end - start), int(pitches[start]))
            for start, end in zip(starts, ends, strict=True)
            if end > start and pitches[start] >= 0
        ]
    return found


def picture(pieces: Sequence[np.ndarray]) -> np.ndarray:
    """Piano rolls of the pieces, one below the other, as uint8 [H, W, 3]."""
    rolls = [pianoroll.draw(notes_of(piece), len(piece)) for piece in pieces]
    width = max(roll.shape[1] for roll in rolls)
    fill = lambda roll: ((0, 0), (0, width - roll.shape[1]), (0, 0))
    return np.concatenate([np.pad(r, fill(r), constant_values=255) for r in rolls])


def wav(frames: np.ndarray, provenance: Mapping[str, Any]) -> bytes:
    """The piece as the bytes of a WAV file, 16 bits, mono; its comment is the provenance."""
    samples = sound.render(notes_of(frames), 60 / TEMPO / 4)
    return sound.to_wav(samples, to_text(provenance))


def write_midi(path: pathlib.Path, frames: np.ndarray, provenance: Mapping[str, Any]) -> None:
    """A MIDI file with a track for each voice, whose first event is the provenance as text."""
    import mido

    file = mido.MidiFile(type=1, ticks_per_beat=TICKS, charset="utf-8")
    meta = mido.MidiTrack([mido.MetaMessage("text", text=to_text(provenance))])
    meta.append(mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(TEMPO)))
    file.tracks.append(meta)
    notes = notes_of(frames)
    for voice, name in enumerate(VOICES):
        track = mido.MidiTrack([mido.MetaMessage("track_name", name=name)])
        track.append(mido.Message("program_change", program=PROGRAM, channel=voice))
        track += _events([note for note in notes if note.voice == voice])
        file.tracks.append(track)
    file.save(path)


def _events(notes: Sequence[Note]) -> list:
    """The MIDI events of one voice, with the ticks from one to the next."""
    import mido

    events, now = [], 0
    for voice, start, length, pitch in notes:
        begin, end = start * TICKS // 4, (start + length) * TICKS // 4
        about = {"channel": voice, "note": pitch, "velocity": 80}
        events.append(mido.Message("note_on", time=begin - now, **about))
        events.append(mido.Message("note_off", time=end - begin, **about))
        now = end
    return events


def check(pieces: Sequence[np.ndarray]) -> None:
    """Raises ValueError where no piece has a whole frame."""
    if not any(map(len, pieces)):
        raise ValueError(f"{len(pieces)} pieces: none has a whole frame of {len(VOICES)} notes")


def write_music(
    folder: str | os.PathLike,
    pieces: Sequence[np.ndarray],
    provenance: Mapping[str, Any],
    each: Mapping[str, Sequence] = {},
) -> list[pathlib.Path]:
    """Writes each piece as `000.mid`, `000.wav` and `000.png`, ..., and an overview `grid.png`.

    `000.json` beside them holds the provenance (see `provenance.mark`), the piece's index and its
    values of `each`, as each file itself does. `grid.png` shows the first eight. The same call
    writes the same bytes.

    Returns:
      the paths of the files, those of a piece together.

    A piece that ended before its first frame has no files.

    Raises:
      ValueError: that is so of all pieces.
    """
    check(pieces)
    folder, paths = check_writable(folder), []
    for i, (name, piece) in enumerate(zip(stems(len(pieces)), pieces, strict=True)):
        if not len(piece):
            continue
        mark = of_sample(provenance, each, i)
        midi, audio, roll = (folder / f"{name}.{ending}" for ending in ("mid", "wav", "png"))
        write_midi(midi, piece, mark)
        audio.write_bytes(wav(piece, mark))
        write_png(roll, picture([piece]), mark)
        (folder / f"{name}.json").write_bytes(to_text(mark).encode() + b"\n")
        paths += [midi, audio, roll]
    write_png(folder / "grid.png", picture(pieces[:SHOWN]), provenance)
    return [*paths, folder / "grid.png"]
