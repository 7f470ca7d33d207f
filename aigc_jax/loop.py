"""The one training loop: any algorithm, any data, to the configured step, from wherever it was."""

import collections
import functools
import math
import pathlib
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import jax
import numpy as np

from aigc_jax import (
    build,
    checkpoint,
    checks,
    core,
    failure,
    feed,
    finetune,
    health,
    launch,
    lock,
    memory,
    parallel,
    profile,
    refusals,
    rollback,
    samples,
    showing,
    start,
)
from aigc_jax import config as configs
from aigc_jax import workdir as workdirs
from aigc_jax.data.dataset import Dataset, Split
from aigc_jax.guard import BadStreak, as_numbers
from aigc_jax.log import Log


class Compiled(NamedTuple):
    """What runs on the devices, and the data that lives there."""

    step: Callable
    evaluate: Callable
    show: Callable
    arrays: Mapping[str, jax.Array]
    eval_arrays: Mapping[str, jax.Array]
    items: Callable  # (cursor) -> endless items for `step`
    eval_items: Callable  # () -> items and weights for `evaluate`


class Tools(NamedTuple):
    """What the loop tells and asks around it."""

    record: Mapping[str, Any]  # stored with every checkpoint
    log: Log
    writer: checkpoint.Writer
    stop_requested: Callable[[int], bool]  # (step)
    alive: Callable[[], None]
    traced: Callable[..., None]  # (step done, results of the last), see `profile.tracing`


def train(config: Mapping[str, Any], workdir: pathlib.Path) -> core.State:
    """Trains `config` in `workdir` to `config["steps"]` and returns the last state.

    Goes on from the newest whole checkpoint in the workdir. Ctrl-C and SIGTERM save and return.
    Steps that are not finite are skipped; after too many in a row the run goes back to the
    checkpoint before them, and on with later data at a lower learning rate.

    Raises:
      ValueError: for a config that cannot work or that is not the workdir's, before any work.
      FloatingPointError: if going back does not help, with the whole story.
    """
    with rules_for(workdir, config):
        checks.check(config)
        mesh = parallel.make_mesh(config["mesh"])
        parallel.check_batch(config["batch_size"], config["accumulate"], mesh)
        tokenizer = finetune.tokenizer_of(config["init_from"], config["data"]["name"])
        run = build.run(config, build.describe_data(config, tokenizer))
        samples.check(run)
        memory.check_batch(run, mesh)
    with (
        lock.locked(workdir),
        launch.stop_requests() as stop_requested,
        failure.watchdog(config["stall_seconds"]) as alive,
    ):
        former = workdirs.former(workdir, config)
        workdirs.check_corpus(workdir, run.info)
        state = start.resumed(run, workdir, mesh)
        if state is not None and int(state.step) == config["steps"]:
            print(f"{workdir} has done its {config['steps']} steps; there is nothing to train")
            return state
        with rules_for(workdir, config):
            dataset = build.load_data(config, tokenizer)
        if former:
            dataset = workdirs.as_begun(dataset, former.record)
        record = workdirs.about(config, dataset, former)
        run = run._replace(digest=record["digest"], info=dataset.info)
        state = start.first_state(run, mesh) if state is None else state
        checkpoint.check_space(workdir, state, checkpoint.most_at_once(config))
        if jax.process_index() == 0:
            workdirs.write(workdir, record)
            print(workdirs.announce(record, state, mesh, workdir), flush=True)
        compiled, streak, span = None, None, configs.profiled_steps(config["profile_steps"])
        while True:
            with (
                _log(config, workdir, state) as log,
                _writer(config, workdir) as writer,
                failure.leaving(),
                profile.tracing(span, config["steps"], workdir / "profile", log.forgiven) as traced,
            ):
                showing.cut_back(log, int(state.step))
                if streak:
                    rollback.say(log, streak, state)
                if not int(state.step):
                    # A place that cannot be written to costs seconds now, and hours later.
                    writer.save(state, record, {})
                    writer.wait()
                compiled = compiled or compile_run(run, dataset, mesh)
                tools = Tools(record, log, writer, stop_requested, alive, traced)
                try:
                    return loop(run, dataset, compiled, state, tools)
                except BadStreak as error:
                    streak = error
                except ValueError as error:  # not the user's input any more: keep the traceback
                    raise RuntimeError(f"training stopped: {error}") from error
            state = rollback.gone_back(run, workdir, mesh, streak)


