"""The one training loop: any algorithm, any data, to the configured step, from wherever it was."""

import collections
import math
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from aigc_jax import build, checkpoint, core, feed, finetune, health, launch, parallel, samples
from aigc_jax import config as configs
from aigc_jax import workdir as workdirs
from aigc_jax.data.dataset import Dataset
from aigc_jax.guard import check_finite, nonfinite_share
from aigc_jax.log import Log


class Compiled(NamedTuple):
    """What runs on the devices, and the data that lives there."""

    step: Callable
    evaluate: Callable
    show: Callable
    arrays: Mapping[str, jax.Array]
    eval_arrays: Mapping[str, jax.Array]


def train(config: Mapping[str, Any], workdir: pathlib.Path) -> core.State:
    """Trains `config` in `workdir` to `config["steps"]` and returns the last state.

    Goes on from the newest whole checkpoint in the workdir. Ctrl-C and SIGTERM save and return.

    Raises:
      ValueError: for a config that cannot work or that is not the workdir's, before any work.
      FloatingPointError: if a metric or parameter is not finite, naming it and its step.
    """
    build.check(config)
    mesh = parallel.make_mesh(config["mesh"])
    parallel.check_batch(config["batch_size"], config["accumulate"], mesh)
    tokenizer = finetune.tokenizer_of(config["init_from"])
    run = build.run(config, build.describe_data(config, tokenizer))
    samples.check_options(run.algorithm, config["sampling"])
    with launch.locked(workdir), launch.stop_requests() as stop_requested:
        workdirs.check(workdir, config)
        workdirs.check_corpus(workdir, run.info)
        state = resumed(run, workdir, mesh)
        if state is not None and int(state.step) == config["steps"]:
            print(f"{workdir} has done its {config['steps']} steps; there is nothing to train")
            return state
        dataset = build.load_data(config, tokenizer)
        record = workdirs.about(config, dataset)
        state = first_state(run, mesh) if state is None else state
        workdirs.write(workdir, record)
        print(workdirs.announce(record, state, mesh, workdir), flush=True)
        compiled = compile_run(run, dataset, mesh)
        with (
            Log(workdir, config["steps"], int(state.step)) as log,
            checkpoint.Writer(
                workdir, config["keep_last"], config["keep_best"], config["keep_best_mode"]
            ) as writer,
        ):
            try:
                return loop(run, dataset, compiled, state, record, log, writer, stop_requested)
            except ValueError as error:  # not the user's input any more: keep the traceback
                raise RuntimeError(f"training stopped: {error}") from error


def loop(
    run: build.Run,
    dataset: Dataset,
    compiled: Compiled,
    state: core.State,
    record: Mapping[str, Any],
    log: Log,
    writer: checkpoint.Writer,
    stop_requested: Callable[[], bool],
) -> core.State:
    """Steps, rows, evaluations, samples and checkpoints, to the last step or a stop request."""
    config, per_call = run.config, feed.steps_per_call(run.config, dataset.train)
    examples_per_step = config["batch_size"] * run.algorithm.batches_per_step
    run_key = core.stream(config["seed"], core.STEP)
    items = feed.training_items(
        dataset.train,
        seed=config["seed"],
        cursor=int(state.cursor),
        batch_size=config["batch_size"],
        batches_per_step=run.algorithm.batches_per_step,
        steps=per_call,
    )
    trace, tracing = configs.profiled_steps(config["profile_steps"]), False
    step, rows, values = int(state.step), [], {}
    history, warned = collections.deque(maxlen=200), set()
    clock, clock_step, row_before, rate = time.perf_counter(), step, step, 0.0
    while step < config["steps"]:
        if trace and not tracing and trace[0] <= step < trace[1]:
            jax.profiler.start_trace(str(log.workdir / "profile"))
            tracing = True
        state, metrics, guard = compiled.step(state, compiled.arrays, next(items), run_key)
        step += per_call
        if tracing and step >= min(trace[1], config["steps"]):
            jax.block_until_ready(metrics)
            jax.profiler.stop_trace()
            tracing = False
        last = step == config["steps"]
        stops = stop_requested()
        evaluates = step % config["eval_every"] == 0 or last
        saves = step % config["save_every"] == 0 or last or stops
        if step % config["log_every"] == 0:
            rows.append((step, metrics, guard))
        # A row is read when the next one comes, so the host never waits for the devices.
        while len(rows) > (0 if evaluates or saves else 1):
            row_step, row, row_guard = rows.pop(0)
            row_values = _last(row)
            now = time.perf_counter()
            # Where steps are only queued, what this row waited for is all that is surely done.
            done = step if jax.tree.leaves(metrics)[0].is_ready() else row_step
            if done > clock_step:
                rate = (done - clock_step) * examples_per_step / (now - clock)
                clock, clock_step = now, done
            share = nonfinite_share(row_guard, row_before, row_step)
            row_before = row_step
            row_values["examples_per_second"] = round(rate, 1)
            row_values["peak_memory_mib"] = round(launch.peak_memory())
            log.write(row_step, "train", _finite(row_values) | {"nonfinite_share": share})
            check_finite(state, row, row_guard)
            history.append({"step": row_step, **row_values})
            for signal, line in health.warnings(list(history), config["steps"]).items():
                if signal not in warned:
                    log.say(line)
                    warned.add(signal)
        if evaluates or saves:
            check_finite(state, metrics, guard)
        if evaluates:
            values = evaluate(run, dataset, compiled, state)
            log.write(step, run.info.eval_split, values)
            compiled.show(state, step, log)
        if saves:
            writer.save(state, record, values if evaluates else {})
        if evaluates or saves:
            clock, clock_step = time.perf_counter(), step
        if stops and not last:
            log.say(f"stopped at step {step}; the same command goes on from there")
            break
    return state


