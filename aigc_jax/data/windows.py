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


def eval_count(length: int, context: int) -> int:
    """How many windows predict each of `length` tokens after the first once."""
    return -(-(length - 1) // context)


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


def piece_windows(pieces: Sequence[np.ndarray], context: int, stride: int) -> Split:
    """Windows that start every `stride` tokens of every piece and never cross into the next one.

    A window predicts tokens s + 1 .. s + T of its piece, where s = 0, stride, 2 stride, ... as long
    as there is one to predict. What lies behind the piece's end is filled with id 0 and `mask`
    [B, T] is 0 there, 1 elsewhere.
    """
    span = np.arange(context + 1, dtype=np.int32)
    fill = np.zeros(context, np.int32)
    tokens = np.concatenate([np.concatenate([piece, fill]) for piece in pieces])
    counts = np.concatenate([np.repeat([1, 0], [len(piece), context]) for piece in pieces])
    borders = np.cumsum([0] + [len(piece) + context for piece in pieces[:-1]])
    starts = [
        border + np.arange(0, len(piece) - 1, stride)
        for border, piece in zip(borders, pieces, strict=True)
    ]
    arrays = {
        "tokens": compact(tokens),
        "counts": counts.astype(np.uint8),
        "starts": np.concatenate(starts).astype(np.int32),
    }

    def windows_at(arrays: Mapping[str, Any], indices: Any) -> dict[str, Any]:
        places = arrays["starts"][indices][:, None] + span
        return {
            "tokens": arrays["tokens"][places].astype(np.int32),
            "mask": arrays["counts"][places[:, 1:]].astype(np.float32),
        }

    return Split(len(arrays["starts"]), arrays, windows_at)


def eval_windows(pieces: Sequence[np.ndarray], context: int) -> Split:
    """Non-overlapping windows: every token but a piece's first is predicted exactly once."""
    return piece_windows(pieces, context, stride=context)
