"""How a process leaves when something fails: at once, with a code that says whether to try again.

Exit codes: 0 done or stopped on request, 1 training failed, 2 bad input, 75 a peer, the network or
a disk failed in a way that may pass, 130 interrupted by a second Ctrl-C. JAX itself ends a process
by SIGABRT (134 in a shell) when a peer's heartbeat is missing. After 75 and deaths by a signal the
same command may be started again; the others are final.

Where machines are taken away, a stop is not the end: with AIGC_STOPPED_EXIT_CODE=75 a run that was
asked to stop before its last step leaves with that, after saving, and not with 0.
"""

import contextlib
import errno
import faulthandler
import os
import re
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping

import jax

DONE, FAILED, BAD_INPUT, RETRY, INTERRUPTED = 0, 1, 2, 75, 130
STOPPED = "AIGC_STOPPED_EXIT_CODE"
# How errors of JAX, of gloo and of our own call a lost peer. Keys of a config, such as
# heartbeat_seconds, are none, nor are words that are a status in capital letters only.
PEER = re.compile(
    r"\bgloo\b|\bnccl|coordination service|\bheartbeats?\b|connection (reset|closed|refused)|"
    r"another process could not|(?-i:\b(UNAVAILABLE|DEADLINE_EXCEEDED|ABORTED|CANCELLED)\b)",
    re.IGNORECASE,
)
# Of disks, mostly those on a network, and of crowded machines.
PASSING = {"EIO", "EREMOTEIO", "ESTALE", "ENOTCONN", "ETIMEDOUT", "EMFILE", "ENFILE"} | {
    *("EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH"),
}
TENSORSTORE = re.compile(r"os_error_code='(\d+)'")
EXPLAINED = (ValueError, OSError, FloatingPointError)  # their message is all that a person needs
STDERR = 2


def stopped_code(environ: Mapping[str, str]) -> int:
    """The exit code after a stop on request before the last step: 0, or what the launcher wants.

    Raises:
      ValueError: if AIGC_STOPPED_EXIT_CODE is no exit code.
    """
    text = environ.get(STOPPED) or str(DONE)
    if not text.isdecimal() or int(text) > 255:
        raise ValueError(f"{STOPPED}={text}: must be a whole number from 0 to 255, such as {RETRY}")
    return int(text)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it was raised from."""
    seen = []
    while error is not None and error not in seen:
        yield error
        seen.append(error)
        error = error.__cause__ or error.__context__


def peer_failed(error: BaseException) -> bool:
    """Whether an error, or what it was raised from, is about another process or the network."""
    transports = jax.errors.JaxRuntimeError | ValueError | ConnectionError
    return any(isinstance(e, transports) and PEER.search(str(e)) for e in _chain(error))


def may_pass(error: BaseException) -> bool:
    """Whether an error, or what it was raised from, is a fault of a disk that a retry may mend."""
    return any(_system_error(e) in PASSING for e in _chain(error))


def _system_error(error: BaseException) -> str:
    """The name of the system's error, such as "EIO", "" if it is none."""
    said = TENSORSTORE.search(str(error))
    number = int(said[1]) if said else getattr(error, "errno", None)
    return errno.errorcode.get(number, "")


def exit_code(error: BaseException) -> int:
    """The code with which a process leaves because of `error`."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, FileNotFoundError):  # also what no server gave: it says what to put where
        return BAD_INPUT
    if peer_failed(error) or may_pass(error):
        return RETRY
    return BAD_INPUT if isinstance(error, ValueError | OSError) else FAILED


def explained(error: BaseException) -> str:
    """What a person needs to know of an error, "" where that is its traceback."""
    if isinstance(error, EXPLAINED):
        return str(error)
    if isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error):
        return (
            f"the run does not fit into memory ({str(error).splitlines()[0]}); a smaller "
            "config.batch_size or network, more config.accumulate, or config.mesh.fsdp need less"
        )
    return ""


def leave(error: BaseException, flush: Callable[[], None] | None = None) -> None:
    """Says what happened and ends this process, without waiting for any other."""
    code, lost = exit_code(error), peer_failed(error)
    try:
        if explained(error) and not lost:
            print(f"error: {explained(error)}", file=sys.stderr)
        else:
            traceback.print_exception(error)
        if flush is not None:
            flush()
        if lost:
            faulthandler.dump_traceback(STDERR, all_threads=True)
        if code == RETRY:
            what = "another process or the network" if lost else "a disk"
            say(f"{what} failed; leaving with {RETRY}: try again")
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
