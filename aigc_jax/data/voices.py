"""From the notes of a MIDI file to four voices in sixteenth notes, and what is lost on the way.

Time is counted in quarter notes, so tempo is not kept, nor loudness or instruments, nor whether a
note is held or struck again.
"""

import dataclasses

import numpy as np

from aigc_jax.data.dirt import Unusable
from aigc_jax.data.midi import Piece

LOWEST, HIGHEST = 36, 81  # pitches that the music tokenizer has words for
DRUMS = 9  # the channel of percussion in General MIDI, counted from 0
MOST = 2**16  # frames of a piece, 16,384 quarter notes
LEAST = 0.5  # share of its notes that a piece must keep
OFF_GRID = 1 / 8  # sixteenths that a note may begin beside the grid without being counted


@dataclasses.dataclass(frozen=True)
class Lost:
    """How many notes of how many could not be kept, by reason, and how many begin elsewhere."""

    notes: int = 0
    percussion: int = 0
    outside: int = 0  # of the pitches that there are words for
    crowded: int = 0  # a fifth voice, or shorter than a sixteenth beside another note
    moved: int = 0  # kept, but begun by more than `OFF_GRID` earlier or later

    def __add__(self, other: "Lost") -> "Lost":
        each = zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)
        return Lost(*map(sum, each))

    def told(self) -> str:
        """A phrase that counts them; "": nothing is lost."""
        reasons = {
            f"are outside of {LOWEST} to {HIGHEST}": self.outside,
            "are percussion": self.percussion,
            "are more than four at a time or shorter than the grid": self.crowded,
            "are moved onto it": self.moved,
        }
        parts = [f"{count:,} {reason}" for reason, count in reasons.items() if count]
        grid = f"of {self.notes:,} notes, in a grid of sixteenths with four voices, "
        return grid + ", ".join(parts) if parts else ""


def frames(piece: Piece) -> tuple[np.ndarray, Lost]:
    """Frames int16 [F, 4] of a piece, -1 where a voice is silent, and what they lack.

    Up to four parts, tracks or channels, of one note at a time are a voice each, the highest part
    on average is the soprano. Otherwise the highest and the lowest note of a frame are soprano and
    bass, the next ones from above alto and tenor. Silent beats before the first note are left out.

    Raises:
      Unusable: it lasts too long, or less than half of its notes can be kept.
    """
    begun, notes = _on_grid(piece)
    drums = piece.notes[:, 3] == DRUMS
    outside = ~drums & ((notes[:, 2] < LOWEST) | (notes[:, 2] > HIGHEST))
    sung = ~drums & ~outside
    if not sung.any():
        raise Unusable("other", f"has no note from {LOWEST} to {HIGHEST} to sing")
    if (last := int(notes[sung, 1].max())) > MOST:
        raise Unusable("bomb", f"lasts {last:,} sixteenths; accepted are up to {MOST:,}")
    voices = _parts(piece, sung)
    notes = notes[sung]
    made = _by_rank(notes, last) if voices is None else _by_part(notes, voices, last)
    kept = _heard(made, notes)
    moved = np.abs(begun[sung] - notes[:, 0]) > OFF_GRID
    lost = Lost(
        *(len(sung), int(drums.sum()), int(outside.sum())),
        *(int((~kept).sum()), int((kept & moved).sum())),
    )
    if kept.sum() < LEAST * len(sung):
        raise Unusable("other", f"keeps less than half: {lost.told()}")
    first = np.flatnonzero((made >= 0).any(axis=1))[0]
    return made[first // 4 * 4 :].astype(np.int16), lost


def _on_grid(piece: Piece) -> tuple[np.ndarray, np.ndarray]:
    """Beginnings in sixteenths as they are, and (first frame, frame behind, pitch) [N, 3]."""
    start, length, pitch, _ = piece.notes.T
    rounded = lambda ticks: np.floor(ticks * 4 / piece.ticks + 0.5).astype(np.int64)
    first = rounded(start)
    return start * 4 / piece.ticks, np.stack(
        [first, np.maximum(rounded(start + length), first + 1), pitch], axis=1
    )


def _parts(piece: Piece, sung: np.ndarray) -> np.ndarray | None:
    """The voice of every sung note, by its part; None where parts are no voices.

    A part may begin a note up to half a sixteenth before the one before it ends.
    """
    notes, parts = piece.notes[sung], piece.tracks[sung] * 16 + piece.notes[sung, 3]
    names = np.unique(parts)
    if len(names) > 4:
        return None
    for name in names:
        start, length = notes[parts == name, :2].T
        chord = np.diff(start) == 0
        late = (start + length)[:-1] - start[1:] > piece.ticks / 8
        if (chord | late).any():
            return None
    height = {name: notes[parts == name, 2].mean() for name in names}
    order = sorted(names, key=lambda name: (-height[name], name))
    return np.array([order.index(name) for name in parts])


def _by_part(notes: np.ndarray, voices: np.ndarray, last: int) -> np.ndarray:
    """Frames [last, 4] of notes with a voice each; a later note ends the one before."""
    made = np.full((last, 4), -1)
    for (first, end, pitch), voice in zip(notes.tolist(), voices.tolist(), strict=True):
        made[first:end, voice] = pitch
    return made


def _sounding(notes: np.ndarray, last: int) -> np.ndarray:
    """Whether each pitch sounds in each frame, bool [last, 128]."""
    changes = np.zeros((last + 1, 128), np.int32)
    np.add.at(changes, (notes[:, 0], notes[:, 2]), 1)
    np.add.at(changes, (notes[:, 1], notes[:, 2]), -1)
    return changes.cumsum(axis=0)[:-1] > 0


def _by_rank(notes: np.ndarray, last: int) -> np.ndarray:
    """Frames [last, 4] of the highest, the next two and the lowest of what sounds."""
    sounding = _sounding(notes, last)
    count = sounding.sum(axis=1)
    pitches = np.sort(np.where(sounding, np.arange(128), -1), axis=1)[:, ::-1]
    lowest = pitches[np.arange(last), np.maximum(count - 1, 0)]
    inner = [np.where(count > i + 1, pitches[:, i], -1) for i in (1, 2)]
    return np.stack([pitches[:, 0], *inner, np.where(count > 1, lowest, -1)], axis=1)


def _heard(made: np.ndarray, notes: np.ndarray) -> np.ndarray:
    """Whether each note stands in a frame of its time, bool [N]."""
    stands = np.zeros((len(made) + 1, 128), np.int32)
    row, voice = np.nonzero(made >= 0)
    stands[row + 1, made[row, voice]] = 1
    until = stands.cumsum(axis=0)
    first, end, pitch = notes.T
    return until[end, pitch] > until[first, pitch]
