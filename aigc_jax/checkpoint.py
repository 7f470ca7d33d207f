"""Checkpoints: the State, the run's config and tokenizer, and a digest of every leaf.

A save copies the state and returns; files are made in the background and appear under their step
in one move. Several processes save and restore together, each its own part, into one folder that
all of them see. `storage.stored` says what a checkpoint is made of, `storage.retention` which ones
are kept.
"""

import contextlib
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from aigc_jax.core import State
from aigc_jax.storage import fitting, retention, stored
from aigc_jax.storage.retention import check_space, folder, most_at_once, set_aside, steps
from aigc_jax.storage.saving import Writer
from aigc_jax.storage.stored import DamagedError

__all__ = ["DamagedError", "Writer", "check_space", "folder", "most_at_once", "set_aside", "steps"]

FINE, DAMAGED, FAILED = 0, 1, 2  # what a process says of a checkpoint that it has read


def choose(workdir: pathlib.Path, step: int | None = None) -> int:
    """The step that was asked for, or else the newest.

    Raises:
      ValueError: if the workdir has no checkpoint, or not that one.
    """
    return _chosen(workdir, steps(workdir), step)


def _chosen(workdir: pathlib.Path, there: list[int], step: int | None) -> int:
    if not there:
        raise ValueError(f"--workdir={workdir}: has no checkpoint; train there first")
    if step is not None and step not in there:
        raise ValueError(f"--step={step}: {workdir} has checkpoints of steps {there}")
    return there[-1] if step is None else step


def read_run(workdir: pathlib.Path, step: int | None = None) -> dict[str, Any]:
    """What `Writer.save` was given as `run`, of one step or the newest.

    Raises:
      ValueError: if the workdir has no checkpoint, or not that one, or it is damaged.
    """
    return stored.read_meta(folder(workdir) / str(choose(workdir, step)))["run"]


def digest(workdir: pathlib.Path, step: int) -> str:
    """The sha256 of all that the checkpoint of a step holds and says of its run.

    Raises:
      ValueError: if the workdir has no such checkpoint, or it is damaged.
    """
    return stored.read_meta(folder(workdir) / str(choose(workdir, step)))["sha256"]


def last_record(workdir: pathlib.Path) -> dict[str, Any] | None:
    """What `Writer.save` was given as `run`, of the newest step of which it can be read, if any."""
    for step in reversed(steps(workdir)):
        with contextlib.suppress(ValueError):  # a restore will say what is wrong with it
            return read_run(workdir, step)
    return None


def read_arrays(workdir: pathlib.Path) -> dict[str, np.ndarray]:
    """{path: array} of the newest checkpoint, whatever the run was, with digests checked.

    Raises:
      ValueError: if the workdir has no checkpoint, or it is damaged.
    """
    path = folder(workdir) / str(choose(workdir))
    return stored.read_arrays(path, stored.read_meta(path)["leaves"])


def restore(
    workdir: pathlib.Path,
    target: State,
    step: int | None = None,
    initial: Callable[[], State] | None = None,
) -> State:
    """The state of one step, or the newest that is whole, checked leaf by leaf.

    Damaged checkpoints that are passed over on the way to an older one are renamed N.damaged.
    Several processes call it together and get the same step.

    Args:
      target: the abstract state with the shardings that it shall have.
      initial: makes the state of a run that begins; from it come fields and collections that were
        none when the checkpoint was stored.

    Raises:
      ValueError: if a given step is damaged, or all are: each one is named with what is wrong, and
        none is renamed; or if a checkpoint is that of another state, listing the differences.
    """
    there = _agreed(steps(workdir))
    newest = _chosen(workdir, there, step)
    candidates = [newest] if step is not None else there[::-1]
    failures: dict[pathlib.Path, str] = {}
    for path in (folder(workdir) / str(candidate) for candidate in candidates):
        state, failures[path] = _attempt(path, target, initial)
        if state is not None:
            del failures[path]
            aside = retention.rename(list(failures), "damaged")
            for old, new in zip(failures, aside, strict=False):
                print(f"damaged checkpoint passed over: {failures[old]}; kept as {new}", flush=True)
            _agreed([])
            return state
    others = [other for other in there if other not in candidates]
    more = f"\nThere are those of steps {others}, too: --step takes one." if others else ""
    raise ValueError("no checkpoint could be restored:\n  " + "\n  ".join(failures.values()) + more)


def _attempt(
    path: pathlib.Path, target: State, initial: Callable[[], State] | None
) -> tuple[State | None, str]:
    """(the state, ""), or (None, why the checkpoint is damaged), the same in every process."""
    found, outcome, error = {}, FINE, None
    try:
        leaves = stored.read_meta(path)["leaves"]
        later = fitting.check_target(path, leaves, target)
        found = stored.read_state(path, leaves, target)
    except DamagedError as damage:
        outcome, error = DAMAGED, damage
    except Exception as other:
        outcome, error = FAILED, other
    outcomes = _gathered(outcome)
    if FAILED in outcomes:
        raise error or ValueError(f"{path}: another process could not read it")
    if DAMAGED in outcomes:
        return None, str(error) if error else f"{path}: another process found it damaged"
    try:
        stored.check_digests(path, leaves, found)
    except DamagedError as damage:
        return None, str(damage)
    if later and initial is None:
        raise ValueError(f"{path}: was stored without {', '.join(later)}")
    return fitting.assembled(target, found, initial() if later else None), ""


def _gathered(value: int) -> list[int]:
    """What each process has to say, told to all."""
    if jax.process_count() == 1:
        return [value]
    return multihost_utils.process_allgather(np.int32(value)).tolist()


def _agreed(numbers: list[int]) -> list[int]:
    """The first process's numbers, told to all: they may see a folder at different times."""
    if jax.process_count() == 1:
        return numbers
    count = int(multihost_utils.broadcast_one_to_all(np.int32(len(numbers))))
    padded = np.resize(np.array([*numbers, 0], np.int32), count)
    return multihost_utils.broadcast_one_to_all(padded).tolist() if count else []
