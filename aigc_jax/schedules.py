"""Pure `step -> f32 []` functions: for learning rates, beta, penalty weights alike.

Each takes the value it is about and returns its course over the steps, counted from 0. Where a
schedule asks for `steps` and the config names none, it gets the number of steps of the run.
"""

import math
from collections.abc import Callable
from typing import Annotated

import jax
import jax.numpy as jnp

from aigc_jax.ranges import at_least, between, up_to, within

Schedule = Callable[[jax.Array | int], jax.Array]


def course(schedule: Callable[[float], Schedule], value: float, option: str) -> Schedule:
    """What the schedule of an option, which may be a user's own, makes of a value.

    Raises:
      ValueError: it is no function of the step.
    """
    made = schedule(value)
    if not callable(made):
        raise ValueError(f"{option}: gives {made!r} for {value}, must give a function of the step")
    return made


def constant(value: float) -> Schedule:
    """Value at every step."""
    return lambda step: jnp.asarray(value, jnp.float32)


def linear(
    value: float,
    *,
    steps: Annotated[int, at_least(1)],
    begin: Annotated[int, at_least(0)] = 0,
    initial: Annotated[float, at_least(0)] = 0.0,
) -> Schedule:
    """From `initial` at step `begin` in a straight line to `value` at step `begin + steps`."""

    def schedule(step):
        return initial + (value - initial) * _progress(step, begin, steps)

    return schedule


def cosine(
    value: float,
    *,
    steps: Annotated[int, at_least(1)],
    final: Annotated[float, at_least(0)] = 0.0,
) -> Schedule:
    """Half a cosine from `value` at step 0 to `final` at step `steps` (SGDR, 2017)."""
    return warmup_cosine(value, steps=steps, warmup=0, final=final)


def warmup_cosine(
    value: float,
    *,
    steps: Annotated[int, at_least(1)],
    warmup: Annotated[int, at_least(0)],
    final: Annotated[float, at_least(0)] = 0.0,
) -> Schedule:
    """Linear to `value` over `warmup` steps, then half a cosine to `final` at step `steps`.

    Step t of the warm-up has (t + 1) / (warmup + 1) of the value, so that no update is wasted on a
    zero rate. A run of fewer steps than its warm-up ends on the way up.
    """

    def schedule(step):
        rise = (jnp.asarray(step, jnp.float32) + 1) / (warmup + 1)
        fall = 0.5 * (1 + jnp.cos(jnp.pi * _progress(step, warmup, steps - warmup)))
        return jnp.where(step < warmup, value * rise, final + (value - final) * fall)

    return schedule


def wsd(
    value: float,
    *,
    steps: Annotated[int, at_least(1)],
    warmup: Annotated[int, at_least(0)],
    decay: Annotated[int, at_least(0), within("steps", "warmup")],
    final: Annotated[float, at_least(0)] = 0.0,
) -> Schedule:
    """Warm-up, stable, decay: linear up over `warmup`, flat, linear to `final` in the last `decay`.

    The course of MiniCPM (arXiv 2404.06395): the flat part can be continued from at any time.
    """

    def schedule(step):
        rise = (jnp.asarray(step, jnp.float32) + 1) / (warmup + 1)
        fall = value + (final - value) * _progress(step, steps - decay, decay)
        return jnp.where(step < warmup, value * rise, fall)

    return schedule


def staircase(
    value: float,
    *,
    steps: Annotated[int, at_least(1)],
    stages: Annotated[int, between(1, 100)] = 8,
    factor: Annotated[float, between(0, 10)] = 10 ** (-1 / 7),
    growth: Annotated[float, up_to(100)] = 3,
) -> Schedule:
    """Constant in each of `stages`, each `growth` times as long as the one before.

    Stage i has value * factor^i and takes growth^i / (1 + growth + ... + growth^(stages - 1)) of
    the `steps`. With the defaults and value = 0.001 it is the schedule of Burda et al. 2016 (arXiv
    1509.00519), 0.001 * 10^(-i / 7) during 3^i passes for i = 0 .. 7, 3280 passes in all; fewer
    steps give a shorter one of the same shape.
    """
    ends = [sum(growth**i for i in range(stage + 1)) for stage in range(stages)]
    starts = [math.ceil(steps * end / ends[-1]) for end in ends[:-1]]  # of all stages but the first

    def schedule(step):
        stage = (jnp.asarray(step) >= jnp.asarray(starts)).sum()
        return jnp.asarray([value * factor**i for i in range(stages)], jnp.float32)[stage]

    return schedule


def _progress(step: jax.Array | int, begin: int, steps: int) -> jax.Array:
    """0 before `begin`, 1 after `begin + steps`, straight in between."""
    done = jnp.asarray(step) - begin  # of integers: float32 has not every one above 2^24
    return jnp.clip(done.astype(jnp.float32) / max(steps, 1), 0.0, 1.0)
