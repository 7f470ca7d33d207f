"""From a row of tokens to the windows [T + 1] that a model of context T is shown."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aigc_jax.data.dataset import Split


def compact(tokens: np.ndarray) -> np.ndarray:
    """The same ids in the smallest of uint8, uint16 and int32 that holds them."""
    top = int(tokens.max(initial=0))
    dtype = np.uint8 if top < 2**8 else np.uint16 if top < 2**16 else np.int32
    return tokens.astype(dtype)


def piece_count(length: int, context: int, stride: int) -> int:
    """How many windows `piece_windows` has of a piece of `length` tokens."""
    return context // stride - 1 + -(-(length - 1) // stride)


def eval_count(length: int, context: int) -> int:
    """How many windows predict each of `length` tokens after the first once."""
    return piece_count(length, context, context)


def train_windows(tokens: np.ndarray, context: int) -> Split:
    """Every start offset is an example: tokens[s : s + T + 1] for s in 0 .. N - T - 1.

    Args:
      tokens: ids [N], kept in their dtype.
      context: T.
    """
    span = np.arange(context + 1, dtype=np.int32)

    def windows_at(arrays: Mapping[str, Any], starts: Any) -> dict[str, Any]:
        return {"tokens": arrays["tokens"][starts[:, None] + span].astype(np.int32)}

    return Split(len(tokens) - context, {"tokens": tokens}, windows_at)


def piece_windows(
    pieces: Sequence[np.ndarray],
    context: int,
    stride: int,
    weights: Sequence[float] = (),
) -> Split:
    """Windows every `stride` tokens of every piece, from before its start to its end.

    Window s predicts the tokens s + 1 .. s + T of its piece, for the multiples s of the stride in
    stride - T .. N - 1, with N tokens after the first: each of them in T / stride windows, also
    those at its beginning. A window that starts before its piece holds nothing there: a model that
    predicts from what stands before a token, and cannot see such padding, does the same when the
    piece's first token is at position 0, as it is where a generation starts. So the window is moved
    there, and its last -s targets, which it would not have held, do not count. What lies behind the
    piece's end is filled with id 0 and does not count either.

    Args:
      pieces: ids [1 + N] of each.
      context: T.
      stride: divides T.
      weights: of each piece, 1 if not given: `mask` [B, T] where a target counts; else it is 0.
    """
    if context % stride:
        raise ValueError(f"stride = {stride}: must divide the context of {context} tokens")
    span = np.arange(context + 1, dtype=np.int32)
    fill = np.zeros(context, np.int32)
    tokens = np.concatenate([np.concatenate([piece, fill]) for piece in pieces])
    counts = np.concatenate([np.repeat([1, 0], [len(piece), context]) for piece in pieces])
    borders = np.cumsum([0] + [len(piece) + context for piece in pieces[:-1]])
    offsets = [np.arange(stride - context, len(piece) - 1, stride) for piece in pieces]
    each = [len(windows) for windows in offsets]
    offset = np.concatenate(offsets)
    arrays = {
        "tokens": compact(tokens),
        "counts": counts.astype(np.uint8),
        "starts": (np.repeat(borders, each) + np.maximum(offset, 0)).astype(np.int32),
        "targets": (context + np.minimum(offset, 0)).astype(np.int32),
        "weights": np.repeat(np.float32(weights or [1] * len(pieces)), each),
    }

    def windows_at(arrays: Mapping[str, Any], indices: Any) -> dict[str, Any]:
        places = arrays["starts"][indices][:, None] + span
        within = span[:-1] < arrays["targets"][indices][:, None]
        counts = arrays["counts"][places[:, 1:]] * within
        return {
            "tokens": arrays["tokens"][places].astype(np.int32),
            "mask": counts.astype(np.float32) * arrays["weights"][indices][:, None],
        }

    return Split(len(offset), arrays, windows_at)


def eval_windows(pieces: Sequence[np.ndarray], context: int) -> Split:
    """Non-overlapping windows: every token but a piece's first is predicted exactly once."""
    return piece_windows(pieces, context, stride=context)
