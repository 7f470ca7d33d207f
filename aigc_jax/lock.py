"""The lock on a workdir: one run at a time, on any file system, on one host or several.

`.lock` says who trains there: {"pid", "host", "started", "machine": boot and process namespace,
"born": when the process began}. It is empty when nobody does. The system's own lock on the file
goes first. It may know nothing of other hosts or be missing, so a holder also touches the file
every REFRESH seconds.
"""

import contextlib
import errno
import fcntl
import json
import os
import pathlib
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

import jax

from aigc_jax import failure

UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
# Seconds: between touches, without one until a lock is stale, and an age at which it surely is,
# although the clocks of two hosts differ.
REFRESH, STALE, OLD = 10.0, 60.0, 900.0
SETTLE = 1.0


@contextlib.contextmanager
def locked(workdir: pathlib.Path) -> Iterator[None]:
    """Holds a workdir for this run alone; of several processes the first does it for all.

    However a process ends, its lock does not last: at once on the same host, after a minute seen
    from another.

    Raises:
      ValueError: if another run holds it, or it cannot be written.
    """
    if jax.process_index() != 0:
        yield
        return
    with _opened(workdir) as handle:
        mine, done = _taken(handle, workdir), threading.Event()
        keeper = threading.Thread(target=_keep, args=(handle, mine, done), daemon=True)
        keeper.start()
        try:
            yield
        finally:
            done.set()
            keeper.join()
            if _read(handle) == mine:
                _write(handle, {})


def _taken(handle: TextIO, workdir: pathlib.Path) -> dict[str, Any]:
    """Makes this process the holder and returns what the lock says of it."""
    safe = _flocked(handle, workdir)
    _check_holder(handle, workdir, safe)
    mine = _this_process()
    _write(handle, mine)
    if not safe:
        time.sleep(SETTLE)  # of two that come at once the later writer wins
        if _read(handle) != mine:
            raise _refused(workdir, _read(handle))
    return mine


def _opened(workdir: pathlib.Path) -> TextIO:
    """The lock file, in a folder that can really be written."""
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=workdir):
            return open(workdir / ".lock", "a+")
    except OSError as error:
        reason = "is a file" if workdir.is_file() else f"cannot be written ({error.strerror})"
        raise ValueError(f"--workdir={workdir}: {reason}; give a folder that can be") from error


def _flocked(handle: TextIO, workdir: pathlib.Path) -> bool:
    """Whether the file system gave its lock; False if it has none."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _refused(workdir, _read(handle)) from None
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        return False
    return True


def _refused(workdir: pathlib.Path, holder: Mapping[str, Any]) -> ValueError:
    where = "on {host} since {started}".format_map({"host": "?", "started": "?", **holder})
    return ValueError(
        f"--workdir={workdir}: process {holder.get('pid', '?')} is training there, {where}; "
        "wait for it or give another folder"
    )


def _read(handle: TextIO) -> dict[str, Any]:
    """Who holds the lock; {} if nobody does or it is not understood."""
    # Opened anew, because a network file system shows other hosts' changes then.
    try:
        found = json.loads(pathlib.Path(handle.name).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(handle: TextIO, holder: Mapping[str, Any]) -> None:
    handle.truncate(0)
    handle.write(json.dumps(holder) if holder else "")
    handle.flush()
    os.fsync(handle.fileno())


def _keep(handle: TextIO, mine: Mapping[str, Any], done: threading.Event) -> None:
    """Touches the lock until `done`, and ends the process if another run has taken it over.

    That happens to one that could not touch it for a minute, as in a suspended machine.
    """
    while not done.wait(REFRESH):
        holder = _read(handle)
        if holder not in (mine, {}):
            who = "process {pid} on {host}".format_map({"pid": "?", "host": "?", **holder})
            print(
                f"{handle.name}: {who} has taken over; this run ends", file=sys.stderr, flush=True
            )
            os._exit(failure.FAILED)
        with contextlib.suppress(OSError):
            os.utime(handle.name)


def _this_process() -> dict[str, Any]:
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "started": time.strftime("%Y-%m-%d %H:%M:%S %Z"),
        "machine": _machine(),
        "born": _born(os.getpid()),
    }


def _machine() -> str:
    """What two processes share if one can see whether the other lives."""
    try:
        boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _born(pid: int) -> str | None:
    """When a process began, in ticks since the boot; None if it does not exist, or no /proc."""
    try:
        # The name before it, in parentheses, may hold spaces.
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return None


def _lives(holder: Mapping[str, Any]) -> bool:
    """Whether that very process of this machine exists; another may have its number by now."""
    try:
        os.kill(int(holder["pid"]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return holder.get("born") in (None, _born(int(holder["pid"])))


def _check_holder(handle: TextIO, workdir: pathlib.Path, safe: bool) -> None:
    """Raises ValueError if the holder named in the lock is at work; says that a lock is stale."""
    holder = _read(handle)
    if not holder:
        return
    here = holder.get("machine") == _machine()
    alive = not safe and _lives(holder) if here else _touched(handle, holder)
    if alive:
        raise _refused(workdir, holder)
    unknown = dict.fromkeys(("pid", "host", "started"), "?")
    who = "process {pid} on {host}, since {started}".format_map(unknown | holder)
    print(f"--workdir={workdir}: stale lock of {who}: it is gone, this run takes over", flush=True)


def _touched(handle: TextIO, holder: Mapping[str, Any]) -> bool:
    """Whether the holder on another machine goes on touching the lock; may take STALE seconds."""
    path = pathlib.Path(handle.name)
    before = path.stat().st_mtime
    if time.time() - before > OLD:
        return False
    print(f"{path} is of {holder.get('host')}: waiting up to {STALE:.0f} s for a sign", flush=True)
    end = time.monotonic() + STALE
    while time.monotonic() < end:
        time.sleep(min(1.0, STALE / 10))
        with open(path):
            if path.stat().st_mtime != before:
                return True
    return False
