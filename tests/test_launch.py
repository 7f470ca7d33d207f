"""Freed memory is kept, so that later calls touch no new pages; signals become a question."""

import ctypes
import os
import pathlib
import signal
import subprocess
import sys

import jax
import pytest
from jax.experimental import multihost_utils

from aigc_jax import launch

# On one core: with several, threads may have heaps of their own, which shrink all the same.
PROGRAM = """
import os
os.sched_setaffinity(0, {{min(os.sched_getaffinity(0))}})
import resource, jax, jax.numpy as jnp
from aigc_jax import launch
{keep}
step = jax.jit(lambda x: jnp.sort(jnp.tanh(x), axis=1).sum())
x = jnp.ones((40_000, 220))
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    step(x).block_until_ready()
before = faults()
for _ in range(3):
    step(x).block_until_ready()
print(faults() - before)
"""
ROOT = pathlib.Path(__file__).parent.parent


def new_pages(keep: str) -> int:
    words = [sys.executable, "-c", PROGRAM.format(keep=keep)]
    environment = {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(words, env=os.environ | environment, check=True, stdout=subprocess.PIPE)
    return int(done.stdout)


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"),
    reason="glibc's mallopt is what is tested",
)
def test_scratch_memory_is_kept_between_calls():
    without, kept = new_pages(""), new_pages("launch.keep_freed_memory()")
    assert without > 10_000  # more than 32 MiB of scratch, in pages of 4 KiB, three times
    assert kept < without / 20


def test_a_stop_request_is_a_question_and_a_second_interrupt_is_not():
    before = signal.getsignal(signal.SIGTERM)
    with launch.stop_requests() as stop_requested:
        assert not stop_requested(1)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop_requested(2)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is before


def test_processes_that_go_back_after_a_stop_request_stop_a_step_later(monkeypatch, capsys):
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    # As JAX does: every number once, and only one of them is the one that all agree on.
    asked = iter([1, 2])
    agrees = lambda number: next(asked) == number == 2
    monkeypatch.setattr(multihost_utils, "reached_preemption_sync_point", agrees)
    with launch.stop_requests() as stop_requested:
        assert [stop_requested(step) for step in (8, 16, 4, 12)] == [False, True, True, True]
    assert capsys.readouterr().err.count("asked to stop, after step 16") == 1