def rules_for(workdir: pathlib.Path, config: Mapping[str, Any]) -> AbstractContextManager:
    """Where a run goes on, rules that it began without are said; in a new one they are errors."""
    goes_on = workdirs.continues(workdir, config)
    return refusals.told() if goes_on else nullcontext()


def _log(config: Mapping[str, Any], workdir: pathlib.Path, state: core.State) -> Log:
    rollbacks = int(state.guard["rollbacks"])
    return Log(workdir, config["steps"], int(state.step), rollbacks, jax.process_index() == 0)


def _writer(config: Mapping[str, Any], workdir: pathlib.Path) -> checkpoint.Writer:
    best = (config["keep_best"], checks.best_mode(config))
    return checkpoint.Writer(workdir, config["keep_last"], *best, config["keep_every"])


def loop(
    run: build.Run, dataset: Dataset, compiled: Compiled, state: core.State, tools: Tools
) -> core.State:
    """Steps, rows, evaluations, samples and checkpoints, to the last step or a stop request.

    Raises:
      BadStreak: after `config.max_bad_steps` steps in a row that were not finite.
    """
    config, per_call = run.config, feed.steps_per_call(run.config, dataset.train)
    record, log, writer, stop_requested, alive, traced = tools
    batches = run.algorithm.batches_per_step
    run_key = core.stream(config["seed"], core.STEP)
    items = compiled.items(int(state.cursor))
    step, rows, values = int(state.step), [], {}
    cursor_of = lambda at, to=int(state.cursor) - step * batches: to + at * batches
    history, warned, queued = collections.deque(maxlen=health.KEPT), set(), collections.deque()
    skipped, unknown = int(state.guard["skipped"]), set()
    clock, clock_step, row_before, rate = time.perf_counter(), step, step, 0.0
    while step < config["steps"]:
        alive()
        writer.check()
        traced(step)
        state, metrics, guard = compiled.step(state, compiled.arrays, next(items), run_key)
        step += per_call
        queued.append((step, jax.tree.leaves(metrics)[0]))
        traced(step, metrics)
        last = step == config["steps"]
        stops = stop_requested(step)
        evaluates = step % config["eval_every"] == 0 or last
        due = step % config["save_every"] == 0 or last
        if step % config["log_every"] == 0:
            rows.append((step, metrics, guard))
        if evaluates or due or stops:
            jax.block_until_ready(metrics)  # so that all rows read now share one measured time
        # A row is read when the next one comes, so the host never waits for the devices.
        while len(rows) > (0 if evaluates or due or stops else 1):
            row_step, row, row_guard = rows.pop(0)
            row_values = _last(row)
            now = time.perf_counter()
            done = clock_step  # of the steps that were only queued, the last that is done
            while queued and queued[0][1].is_ready():
                done = queued.popleft()[0]
            if done > clock_step:
                examples = (done - clock_step) * config["batch_size"] * batches
                rate, clock, clock_step = examples / (now - clock), now, done
            seen = as_numbers(row_guard, state, row)
            share = (seen["skipped"] - skipped) / (row_step - row_before)
            row_before, skipped = row_step, seen["skipped"]
            row_values["examples_per_second"] = round(rate, 1)
            row_values["peak_memory_mib"] = round(launch.peak_memory())
            log.write(row_step, "train", _finite(row_values) | {"nonfinite_share": share})
            if share and seen["step"] not in warned:
                warned.add(seen["step"])
                log.say(
                    f"warning: {seen['name']} was not finite from step {seen['step']} on; skipped"
                )
            rollback.check(config, seen, row_step, cursor_of)
            history.append({"step": row_step, **row_values})
            about = (config["steps"], config["batch_size"], seen["trend"])
            for signal, line in health.warnings(list(history), *about).items():
                if signal not in warned:
                    log.say(line)
                    warned.add(signal)
        # A stop request changes nothing of what would come: the streak is for the next start.
        if evaluates or due:
            seen = as_numbers(guard, state, metrics)
            rollback.check(config, seen, step, cursor_of)
        if evaluates:
            values = evaluate(run, compiled, state)
            log.write(step, run.info.eval_split, _finite(values))
            for line in health.unmeasured(values, unknown, step, run.info.eval_split):
                log.say(line)
            unknown = values.keys() - _finite(values).keys()
        # In a streak the state is still that before it: only a run that ends here saves it.
        if last or stops or (due and not seen["in_a_row"]):
            rollback.check_state(state, step, cursor_of(step))
            streak = int(guard["in_a_row"]) > 0  # what the next start may have to go back to stays
            writer.save(state, record, values if evaluates else {}, keep_all=streak)
        if evaluates:  # after the save: what only shows may fail
            compiled.show(state, step, log)
        if evaluates or due or stops:
            clock, clock_step = time.perf_counter(), step
            queued.clear()
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


