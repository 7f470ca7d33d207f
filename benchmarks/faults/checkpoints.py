"""What a checkpoint costs: how long a save holds the loop up, and the speed of both ways."""

import pathlib
import tempfile
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

import jax

from aigc_jax import checkpoint, core

MEGABYTES = (10, 100, 1000)
LEAVES = 10
RESTORES = 3


def state_of(megabytes: int) -> core.State:
    """A state of ten arrays f32 of noise, `megabytes` million bytes in all."""
    length = megabytes * 1_000_000 // 4 // LEAVES
    noise = lambda i: jax.random.normal(jax.random.key(i), (length,))
    return core.new_state({"model": {f"leaf_{i}": noise(i) for i in range(LEAVES)}}, {})


@jax.jit
def _trained(state: core.State) -> core.State:
    return state.replace(step=state.step + 1, params=jax.tree.map(lambda x: x + 1, state.params))


def saves(state: core.State, workdir: pathlib.Path, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds that `save` takes to return, and until the checkpoint is in its place.

    The first save of each list touches new memory; the others are as in a long run.
    """
    stalls, whole = [], []
    with checkpoint.Writer(workdir, 2, "", "min") as writer:
        for _ in range(rounds + 1):
            state = jax.block_until_ready(_trained(state))
            start = time.perf_counter()
            writer.save(state, {}, {})
            stalls.append(time.perf_counter() - start)
            writer.wait()
            whole.append(time.perf_counter() - start)
    return stalls, whole


def restores(state: core.State, workdir: pathlib.Path) -> list[float]:
    """Seconds of reading the newest checkpoint onto the device and checking every digest."""
    place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    target = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), state)
    times = []
    for _ in range(RESTORES + 1):
        start = time.perf_counter()
        jax.block_until_ready(checkpoint.restore(workdir, target))
        times.append(time.perf_counter() - start)
    return times[1:]


def row_of(megabytes: int, rounds: int) -> dict[str, Any]:
    """A row of `results/checkpoints.jsonl`: medians, least and greatest."""
    state = jax.block_until_ready(state_of(megabytes))
    with tempfile.TemporaryDirectory(prefix="aigc_jax_checkpoints_") as folder:
        stalls, whole = saves(state, pathlib.Path(folder), rounds)
        reads = restores(state, pathlib.Path(folder))
    background = [b - a for a, b in zip(stalls, whole, strict=True)]
    speeds = lambda times: [megabytes / seconds for seconds in times]
    return {
        **{"megabytes": megabytes, "rounds": rounds, "first_stall_ms": 1e3 * stalls[0]},
        **_spread("stall_ms", [1e3 * seconds for seconds in stalls[1:]]),
        **_spread("save_mb_s", speeds(background[1:])),
        **_spread("restore_mb_s", speeds(reads)),
    }


def _spread(name: str, values: Sequence[float]) -> dict[str, float]:
    return {name: median(values), f"{name}_low": min(values), f"{name}_high": max(values)}


def measure(rounds: int) -> list[dict[str, Any]]:
    """A row for each size of state."""
    return [row_of(megabytes, rounds) for megabytes in MEGABYTES]
