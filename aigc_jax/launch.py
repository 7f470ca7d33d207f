"""Process start-up: the compilation cache, determinism, signals and the lock on a workdir."""

import contextlib
import ctypes
import fcntl
import os
import pathlib
import resource
import signal
import sys
from collections.abc import Callable, Iterator

import jax

# mallopt's M_ARENA_MAX, M_MMAP_MAX and M_TRIM_THRESHOLD: one heap, which never shrinks.
MALLOC = {-8: 1, -4: 0, -1: -1}


def configure(deterministic: bool = False) -> None:
    """Sets up the compiler; call before anything is compiled.

    The persistent compilation cache is on, in JAX_COMPILATION_CACHE_DIR or ~/.cache/aigc_jax, so
    that a config compiles once per machine.
    """
    if not jax.config.jax_compilation_cache_dir:
        folder = pathlib.Path.home() / ".cache" / "aigc_jax" / "xla"
        jax.config.update("jax_compilation_cache_dir", str(folder))
    keep_freed_memory()
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    if deterministic:
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()


def keep_freed_memory() -> None:
    """Has the C library keep what it frees for the next time; call before any device is used.

    XLA:CPU allocates the scratch memory of a program at every call. By default glibc hands that
    back to the system each time, and touching it anew takes an eighth of a DCGAN's step. On several
    cores a part may still go back, from heaps that other threads had before. Where the C library
    has no such settings nothing happens.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if set_option is not None:
        for option, value in MALLOC.items():
            set_option(option, value)


def peak_memory() -> float:
    """The most memory that this process has held so far, in MiB.

    On an accelerator that of its first device, on a CPU that of the whole process.
    """
    statistics = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in statistics:
        return statistics["peak_bytes_in_use"] / 2**20
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 2**20 if sys.platform == "darwin" else most / 2**10


@contextlib.contextmanager
def locked(workdir: pathlib.Path) -> Iterator[None]:
    """Holds a workdir for this process alone; the system frees it however the process ends.

    Raises:
      ValueError: if another process holds it, or it cannot be written.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        handle = open(workdir / ".lock", "a+")
    except OSError as error:
        raise ValueError(f"--workdir={workdir}: cannot be written ({error.strerror})") from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            raise ValueError(
                f"--workdir={workdir}: process {handle.read().strip()} is training there; "
                "wait for it or give another folder"
            ) from None
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        yield


@contextlib.contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Turns Ctrl-C and SIGTERM into a question that the loop asks between steps.

    A second Ctrl-C interrupts at once.
    """
    asked = []

    def remember(signum, frame):
        if asked and signum == signal.SIGINT:
            raise KeyboardInterrupt
        asked.append(signum)

    previous = {s: signal.signal(s, remember) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)
