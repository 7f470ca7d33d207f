"""What the project adds to the bare jitted step, each figure the median of 7.

    python -m benchmarks.overhead --config=configs/gan_digits.py

- loop: wall time per step of `loop.loop`, without its evaluations and saves, over that of calling
  the compiled step with its data on the device; at most 5 % where a step takes 5 ms or more;
- import: a fresh process that imports train.py and what its `main` imports; at most 2.5 s;
- start: from starting train.py to the end of its first step, with data and compiled programs
  cached by a start before; at most 6 s;
- checkpoint: how long `Writer.save` keeps the loop from going on, for a state of 100 MB, saves
  after the first; at most 0.5 s.
"""

import argparse
import contextlib
import io
import itertools
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp

from aigc_jax import build, checkpoint, config, core, feed, launch, log, loop, parallel, start
from benchmarks import report

WARM, STEPS = 5, 50  # steps before and within a measured stretch
IMPORTS = "import train; from aigc_jax import build, config, describe, launch, loop"
MEGABYTES = 100


def loop_and_bare(completed: Mapping[str, Any], rounds: int) -> tuple[list[float], list[float]]:
    """Seconds per step of the loop and of the compiled step alone, measured in turns."""
    completed = {**completed, "steps": WARM + STEPS, "eval_every": 10**9, "save_every": 10**9}
    completed |= {"num_samples": 1, "eval_batches": 1, "steps_per_call": 1}
    mesh = parallel.make_mesh(completed["mesh"])
    dataset = build.load_data(completed)
    run = build.run(completed, dataset.info)
    compiled = loop.compile_run(run, dataset, mesh)
    looped, bare = [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            state = start.first_state(run, mesh)
            looped.append(loop_seconds(run, dataset, compiled, state, pathlib.Path(folder)))
        state = start.first_state(run, mesh)
        bare.append(bare_seconds(run, dataset, compiled, state))
    return looped, bare


def loop_seconds(run, dataset, compiled, state, workdir: pathlib.Path) -> float:
    """Seconds per step of `loop.loop` from step WARM to its last."""
    times = []
    compiled = compiled._replace(step=noting(compiled.step, (WARM, WARM + STEPS), times))
    with (
        contextlib.redirect_stdout(io.StringIO()),
        log.Log(workdir, run.config["steps"]) as rows,
        checkpoint.Writer(workdir, 1, "", "min") as writer,
    ):
        nothing = lambda *_: None
        tools = loop.Tools({}, rows, writer, lambda step: False, nothing, nothing)
        loop.loop(run, dataset, compiled, state, tools)
    return (times[1] - times[0]) / STEPS


def noting(step: Callable, counts: Sequence[int], times: list[float]) -> Callable:
    """`step`, which adds the time at which its calls number `counts` were done to `times`."""
    calls = itertools.count(1)

    def noted(*args):
        result = step(*args)
        if next(calls) in counts:
            jax.block_until_ready(result)
            times.append(time.perf_counter())
        return result

    return noted


def bare_seconds(run, dataset, compiled, state) -> float:
    """Seconds per call of the compiled step on one batch, called again and again."""
    item = next(
        feed.training_items(
            dataset.train,
            seed=0,
            cursor=0,
            batch_size=run.config["batch_size"],
            batches_per_step=run.algorithm.batches_per_step,
            steps=1,
        )
    )
    key = core.stream(0, core.STEP)
    item = jax.device_put(item)
    for count in range(WARM + STEPS):
        if count == WARM:
            jax.block_until_ready(state)
            began = time.perf_counter()
        state, _, _ = compiled.step(state, compiled.arrays, item, key)
    jax.block_until_ready(state)
    return (time.perf_counter() - began) / STEPS


def import_seconds(rounds: int) -> list[float]:
    """Wall time of fresh processes that import what train.py imports, after one that warms up."""
    times = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", IMPORTS], cwd=report.ROOT, check=True)
        times.append(time.perf_counter() - start)
    return times[1:]


def start_seconds(spec: str, rounds: int) -> list[float]:
    """Seconds from starting train.py to its first finished step; the first start has no cache."""
    times = []
    with tempfile.TemporaryDirectory() as folder:
        cache = {"JAX_COMPILATION_CACHE_DIR": f"{folder}/cache"}
        for count in range(rounds + 1):
            workdir = pathlib.Path(folder) / str(count)
            flags = [f"--config={spec}", f"--workdir={workdir}", "--config.log_every=1"]
            flags += ["--config.steps=1", "--config.eval_batches=1", "--config.num_samples=1"]
            start = time.time()
            subprocess.run(
                [sys.executable, "train.py", *flags],
                cwd=report.ROOT,
                env=os.environ | cache,
                stdout=subprocess.DEVNULL,
                check=True,
            )
            first = (workdir / "metrics.jsonl").read_text().splitlines()[0]
            times.append(json.loads(first)["time"] - start)
    return times


def checkpoint_seconds(rounds: int) -> list[float]:
    """Seconds that `save` takes to return, each after the save before is on disk."""
    leaves = {f"leaf_{i}": jnp.zeros((MEGABYTES * 250_000 // 10,)) for i in range(10)}
    state = core.new_state({"model": leaves}, {})
    update = jax.jit(
        lambda s: s.replace(step=s.step + 1, params=jax.tree.map(lambda x: x + 1, s.params)),
        donate_argnums=0,
    )
    times = []
    with (
        tempfile.TemporaryDirectory() as folder,
        checkpoint.Writer(pathlib.Path(folder), 2, "", "min") as writer,
    ):
        for _ in range(rounds + 1):
            state = jax.block_until_ready(update(state))
            start = time.perf_counter()
            writer.save(state, {}, {})
            times.append(time.perf_counter() - start)
            writer.wait()
    return times


def main(argv: list[str]) -> None:
    """Measures everything, prints a table and appends it to the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", default="configs/gan_digits.py")
    parser.add_argument("--rounds", type=int, default=7)
    flags = parser.parse_args(argv)
    launch.configure()
    start = start_seconds(flags.config, flags.rounds)
    imports = import_seconds(flags.rounds)
    looped, bare = loop_and_bare(build.configured(config.load(flags.config)), flags.rounds)
    extra = [a / b - 1 for a, b in zip(looped, bare, strict=True)]
    saves = checkpoint_seconds(flags.rounds)
    rows = [
        {"figure": "bare step, ms", "median": 1e3 * median(bare), "at most": "", "first": ""},
        {"figure": "loop over it, %", "median": 100 * median(extra), "at most": 5, "first": ""},
        {"figure": "import, s", "median": median(imports), "at most": 2.5, "first": ""},
        {"figure": "start, s", "median": median(start[1:]), "at most": 6, "first": start[0]},
        {"figure": "save, s", "median": median(saves[1:]), "at most": 0.5, "first": saves[0]},
    ]
    print(f"\n{flags.config}, median of {flags.rounds}\n\n{report.table(rows)}")
    about = {"config": flags.config, "rounds": flags.rounds}
    print(report.append("overhead", [about | row for row in rows]))


if __name__ == "__main__":
    main(sys.argv[1:])
