"""A trace of some steps for XProf or Perfetto, in `profile/` of the workdir."""

import contextlib
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax


@contextlib.contextmanager
def tracing(
    span: tuple[int, int] | None,
    last: int,
    folder: pathlib.Path,
    forgiven: Callable[[str], contextlib.AbstractContextManager],
) -> Iterator[Callable[[int, Any], None]]:
    """Traces the steps from span[0] to span[1], or to the `last`; what is left open is closed.

    Args:
      forgiven: where what the profiler raises is said, and no more.

    Yields:
      `at(step, results)`, to be called before every step with how many are done, and after it with
      what it returned.
    """
    running = []

    def stop():
        running.clear()
        with forgiven("profile"):
            jax.profiler.stop_trace()

    def at(step: int, results: Any = None):
        if span and not running and results is None and span[0] <= step < span[1]:
            running.append(step)
            with forgiven("profile"):
                jax.profiler.start_trace(str(folder))
        if running and results is not None and step >= min(span[1], last):
            jax.block_until_ready(results)
            stop()

    try:
        yield at
    finally:
        if running:
            stop()