def evaluate(run: build.Run, compiled: Compiled, state: core.State) -> dict[str, float]:
    """The averages sum(w v) / sum(w) over the evaluation split, with averaged parameters."""
    key = core.stream(run.config["seed"], core.EVAL)
    parts = [
        compiled.evaluate(state, compiled.eval_arrays, item, weight, jax.random.fold_in(key, i))
        for i, (item, weight) in enumerate(compiled.eval_items())
    ]
    totals = jax.tree.map(lambda *xs: np.sum(np.asarray(xs, np.float64)), *jax.device_get(parts))
    return {name: float(total / weight) for name, (total, weight) in totals.items()}


def compile_run(run: build.Run, dataset: Dataset, mesh: jax.sharding.Mesh) -> Compiled:
    """The compiled calls of a run, and its data on the mesh."""
    _, shardings = start.layout(run, mesh)
    gather, eval_gather = feed.gather_of(dataset.train), feed.gather_of(dataset.eval)
    per_call = feed.steps_per_call(run.config, dataset.train)
    gathers = None if run.config["parallel"] == "pmap" else shardings
    steps = parallel.many_steps(run.algorithm, run.prepare, gather, per_call, gathers)
    whole = parallel.replicated(mesh)
    return Compiled(
        parallel.compile_step(steps, mesh, shardings, run.config["parallel"]),
        parallel.compile_eval(run.algorithm, run.normalise, eval_gather, mesh, shardings),
        showing.shower(run, dataset, whole),
        parallel.put(dataset.train.arrays or {}, whole),
        parallel.put(dataset.eval.arrays or {}, whole),
        _items(run, dataset.train, mesh),
        _eval_items(run, dataset.eval, mesh),
    )


def _items(run: build.Run, split: Split, mesh: jax.sharding.Mesh) -> Callable:
    """(cursor) -> the endless items of training from batch `cursor` on."""
    config, batches = run.config, run.algorithm.batches_per_step
    steps = feed.steps_per_call(config, split)
    sizes = {"batch_size": config["batch_size"], "batches_per_step": batches, "steps": steps}
    drawn = functools.partial(feed.training_items, split, seed=config["seed"], **sizes)
    if jax.process_count() == 1:
        return lambda cursor: drawn(cursor=cursor)
    where = parallel.batched(mesh, axis=1)
    if split.arrays is not None:
        return lambda cursor: (parallel.put(item, where) for item in drawn(cursor=cursor))
    rows = parallel.rows_of_process(where, (steps, config["batch_size"] * batches))
    whole = functools.partial(parallel.batch_from_rows, rows=rows, sharding=where)
    return lambda cursor: map(whole, drawn(cursor=cursor, rows=rows))


def _eval_items(run: build.Run, split: Split, mesh: jax.sharding.Mesh) -> Callable:
    """() -> (item, weight) over the evaluation split; every process reads all of it."""
    size, batches = run.config["batch_size"], run.config["eval_batches"]
    drawn = functools.partial(feed.evaluation_items, split, size, batches)
    if jax.process_count() == 1:
        return drawn
    return lambda: (parallel.put(pair, parallel.batched(mesh)) for pair in drawn())
