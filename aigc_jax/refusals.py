"""Rules that may be younger than a run: new runs are refused, stored ones are told and go on.

A rule on the values of a config calls `refuse`. Whoever works with the config of a stored run, to
train on, sample or evaluate, does so inside of `only_said`: what was accepted when the run began
keeps its meaning, and costs a line.
"""

import contextlib
import contextvars
import sys
from collections.abc import Iterable, Iterator

_SAID: contextvars.ContextVar[list[str] | None] = contextvars.ContextVar("said", default=None)


def refuse(message: str) -> None:
    """Says what is wrong with a config: the key, its value, the rule, and what is accepted.

    Raises:
      ValueError: with the message, outside of `only_said`.
    """
    said = _SAID.get()
    if said is None:
        raise ValueError(message)
    if message not in said:
        said.append(message)


def strict() -> bool:
    """Whether `refuse` raises here, as it does in new runs."""
    return _SAID.get() is None


@contextlib.contextmanager
def only_said() -> Iterator[list[str]]:
    """Where `refuse` raises nothing; gives the list of what it was told, each thing once."""
    said: list[str] = []
    token = _SAID.set(said)
    try:
        yield said
    finally:
        _SAID.reset(token)


@contextlib.contextmanager
def told() -> Iterator[None]:
    """`only_said`, and what was said is printed, a line each."""
    with only_said() as said:
        yield
    tell(said)


def tell(said: Iterable[str]) -> None:
    """Prints rules that a stored run began without."""
    for line in said:
        print(f"note: today refused, and kept as this run began with it: {line}", file=sys.stderr)