def _last(metrics: Mapping[str, jax.Array]) -> dict[str, float]:
    """The metrics of the last step of a call, as Python numbers."""
    return {name: float(values[-1]) for name, values in jax.device_get(metrics).items()}


def _finite(values: Mapping[str, float]) -> dict[str, float]:
    """What of a row is a number, so that every row is valid JSON."""
    return {name: value for name, value in values.items() if math.isfinite(value)}


def evaluate(
    run: build.Run, dataset: Dataset, compiled: Compiled, state: core.State
) -> dict[str, float]:
    """The averages sum(w v) / sum(w) over the evaluation split, with averaged parameters."""
    key = core.stream(run.config["seed"], core.EVAL)
    items = feed.evaluation_items(
        dataset.eval, run.config["batch_size"], run.config["eval_batches"]
    )
    parts = [
        compiled.evaluate(state, compiled.eval_arrays, item, weight, jax.random.fold_in(key, i))
        for i, (item, weight) in enumerate(items)
    ]
    totals = jax.tree.map(lambda *xs: np.sum(np.asarray(xs, np.float64)), *jax.device_get(parts))
    return {name: float(total / weight) for name, (total, weight) in totals.items()}


def layout(run: build.Run, mesh: jax.sharding.Mesh) -> tuple[core.State, core.State]:
    """The abstract state, and where each of its leaves lives on the mesh."""
    shapes = core.shapes_of(run.algorithm)
    return shapes, parallel.state_shardings(shapes, mesh)


def compile_run(run: build.Run, dataset: Dataset, mesh: jax.sharding.Mesh) -> Compiled:
    """The compiled calls of a run, and its data on the mesh."""
    _, shardings = layout(run, mesh)
    gather, eval_gather = feed.gather_of(dataset.train), feed.gather_of(dataset.eval)
    per_call = feed.steps_per_call(run.config, dataset.train)
    steps = parallel.many_steps(run.algorithm, run.prepare, gather, per_call)
    whole = parallel.replicated(mesh)
    return Compiled(
        parallel.compile_step(steps, mesh, shardings, run.config["parallel"]),
        parallel.compile_eval(run.algorithm, run.normalise, eval_gather, mesh, shardings),
        samples.shower(run, dataset),
        parallel.put(dataset.train.arrays or {}, whole),
        parallel.put(dataset.eval.arrays or {}, whole),
    )


def restore(
    run: build.Run, workdir: pathlib.Path, mesh: jax.sharding.Mesh, step: int | None = None
) -> core.State:
    """The state of a checkpoint, newest by default, laid out on the mesh."""
    shapes, shardings = layout(run, mesh)
    place = lambda leaf, where: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where)
    return checkpoint.restore(workdir, jax.tree.map(place, shapes, shardings), step)


def resumed(run: build.Run, workdir: pathlib.Path, mesh: jax.sharding.Mesh) -> core.State | None:
    """The newest whole checkpoint of the workdir, None without any; damaged later ones make way."""
    if not checkpoint.steps(workdir):
        return None
    state = restore(run, workdir, mesh)
    checkpoint.set_aside(workdir, int(state.step))
    return state


def first_state(run: build.Run, mesh: jax.sharding.Mesh) -> core.State:
    """A pretrained start, else a fresh one."""
    _, shardings = layout(run, mesh)
    init = parallel.compile_init(run.algorithm, shardings)
    state = init(core.stream(run.config["seed"], core.INIT))
    if run.config["init_from"]:
        state = finetune.start_from(state, run.config["init_from"], run.config["init_params"])
    return state
