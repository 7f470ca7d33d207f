"""Four-voice music as next-token data, frame by frame and voice by voice: jsb_chorales, or MIDI.

A piece of F frames is one start token and then 4 F notes: soprano, alto, tenor and bass of the
first sixteenth note, then of the second one. Likelihoods are of notes only, all of them.

A configuration holds `name` ("jsb_chorales" or the path of a folder of MIDI files), `data_dir`,
`manual_dir`, `context` (T), `tokenizer` ("auto" or "music"), `limit` (training pieces; None: all),
`transpose` (semitones) and `max_rejected` (of a folder's files). `load.options` completes it.
"""

import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aigc_jax.data import midi_folder, text_builders, tokenizers
from aigc_jax.data.cache import cached
from aigc_jax.data.dataset import Dataset, Info
from aigc_jax.data.dirt import say
from aigc_jax.data.midi_folder import Pieces
from aigc_jax.data.tokenizers import Tokenizer
from aigc_jax.data.windows import eval_count, eval_windows, piece_count, piece_windows

VOICES = 4
BEAT = 4 * VOICES  # tokens; all chorales are whole beats long
# The pieces' lengths in sixteenth notes, in the order of the file.
FRAMES = {
    "train": (
        "192 228 208 432 260 212 292 180 132 192 208 272 260 132 196 456 208 452 352 196 196 "
        "224 196 384 196 392 212 212 164 196 176 132 180 100 232 260 224 160 308 260 228 340 "
        "192 332 372 304 336 240 208 148 404 244 228 132 132 272 260 260 276 132 260 196 196 "
        "228 180 228 192 156 196 228 432 132 336 304 164 516 228 192 132 240 208 228 244 260 "
        "260 304 132 420 228 164 328 260 196 228 132 220 164 304 164 260 452 208 244 196 240 "
        "196 204 260 260 292 228 176 228 344 260 340 304 176 256 288 200 164 512 260 260 320 "
        "228 260 288 260 164 196 164 260 272 164 436 388 192 244 308 408 292 208 256 196 132 "
        "332 164 252 180 148 244 304 180 260 196 192 288 308 132 276 480 132 244 260 260 132 "
        "196 260 252 192 208 264 196 216 192 192 272 164 436 260 256 228 192 256 260 240 288 "
        "196 180 260 192 132 244 276 272 196 180 196 260 304 196 164 164 228 244 164 212 356 "
        "132 256 384 228 256 228 192 304 132 196 256 436 260 260 244 196 148 228 164"
    ),
    "validation": (
        "196 208 196 148 216 196 196 148 260 164 244 256 276 148 148 260 208 180 228 176 160 "
        "552 196 448 160 352 208 192 196 576 148 244 180 276 392 260 228 148 164 576 196 260 "
        "244 360 244 224 276 272 164 412 236 256 388 164 180 432 128 164 292 132 164 180 276 "
        "196 260 208 180 216 228 340 132 224 228 260 164 420"
    ),
    "test": (
        "228 196 196 196 228 260 372 196 272 256 128 292 228 192 156 180 276 320 276 404 196 "
        "436 260 336 128 164 176 228 132 196 640 196 448 132 260 284 292 164 228 196 580 228 "
        "164 228 272 244 256 192 144 196 164 196 224 256 180 192 260 148 360 324 228 228 224 "
        "132 304 212 208 196 404 196 468 164 240 196 156 244 348"
    ),
}
# How training sees a piece, for runs that began when it saw it otherwise.
WINDOWS = "every note weighs the same, in every key that its piece may have"
NAME = "jsb_chorales"


def describe(config: Mapping[str, Any], tokenizer: Tokenizer | None = None) -> Info:
    """Sizes and shapes, without preparing anything. Raises what `load` does.

    MIDI files are read, those that have not changed once.
    """
    _check(config, tokenizer)
    return _info(config, _outline(config))


def load(config: Mapping[str, Any], tokenizer: Tokenizer | None = None) -> Dataset:
    """Training windows that start at every beat, and test windows with every note once.

    The first token of a window is the one before its first frame, so that position i predicts voice
    i mod 4, and, if the context is whole beats, (i mod 16) // 4 is the sixteenth of the beat; with
    another context training windows start every `gcd(context, 16)` tokens. No window goes over a
    piece's end: `mask` is 0 behind it. Over an epoch every training note has the same sum of
    `mask`, and each key that `in_other_keys` allows its piece has the same share of that sum.

    Raises:
      ValueError: another tokenizer than the music one, a context that is not whole frames, or a
        folder without enough MIDI files that can be used.
    """
    _check(config, tokenizer)
    pieces = _outline(config)
    if pieces.note:
        say(pieces.note)
    info, context = _info(config, pieces), config["context"]
    frames = _chorales(config) if config["name"] == NAME else pieces.frames
    train, held_out = (_kept(frames[s], frames, config, s) for s in ("train", info.eval_split))
    train, weights = in_other_keys(train, config["transpose"])
    return Dataset(
        info,
        piece_windows([notes(piece) for piece in train], context, _stride(context), weights),
        eval_windows([notes(piece) for piece in held_out], context),
        tokenizers.music(),
    )


def _outline(config: Mapping[str, Any]) -> Pieces:
    """The pieces as described: those of a folder, or the chorales' lengths alone."""
    if config["name"] != NAME:
        return midi_folder.read(config)
    remote = text_builders.CHORALES["Jsb16thSeparated.json"]
    silent = {split: [range(count) for count in _lengths(split)] for split in FRAMES}
    return Pieces(NAME, silent, {"sha256": remote.sha256, "bytes": remote.size})


