"""A text in two parts, as characters or bytes."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Corpus(NamedTuple):
    """A text in two parts: str, or bytes where it need not be UTF-8."""

    train: str | bytes
    evaluation: str | bytes
    fingerprint: Mapping[str, Any]  # sha256 and size
    eval_split: str = "validation"
    rejected: int = 0  # files left out because they can't be used
    note: str = ""  # what a user should know of the text before it is used


def as_bytes(part: str | bytes) -> bytes:
    """A part as UTF-8."""
    return part if isinstance(part, bytes) else part.encode()


def as_text(part: str | bytes) -> str:
    """A part as characters; U+FFFD stands for what is not UTF-8."""
    return part if isinstance(part, str) else part.decode("utf-8", "replace")
