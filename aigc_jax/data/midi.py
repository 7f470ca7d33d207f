"""Standard MIDI files as notes, from any bytes: what is malformed is refused, in bounded time."""

import pathlib
from typing import NamedTuple

import numpy as np

from aigc_jax.data.dirt import Unusable

MAX_BYTES = 2**21  # music is far smaller
LONGEST = 4  # bytes of a variable-length number in a standard MIDI file
# Data bytes after the status bytes 0x8_ to 0xE_ of channel messages.
OPERANDS = {0x8: 2, 0x9: 2, 0xA: 2, 0xB: 2, 0xC: 1, 0xD: 1, 0xE: 2}
META, SYSEX, ESCAPE = 0xFF, 0xF0, 0xF7


class Piece(NamedTuple):
    """The notes of a MIDI file, int64 [N, 4] rows (start, length, pitch, channel), sorted."""

    notes: np.ndarray  # start and length in ticks; pitch 0 to 127, 60 is middle C
    ticks: int  # per quarter note
    tracks: np.ndarray  # int64 [N], the track of each note


def read(path: pathlib.Path) -> Piece:
    """The notes of a MIDI file.

    Raises:
      Unusable: the file is not standard MIDI of type 0 or 1, or holds no note.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise Unusable("bomb", f"has {size:,} bytes; accepted are up to {MAX_BYTES:,}")
    raw = path.read_bytes()
    if not raw:
        raise Unusable("empty", "is empty")
    return parse(raw)


def parse(raw: bytes) -> Piece:
    """The notes in the bytes of a MIDI file. Raises what `read` does."""
    if raw[:4] != b"MThd":
        raise Unusable("unreadable", "is no MIDI file")
    header, at = _chunk(raw, 0)
    if len(header) < 6:
        raise Unusable("unreadable", "has a cut MIDI header")
    kind, tracks, ticks = (int.from_bytes(header[i : i + 2]) for i in (0, 2, 4))
    if kind > 1 or not 0 < ticks < 2**15:
        raise Unusable("unreadable", f"is MIDI of type {kind} with {ticks} ticks per quarter note")
    found = []
    for track in range(tracks):
        content, at = _next_track(raw, at, track, tracks)
        found += [(*note, track) for note in _notes(content)]
    if not found:
        raise Unusable("empty", "holds no notes")
    rows = np.array(sorted(found), np.int64)
    return Piece(rows[:, :4], ticks, rows[:, 4])


def _chunk(raw: bytes, at: int) -> tuple[bytes, int]:
    """The content of the chunk at an offset, and where the next one is."""
    length = int.from_bytes(raw[at + 4 : at + 8])
    end = at + 8 + length
    if at + 8 > len(raw) or end > len(raw):
        raise Unusable("unreadable", f"ends inside a chunk of {length:,} bytes at offset {at}")
    return raw[at + 8 : end], end


def _next_track(raw: bytes, at: int, track: int, tracks: int) -> tuple[bytes, int]:
    """The next chunk that is a track; the standard has others ignored."""
    while at < len(raw):
        name = raw[at : at + 4]
        content, at = _chunk(raw, at)
        if name == b"MTrk":
            return content, at
    raise Unusable("unreadable", f"has {track} of {tracks} tracks")


def _number(raw: bytes, at: int) -> tuple[int, int]:
    """The variable-length number at an offset, and what follows it."""
    value = 0
    for i in range(at, min(at + LONGEST, len(raw))):
        value = value << 7 | raw[i] & 0x7F
        if raw[i] < 0x80:
            return value, i + 1
    raise Unusable("unreadable", f"has a malformed number at offset {at} of a track")


def _notes(raw: bytes) -> list[tuple[int, int, int, int]]:
    """(start, length, pitch, channel) of the notes of one track, also of those that never end."""
    found, sounding, now, at, running = [], {}, 0, 0, 0
    while at < len(raw):
        delta, at = _number(raw, at)
        now += delta
        status = running
        if at < len(raw) and raw[at] >= 0x80:
            status, at = raw[at], at + 1
        if status in (META, SYSEX, ESCAPE):
            length, start = _number(raw, at + (status == META))
            if start + length > len(raw):
                raise Unusable("unreadable", f"has an event cut off at offset {at} of a track")
            if status == META and raw[at] == 0x2F:  # the end of the track
                break
            # After these the standard asks for a status byte; where files leave it out, it can
            # only be that of the last message.
            at = start + length
            continue
        operands = raw[at : at + OPERANDS.get(status >> 4, 0)]
        if not operands or len(operands) < OPERANDS[status >> 4] or max(operands) > 0x7F:
            raise Unusable("unreadable", f"has no valid message at offset {at} of a track")
        running, at = status, at + len(operands)
        if status >> 4 in (0x8, 0x9):
            key = (operands[0], status & 0xF)
            if key in sounding and (status >> 4 == 0x8 or not operands[1]):
                found.append((sounding[key], now - sounding.pop(key), *key))
            elif status >> 4 == 0x9 and operands[1]:
                sounding.setdefault(key, now)
    return found + [(start, now - start, *key) for key, start in sounding.items()]
