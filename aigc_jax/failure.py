"""How a process leaves when something fails: at once, with a code that says whether to try again.

Exit codes: 0 done or stopped on request, 1 training failed, 2 bad input, 75 a peer or the network
failed, 130 interrupted by a second Ctrl-C. JAX itself ends a process by SIGABRT (134 in a shell)
when a peer's heartbeat is missing. After 75 and deaths by a signal the same command may be started
again; the others are final.
"""

import contextlib
import faulthandler
import os
import re
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator

import jax

DONE, FAILED, BAD_INPUT, RETRY, INTERRUPTED = 0, 1, 2, 75, 130
# How the transports between processes call a lost peer, in errors of JAX and of gloo.
PEER = re.compile(
    r"\bgloo\b|\bnccl|coordination service|heartbeat|connection (reset|closed|refused)|"
    r"\b(UNAVAILABLE|DEADLINE_EXCEEDED|ABORTED|CANCELLED)\b",
    re.IGNORECASE,
)
STDERR = 2


def peer_failed(error: BaseException) -> bool:
    """Whether an error, or what it was raised from, is about another process or the network."""
    seen = []
    while error is not None and error not in seen:
        transport = isinstance(error, jax.errors.JaxRuntimeError | ValueError | ConnectionError)
        if transport and PEER.search(str(error)):
            return True
        seen.append(error)
        error = error.__cause__ or error.__context__
    return False


def exit_code(error: BaseException) -> int:
    """The code with which a process of a run leaves because of `error`."""
    if peer_failed(error):
        return RETRY
    if isinstance(error, ValueError | OSError):
        return BAD_INPUT
    return INTERRUPTED if isinstance(error, KeyboardInterrupt) else FAILED


def leave(error: BaseException, flush: Callable[[], None] | None = None) -> None:
    """Says what happened and ends this process, without waiting for any other."""
    code = exit_code(error)
    try:
        if code == BAD_INPUT:
            print(f"error: {error}", file=sys.stderr)
        else:
            traceback.print_exception(error)
        if flush is not None:
            flush()
        if code == RETRY:
            say(f"another process or the network failed; leaving with {RETRY}: try again")
            faulthandler.dump_traceback(STDERR, all_threads=True)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def say(line: str) -> None:
    """One line to stderr with the number of this process."""
    process = f"process {jax.process_index()} of {jax.process_count()}"
    print(f"{process}: {line}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def leaving(flush: Callable[[], None] | None = None) -> Iterator[None]:
    """Ends the process on any error inside, if it is one of several; errors of one just pass.

    An ordinary exit would wait for the other processes, which may be gone or in turn wait for this
    one. So that nothing waits either when contexts inside are left, put it innermost, too.

    Args:
      flush: writes out logs before.
    """
    try:
        yield
    except BaseException as error:
        if jax.distributed.is_initialized():
            leave(error, flush)
        raise


@contextlib.contextmanager
def watchdog(seconds: float) -> Iterator[Callable[[], None]]:
    """Ends the process if nothing has called `alive()` for `seconds`, with all stacks on stderr.

    It leaves with code 75; with 1 if not even Python's threads run any more. 0 is no limit.

    Yields:
      `alive`, which costs a microsecond.
    """
    if not seconds:
        yield lambda: None
        return
    last, armed, over = [time.monotonic()], [0.0], threading.Event()

    def alive():
        last[0] = now = time.monotonic()
        if now - armed[0] > min(1.0, seconds / 2):
            armed[0] = now
            faulthandler.dump_traceback_later(1.1 * seconds + 5, exit=True, file=STDERR)

    alive()
    threading.Thread(target=_watch, args=(seconds, last, over), daemon=True).start()
    try:
        yield alive
    finally:
        over.set()
        faulthandler.cancel_dump_traceback_later()


def _watch(seconds: float, last: list[float], over: threading.Event) -> None:
    """Leaves once `last[0]` is `seconds` ago, unless it is over before."""
    while (left := last[0] + seconds - time.monotonic()) > 0:
        if over.wait(left):
            return
    print(f"no sign of life for {seconds} s: all threads are", file=sys.stderr, flush=True)
    faulthandler.dump_traceback(STDERR, all_threads=True)
    os._exit(RETRY)
