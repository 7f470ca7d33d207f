"""Process start-up: compiler and memory, the other processes of a run, and signals to stop."""

import contextlib
import ctypes
import faulthandler
import importlib.util
import itertools
import os
import pathlib
import re
import resource
import signal
import sys
from collections.abc import Callable, Iterator

import jax
from jax.experimental import multihost_utils

from aigc_jax import failure, launchers

PROXY = re.compile(r"(grpc|https?|all)_proxy", re.IGNORECASE)
# How long processes wait for the last one to start (images are pulled, nodes boot), and at the
# end for one that is still writing; a dead one is noticed by its heartbeat.
MEETING_SECONDS, PARTING_SECONDS = 600, 1800
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
def without_proxies() -> Iterator[None]:
    """Hides proxies from the connections made inside: processes of a run speak directly."""
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if PROXY.fullmatch(name)}
    try:
        yield
    finally:
        os.environ.update(hidden)


def initialize_from_env(heartbeat_seconds: int = 60) -> None:
    """Joins the other processes of a run, as the launcher's variables tell; see `launchers`.

    An ordinary single process is left alone, and one that has joined the others already, as Ray
    Train does before it calls. Call it after `configure` and before any device is used.

    Args:
      heartbeat_seconds: a process not heard of for so long ends the others.

    Raises:
      ValueError: if variables are missing, or not as many processes met as the launcher promised.
    """
    if jax.distributed.is_initialized():
        promised = int(os.environ.get(launchers.COUNT) or jax.process_count())
        launcher = launchers.Launcher(launchers.COUNT, promised, {})
    else:
        launcher = launchers.detected(os.environ)
        if launcher is None or launcher.processes == 1:
            return
        _join(launcher, heartbeat_seconds)
    found = jax.process_count()
    if launcher.processes not in (None, found):
        expected = f"expected {launcher.processes} processes, found {found}"
        raise ValueError(f"{launcher.name}: {expected}")


def _join(launcher: launchers.Launcher, heartbeat_seconds: int) -> None:
    if launcher.name == "Kubernetes" and importlib.util.find_spec("kubernetes") is None:
        raise ValueError(
            "Kubernetes: the processes of an indexed job find each other by the package "
            f"kubernetes, which is not installed; or {launchers.BY_HAND}. {launchers.INDEPENDENT}"
        )
    if not faulthandler.is_enabled():  # JAX ends a process whose peers are gone by SIGABRT
        faulthandler.enable()
    with without_proxies():
        jax.distributed.initialize(
            **launcher.arguments,
            initialization_timeout=MEETING_SECONDS,
            heartbeat_timeout_seconds=heartbeat_seconds,
            shutdown_timeout_seconds=PARTING_SECONDS,
        )


@contextlib.contextmanager
def stop_requests() -> Iterator[Callable[[int], bool]]:
    """Turns Ctrl-C and SIGTERM into a question that the loop asks after every dispatch of steps.

    In a run of several processes a request to one of them is one to all, and all are told so
    after the same step; every process has to ask equally often. A second Ctrl-C interrupts at once.

    Yields:
      `stop_requested(step)`, with the step that is done.
    """
    several = jax.distributed.is_initialized()
    asked, agreed_on, questions = [], [], itertools.count(1)

    def remember(signum, frame):
        if asked and signum == signal.SIGINT:
            raise KeyboardInterrupt
        asked.append(signum)
        if several:  # the signal that JAX listens for, in a handler of its own
            os.kill(os.getpid(), signal.SIGTERM)

    def agreed(step):
        # JAX agrees on a number that must come by exactly: steps may go in strides, or back. It
        # says so once; where the run goes back at that very step, the next one has to hear it, too.
        if not agreed_on and multihost_utils.reached_preemption_sync_point(next(questions)):
            failure.say(f"asked to stop, after step {step}")
            agreed_on.append(step)
        return bool(agreed_on)

    numbers = (signal.SIGINT,) if several else (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.signal(number, remember) for number in numbers}
    try:
        yield agreed if several else lambda step: bool(asked)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def part() -> None:
    """Ends a run of several processes well: waits until all have come here."""
    if jax.distributed.is_initialized():
        jax.distributed.shutdown()
