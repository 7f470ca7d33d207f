"""Going back: what a run does after too many steps in a row that were not finite."""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from aigc_jax import build, checkpoint, log, parallel, start
from aigc_jax.core import State
from aigc_jax.guard import BadStreak, counts, nonfinite_part


def check(
    config: Mapping[str, Any], guard: Mapping[str, Any], step: int, cursor_of: Callable[[int], int]
) -> None:
    """Raises BadStreak if by `step` the guard has counted `config.max_bad_steps` in a row.

    It is that of the step at which they were reached, whenever the guard is looked at.

    Args:
      guard: as numbers.
      cursor_of: (step) -> batches consumed by then.
    """
    most, late = config["max_bad_steps"], guard["in_a_row"] - config["max_bad_steps"]
    if late >= 0:
        reason = (
            f"{guard['name']} was not finite at step {guard['step']}, the first of {most} in a row"
        )
        reached, guard = step - late, {**guard, "skipped": guard["skipped"] - late}
        raise BadStreak(reason, reached - most, reached, cursor_of(reached), guard)


def check_state(state: State, step: int, cursor: int) -> None:
    """Raises BadStreak if any part of a state that shall be saved is not finite."""
    name = nonfinite_part(state)
    if name:
        reason = f"{name} is not finite at step {step}"
        raise BadStreak(reason, step - 1, step, cursor, counts(state.guard))


def gone_back(
    run: build.Run, workdir: pathlib.Path, mesh: jax.sharding.Mesh, streak: BadStreak
) -> State:
    """The newest checkpoint before a streak, moved past its data, at lower learning rates.

    Raises:
      FloatingPointError: if the run has gone back `config.max_rollbacks` times already.
    """
    config, guard = run.config, streak.guard
    if guard["rollbacks"] >= config["max_rollbacks"]:
        raise FloatingPointError(story(config, workdir, streak))
    there = checkpoint.steps(workdir)
    checkpoint.set_aside(workdir, step_before(there, streak.before), "rolled_back")
    state = start.restore(run, workdir, mesh)
    new = {
        "skipped": np.int32(guard["skipped"]),
        "in_a_row": np.int32(0),
        "rollbacks": np.int32(guard["rollbacks"] + 1),
        "lr_scale": np.float32(guard["lr_scale"] * config["rollback_lr_scale"]),
        "step": np.int32(guard["step"]),
    }
    changed = {"cursor": np.int32(streak.cursor), **new}
    changed = parallel.put(changed, parallel.replicated(mesh))
    cursor = changed.pop("cursor")
    return state.replace(cursor=cursor, guard=state.guard | changed)


def step_before(there: Sequence[int], before: int) -> int:
    """The newest of the checkpoints `there` at or before step `before`, else the oldest."""
    return max((step for step in there if step <= before), default=there[0])


def say(written: log.Log, streak: BadStreak, state: State) -> None:
    """Writes down that the run went back from a streak to `state`."""
    step, scale = int(state.step), float(state.guard["lr_scale"])
    written.say(f"warning: {streak}; back to step {step}, learning rates times {scale:g}")
    skipped = streak.guard["skipped"]
    row = {"from": streak.step, "cursor": streak.cursor, "skipped": skipped, "lr_scale": scale}
    written.write(step, "rollback", row)


def story(config: Mapping[str, Any], workdir: pathlib.Path, streak: BadStreak) -> str:
    """The end of a run that going back did not help, in one paragraph."""
    before = log.rollbacks(workdir)
    went = "; ".join(
        f"from step {r['from']} to step {r['step']}, on with batch {r['cursor']} at "
        f"{r['lr_scale']:g} times the learning rates"
        for r in before
    )
    times = streak.guard["rollbacks"]
    went = f"It had gone back {times} times before ({went or 'rows lost'}). " if times else ""
    kept = ", ".join(map(str, checkpoint.steps(workdir)))
    return (
        f"{streak}. {went}config.max_rollbacks = {config['max_rollbacks']} allows no more, so the "
        f"run stops; {streak.guard['skipped']} steps were skipped in all. The checkpoints of steps "
        f"{kept} are kept. Look at the data of the batches before number {streak.cursor}, or try a "
        "lower learning rate, config.optimizer.*.clip_norm or a float32 precision"
    )