def _info(config: Mapping[str, Any], pieces: Pieces) -> Info:
    context, keys = config["context"], 2 * config["transpose"] + 1
    kept = {
        split: _kept(rows, pieces.frames, config, split) for split, rows in pieces.frames.items()
    }
    tokens = {split: [1 + VOICES * len(piece) for piece in rows] for split, rows in kept.items()}
    sizes = {split: sum(eval_count(n, context) for n in tokens[split]) for split in tokens}
    windows = sum(piece_count(n, context, _stride(context)) for n in tokens["train"])
    return Info(
        name=pieces.name,
        sizes={**sizes, "train": keys * windows},
        eval_split=list(sizes)[-1],
        shapes={"tokens": (context + 1,), "mask": (context,)},
        dtypes={"tokens": "int32", "mask": "float32"},
        vocab=len(tokenizers.MUSIC_WORDS),
        fingerprint={**pieces.fingerprint, "windows": WINDOWS},
        rejected=pieces.rejected,
    )


def in_other_keys(pieces: Sequence[np.ndarray], reach: int) -> tuple[list[np.ndarray], list[float]]:
    """Frames int [F, 4] of every piece in 2 reach + 1 keys, in turn, and the weight of each.

    These are the keys up to `reach` semitones below and above in which no voice leaves the range
    that it has in `pieces`. Where those are fewer, the first ones come again, and weights make up
    for it, at most 1: all keys of a piece weigh the same, and so do all pieces.
    """
    low, high = _ranges(np.concatenate(pieces))
    copies, weights, count = [], [], 2 * reach + 1
    for piece in pieces:
        (lowest, highest), sung = _ranges(piece), (piece >= 0).any(axis=0)
        down, up = (lowest - low)[sung].min(), (high - highest)[sung].min()
        shifts = np.arange(-min(reach, down), min(reach, up) + 1)
        keys = np.arange(count) % len(shifts)
        copies += [np.where(piece < 0, piece, piece + by) for by in shifts[keys]]
        weights += (count / len(shifts) / np.bincount(keys)[keys]).tolist()
    return copies, (np.array(weights) / max(weights)).tolist()


def _stride(context: int) -> int:
    """Tokens from one training window to the next."""
    return math.gcd(context, BEAT)


def _ranges(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and the highest pitch [4] of each voice."""
    return np.where(frames < 0, 127, frames).min(axis=0), frames.max(axis=0)


def notes(frames: np.ndarray) -> np.ndarray:
    """Token ids [1 + 4 F] of a piece, from MIDI pitches [F, 4] where -1 is silence."""
    first, silence = tokenizers.MUSIC_WORDS.index("36"), tokenizers.MUSIC_WORDS.index(".")
    ids = np.where(frames < 0, silence, frames - 36 + first).reshape(-1)
    return np.concatenate([[tokenizers.music().start], ids]).astype(np.int32)


def pieces_of(tokens: np.ndarray) -> list[np.ndarray]:
    """Frames int16 [F, 4] of the pieces in a row of ids: `notes` undone.

    A piece begins after a start token, or with the row; what does not fill a frame is cut.
    """
    tokens, start = np.asarray(tokens).reshape(-1), tokenizers.music().start
    pitch = [-1 if word in "|." else int(word) for word in tokenizers.MUSIC_WORDS]
    pitches = np.array(pitch, np.int16)[tokens]
    parts = np.split(pitches, np.flatnonzero(tokens == start))
    rows = [part[int(i > 0) :] for i, part in enumerate(parts)]  # without their start token
    whole = [row[: len(row) // VOICES * VOICES].reshape(-1, VOICES) for row in rows]
    return [piece for piece in whole if len(piece)]


def _check(config: Mapping[str, Any], tokenizer: Tokenizer | None) -> None:
    asked, context = config["tokenizer"], config["context"]
    given = asked if tokenizer is None else tokenizer.name
    if asked not in ("auto", "music") or given not in ("auto", "music"):
        raise ValueError(
            f"data.tokenizer = {asked!r}, given is {given!r}: music accepts only the music "
            "tokenizer, which is what 'auto' means"
        )
    if context < VOICES or context % VOICES:
        raise ValueError(
            f"data.context = {context}: music has {VOICES} tokens per frame; accepted are "
            f"multiples of {VOICES}"
        )


def _lengths(split: str) -> list[int]:
    return [int(count) for count in FRAMES[split].split()]


def _kept(
    pieces: Sequence, by_split: Mapping[str, Sequence], config: Mapping[str, Any], split: str
) -> Sequence:
    """The first `limit` training pieces, and the same share of another split, at least one."""
    limit, total = config["limit"], len(by_split["train"])
    if not limit or limit >= total:
        return pieces
    return pieces[: limit if split == "train" else -(-len(pieces) * limit // total)]


def _prepared(config: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """All frames int16 [sum of F, 4] of each split, by its name, in the order of the file."""
    data_dir = pathlib.Path(config["data_dir"])

    def stacked(source):
        examples = sorted(source.__getitems__(range(len(source))), key=lambda e: e["index"])
        return np.concatenate([example["frames"] for example in examples])

    def prepare():
        builder = text_builders.jsb_chorales(config["manual_dir"], data_dir)
        builder.download_and_prepare()
        return {split: stacked(source) for split, source in builder.as_data_source().items()}

    return cached(data_dir / "arrays" / f"jsb_chorales-{text_builders.VERSION}", prepare)


def _chorales(config: Mapping[str, Any]) -> dict[str, list[np.ndarray]]:
    """Frames of each chorale, by split."""
    arrays = _prepared(config)
    return {s: np.split(arrays[s], np.cumsum(_lengths(s))[:-1]) for s in FRAMES}
