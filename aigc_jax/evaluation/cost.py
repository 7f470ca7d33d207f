"""What a run costs: parameters, operations, memory and time, in training and in sampling."""

import pathlib
import statistics
import time
from collections.abc import Callable

import jax

from aigc_jax import build, core, describe, samples
from aigc_jax.evaluation.results import Findings, Metric, attempt, measured
from aigc_jax.evaluation.runs import rows_of

IMAGES, TEXTS = 128, 16  # samples that the rate is measured on


def add(
    found: Findings,
    run: build.Run,
    state: core.State,
    tokenizer: object,
    workdir: pathlib.Path,
    seed: int,
) -> None:
    """Costs of a run as it was trained, and of its sampler on this machine."""
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    found.metrics["parameters"] = Metric(parameters, 1, "of all networks")
    measured(found, "flops_per_example", lambda: _flops(run))
    batches = f"batches of {run.config['batch_size']:,}"
    attempt(found, "training_speed", lambda: found.metrics.update(_trained(workdir, batches)))
    sampled = lambda: found.metrics.update(_sampled(run, state, tokenizer, seed))
    attempt(found, "sampling_speed", sampled)


def _flops(run: build.Run) -> Metric:
    counted, examples = describe.update_flops(run)
    text = f"of one update of {examples:,} examples, from its lowered operations, loops unrolled"
    return Metric(counted.total / examples, examples, text, unit="FLOP")


def _trained(workdir: pathlib.Path, batch: str) -> dict[str, Metric]:
    """Speed and memory of the training itself, from the run's own rows."""
    rows = [row for row in rows_of(workdir) if row["split"] == "train"]
    speeds = [row["examples_per_second"] for row in rows if "examples_per_second" in row]
    memory = [row["peak_memory_mib"] for row in rows if "peak_memory_mib" in row]
    found = {}
    if speeds:
        text = f"median of {len(speeds)} logged intervals of the training, {batch}"
        value = statistics.median(speeds)
        found["training_speed"] = Metric(value, len(speeds), text, {}, "higher", "examples/s")
    if memory:
        text = "most memory held while training: the device's, on a CPU the process's"
        found["peak_memory"] = Metric(max(memory), len(memory), text, {}, "lower", "MiB")
    return found


def _sampled(run: build.Run, state: core.State, tokenizer: object, seed: int) -> dict[str, Metric]:
    count = TEXTS if "tokens" in run.example.batch else IMAGES
    options = samples.check_options(run.algorithm, run.config["sampling"])
    draw = samples.sampler(run.algorithm, seed, options, count)
    cond = samples.unprompted(run.algorithm, run.info, tokenizer, count)
    first = _seconds(lambda: draw(state, count, cond))
    again = min(_seconds(lambda: draw(state, count, cond)) for _ in range(2))
    device = jax.devices()[0].device_kind
    text = f"from the call to the first batch of {count} on {device}, compiling included"
    rate = f"batches of {count} on {device}, compiled, the better of 2"
    return {
        "seconds_to_first_sample": Metric(first, count, text, {}, "lower", "s"),
        "sampling_speed": Metric(count / again, count, rate, {}, "higher", "samples/s"),
    }


def _seconds(call: Callable) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
