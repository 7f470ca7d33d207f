"""A bar that says what an evaluation is doing and how long it has taken."""

import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

WIDTH = 24


class Bar:
    """A live line on a terminal; elsewhere a line per piece of work."""

    def __init__(self, out: TextIO | None = None):
        self._total, self._done, self._text = 1, 0, ""
        self._out = out or sys.stderr
        self._start = time.perf_counter()

    def over(self, tasks: Sequence[tuple[str, Any]]) -> Iterator[Any]:
        """What is to be done, one after the other, each named before it begins."""
        self._total = len(tasks)
        for self._done, (self._text, task) in enumerate(tasks):
            self._show()
            yield task
        self._done, self._text = self._total, "done"
        self._show()
        self._out.write("\n" * self._out.isatty())

    def say(self, text: str) -> None:
        """More of the piece of work that is under way."""
        self._text = ": ".join(filter(None, (self._text.partition(":")[0], text)))
        self._show()

    def _show(self) -> None:
        filled = WIDTH * self._done // self._total
        bar = "#" * filled + "-" * (WIDTH - filled)
        seconds = time.perf_counter() - self._start
        line = f"[{bar}] {self._done}/{self._total} {seconds:4.0f} s  {self._text}"
        live = self._out.isatty()
        self._out.write(f"\r{line[:100]:<100}" if live else f"{line}\n")
        self._out.flush()
