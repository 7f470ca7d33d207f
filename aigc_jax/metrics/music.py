"""Four-voice music: rules of part-writing in numbers, what is copied, how often notes are right.

A piece is its frames int [F, 4]: MIDI pitches of soprano, alto, tenor and bass in every sixteenth
note, -1 where a voice is silent. Held notes are equal neighbours.
"""

import itertools
from collections.abc import Sequence

import numpy as np

VOICES = 4
RANGES = ((60, 81), (53, 77), (45, 72), (36, 64))  # of the voices: C4-A5, F3-F5, A2-C5, C2-E4
LEAP = 7  # semitones: a fifth
PAIRS = tuple(itertools.combinations(range(VOICES), 2))


def _checked(pieces: Sequence[np.ndarray]) -> list[np.ndarray]:
    pieces = [np.asarray(piece) for piece in pieces]
    for piece in pieces:
        if piece.ndim != 2 or piece.shape[1] != VOICES:
            raise ValueError(f"a piece of shape {piece.shape}: accepted are frames [F, {VOICES}]")
    if not any(len(piece) for piece in pieces):
        raise ValueError(f"{len(pieces)} pieces hold no frame: at least one is needed")
    return pieces


def _share(hits: int, of: int) -> float:
    return hits / of if of else float("nan")


def voice_crossing(pieces: Sequence[np.ndarray]) -> float:
    """The share of frames in which a voice sings below the next lower one.

    Raises:
      ValueError: the pieces are not frames [F, 4], or there are none; so do all functions here.
    """
    frames = np.concatenate(_checked(pieces))
    upper, lower = frames[:, :-1], frames[:, 1:]
    return float(((upper < lower) & (upper >= 0)).any(axis=1).mean())


def parallels(pieces: Sequence[np.ndarray], interval: int) -> float:
    """Parallel intervals per 100 chord changes: 7 semitones are fifths, 0 octaves and unisons.

    A chord change is a pair of neighbouring frames that differ. A pair of voices is counted there
    if both move, in the same direction, from `interval` to `interval`, whole octaves aside.
    """
    hits = changes = 0
    for piece in _checked(pieces):
        before, after = piece[:-1], piece[1:]
        changes += int((before != after).any(axis=1).sum())
        for upper, lower in PAIRS:
            voices = [frames[:, voice] for frames in (before, after) for voice in (upper, lower)]
            sung = np.all([voice >= 0 for voice in voices], axis=0)
            held = np.abs(voices[0] - voices[1]) % 12 == interval
            again = np.abs(voices[2] - voices[3]) % 12 == interval
            moves = np.sign(voices[2] - voices[0]) * np.sign(voices[3] - voices[1]) > 0
            hits += int((sung & held & again & moves).sum())
    return 100 * _share(hits, changes)


def leaps(pieces: Sequence[np.ndarray]) -> float:
    """The share of melodic moves, within a voice and between two pitches, of over 7 semitones."""
    moves = []
    for piece in _checked(pieces):
        sung = (piece[:-1] >= 0) & (piece[1:] >= 0)
        moves.append(np.abs(np.diff(piece, axis=0))[sung])
    sizes = np.concatenate(moves)
    return _share(int((sizes > LEAP).sum()), int((sizes > 0).sum()))


def in_range(pieces: Sequence[np.ndarray]) -> float:
    """The share of sung pitches that lie in their voice's range, `RANGES`."""
    frames = np.concatenate(_checked(pieces))
    low, high = np.array(RANGES).T
    sung = frames >= 0
    return _share(int(((frames >= low) & (frames <= high) & sung).sum()), int(sung.sum()))


def longest_copied_run(
    pieces: Sequence[np.ndarray], corpus: Sequence[np.ndarray], any_key: bool = False
) -> int:
    """The most consecutive frames of any piece that stand, all voices alike, in one of the corpus.

    Args:
      pieces: generated.
      corpus: trained on.
      any_key: transposed copies count, too.
    """
    steps = [_steps(piece, any_key) for piece in _checked(corpus)]
    known = {piece.tobytes(): piece for piece in steps}.values()  # copies in other keys once
    rows = {row.tobytes() for piece in known for row in piece}
    ids = {row: i for i, row in enumerate(sorted(rows))}
    text = np.concatenate([[*(ids[row.tobytes()] for row in piece), -1] for piece in known])
    longest = max(
        _longest_run(np.array([ids.get(row.tobytes(), -2) for row in _steps(piece, any_key)]), text)
        for piece in _checked(pieces)
    )
    # A run of n changes from frame to frame is one of n + 1 frames.
    return longest + 1 if any_key and longest else longest


def _steps(piece: np.ndarray, any_key: bool) -> np.ndarray:
    """Frames as rows that are alike exactly where the music is, in this key or in any."""
    frames = np.asarray(piece, np.int16)
    if not any_key:
        return frames
    # Two chords over their bass notes and the step between these: all but the key.
    chords = np.where(frames < 0, -100, frames - frames[:, 3:])
    return np.concatenate([chords[1:], chords[:-1], np.diff(frames[:, 3:], axis=0)], axis=1)


def _longest_run(row: np.ndarray, text: np.ndarray) -> int:
    """The length of the longest common run of two rows of integers; diagonals of equal ids."""
    runs, longest = np.zeros(len(text) + 1, np.int32), 0
    for value in row:
        runs[1:] = np.where(text == value, runs[:-1] + 1, 0)
        longest = max(longest, int(runs.max()))
    return longest


def accuracy(
    logits: np.ndarray, tokens: np.ndarray, mask: np.ndarray
) -> dict[str, tuple[float, int]]:
    """{name: (share, of how many)} of counted notes whose likeliest token is the right one.

    "accuracy" is over all of them, "accuracy_on_changes" over those that differ from the note one
    frame before in their voice, where that is in the window and not the start token.

    Args:
      logits: [B, T, V].
      tokens: int [B, T + 1], of which the first one is before the first frame.
      mask: [B, T], 1 where a target counts.
    """
    targets, counted = np.asarray(tokens)[:, 1:], np.asarray(mask) > 0
    right = np.asarray(logits).argmax(axis=-1) == targets
    changed = np.zeros_like(counted)
    changed[:, VOICES:] = counted[:, VOICES:] & (targets[:, VOICES:] != targets[:, :-VOICES])
    chosen = {"accuracy": counted, "accuracy_on_changes": changed}
    return {
        name: (_share(int((right & rows).sum()), int(rows.sum())), int(rows.sum()))
        for name, rows in chosen.items()
    }
