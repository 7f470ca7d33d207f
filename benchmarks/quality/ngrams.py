"""What counting alone achieves on the chorales: floors that a network has to beat."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from aigc_jax.data import load, music

# Each context knows all that the ones before it do.
CONTEXTS = (
    "n-gram: nothing",
    "n-gram: the voice",
    "n-gram: and the note before in it",
    "n-gram: and the place in the beat",
    "n-gram: and the voice above",
)
STRENGTH = 10.0  # notes that a shorter context's word counts for
NOTES = 47  # that occur, rest included


def floors(data: dict) -> dict[str, float]:
    """{context: nats per note of the test split} of n-grams of the training split.

    p_k(x) = (n_k(x) + s p_(k-1)(x)) / (n_k + s), with n_k counts in the k-th context, p_-1 uniform
    and s = `STRENGTH`. `data` is a config's section, of which the keys are left untransposed.
    """
    dataset = load.load(data | {"transpose": 0})
    train, test = (
        music.pieces_of(split.arrays["tokens"]) for split in (dataset.train, dataset.eval)
    )
    counts = [defaultdict(Counter) for _ in CONTEXTS]
    for note, contexts in _notes(train):
        for table, context in zip(counts, contexts, strict=True):
            table[context][note] += 1
    totals = [{c: found.total() for c, found in table.items()} for table in counts]
    spent, seen = np.zeros(len(CONTEXTS)), 0
    for note, contexts in _notes(test):
        p, seen = 1 / NOTES, seen + 1
        for k, context in enumerate(contexts):
            if context in totals[k]:
                p = (counts[k][context][note] + STRENGTH * p) / (totals[k][context] + STRENGTH)
            spent[k] -= math.log(p)
    return dict(zip(CONTEXTS, (spent / seen).tolist(), strict=True))


def _notes(pieces: Sequence[np.ndarray]) -> Iterator[tuple[int, list[tuple]]]:
    """(note, its contexts, shortest first) of frames [F, 4] of every piece."""
    for piece in pieces:
        frames = piece.tolist()
        for time, frame in enumerate(frames):
            for voice, note in enumerate(frame):
                before = frames[time - 1][voice] if time else None
                above = frame[voice - 1] if voice else None
                told = (voice, before, time % 4, above)
                yield note, [told[:k] for k in range(len(CONTEXTS))]
