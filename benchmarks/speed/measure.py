"""One row of the table: starts the processes of a workload, has them take turns, compares them."""

import contextlib
import importlib.metadata
import json
import os
import pathlib
import sys
import tempfile
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from benchmarks import report
from benchmarks.speed import quiet, roofline, rounds, workloads
from benchmarks.speed.worker import OURS

UNCOMPILED = ("eager", "loader", "no_cache")


def start(
    builder: str, variant: str, options: Mapping[str, Any], cache: pathlib.Path
) -> rounds.Worker:
    """A worker of `ours`, or of a mode of the twin, whose compilers keep results below `cache`."""
    package = workloads.OURS if variant == OURS else workloads.TWINS
    words = ["-m", "benchmarks.speed.worker", f"{package}.{builder}", variant]
    env = {
        "JAX_COMPILATION_CACHE_DIR": str(cache / "xla"),
        "TORCHINDUCTOR_CACHE_DIR": str(cache / "inductor"),
        "TRITON_CACHE_DIR": str(cache / "triton"),
        "PYTHONPATH": os.pathsep.join(filter(None, (str(report.ROOT), os.getenv("PYTHONPATH")))),
    }
    return rounds.Worker([sys.executable, *words, json.dumps(dict(options))], env)


def row(
    workload: workloads.Workload, suite: str, number: int, rates: Mapping[str, float]
) -> dict[str, Any]:
    """The measured row of a workload, in the keys that `table` lists.

    Raises:
      rounds.Failed: if ours fails.
      ValueError: if a twin does not have as many parameters as ours.
    """
    with contextlib.ExitStack() as stack:
        cache = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        cold = start(workload.builder, OURS, workload.options, cache)
        stack.callback(cold.close)
        cold.answer()
        cold.close()
        workers, steps, failed = warm(workload, cache, stack)
        check_parameters({name: worker.known for name, worker in workers.items()})
        seconds, died, usage = rounds.take_turns(workers, steps, number)
        known = {name: worker.known for name, worker in workers.items()}
    failed |= died
    if OURS in failed:
        raise rounds.Failed(failed[OURS])
    return {
        "workload": workload.name,
        "title": workload.title,
        "suite": suite,
        "rounds": number,
        **work(workload, known),
        **compared(seconds, workload.count),
        **goals(workload, compared(seconds, workload.count)),
        **shares(workload, known, seconds, rates),
        **resources(known, cold.known, seconds),
        **quietness(usage),
        "note": workload.note,
        "failed": failed,
        "torch": importlib.metadata.version("torch"),
        "steps_per_turn": steps,
        "seconds": seconds,
    }


def warm(
    workload: workloads.Workload, cache: pathlib.Path, stack: contextlib.ExitStack
) -> tuple[dict[str, rounds.Worker], dict[str, int], dict[str, str]]:
    """The warm workers, their steps per turn, and why others failed; the stack ends them."""
    workers, steps, failed = {}, {}, {}
    for variant in (OURS, *workload.modes):
        worker = start(workload.builder, variant, workload.options, cache)
        stack.callback(worker.close)
        try:
            worker.answer()
            steps[variant] = rounds.calibrate(lambda n, w=worker: w.ask(n)["seconds"])
            workers[variant] = worker
        except rounds.Failed as error:
            if variant == OURS:
                raise
            failed[variant] = str(error)
            worker.close()
    return workers, steps, failed


def check_parameters(known: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuses to compare networks of different sizes.

    Raises:
      ValueError: if a twin does not have as many parameters as ours.
    """
    expected = known[OURS]["parameters"]
    for name, values in known.items():
        if values["parameters"] != expected:
            raise ValueError(
                f"the twin ({name}) has {values['parameters']:,} parameters, ours {expected:,}; "
                "only equal networks are compared"
            )


def ratio(theirs: Sequence[float], ours: Sequence[float]) -> tuple[float, float, float]:
    """Median, least and greatest of theirs / ours over the rounds that both took part in."""
    ratios = [t / o for t, o in zip(theirs, ours, strict=False)]
    return median(ratios), min(ratios), max(ratios)


def best_compiled(seconds: Mapping[str, Sequence[float]]) -> str:
    """The compiled mode of the twin with the least median, "" without any."""
    modes = [name for name in seconds if name != OURS and name not in UNCOMPILED]
    return min(modes, key=lambda name: median(seconds[name]), default="")


def compared(seconds: Mapping[str, Sequence[float]], count: int) -> dict[str, Any]:
    """Times, speed, and the ratios to eager and to the best compiled PyTorch."""
    ours, mode = seconds[OURS], best_compiled(seconds)
    found = {"ours_ms": 1e3 * median(ours), "ours_per_second": count / median(ours)}
    found["compiled_mode"] = mode
    for name, key in (("eager", "eager"), ("compiled", mode)):
        if key in seconds:
            found[f"{name}_ms"] = 1e3 * median(seconds[key])
            middle, low, high = ratio(seconds[key], ours)
            found |= {f"vs_{name}": middle, f"vs_{name}_low": low, f"vs_{name}_high": high}
    return found


def flops_of(known: Mapping[str, Mapping[str, Any]]) -> float:
    """FLOPs of a step as the first side that counts them gives them, 0 where none does."""
    return next((values["flops"] for values in known.values() if values["flops"]), 0.0)


def work(workload: workloads.Workload, known: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What one step is."""
    return {
        "unit": workload.unit,
        "count": workload.count,
        "precision": workload.options.get("precision", "float32"),
        "parameters": known[OURS]["parameters"],
        "gflop_per_step": flops_of(known) / 1e9,
    }


def goals(workload: workloads.Workload, ratios: Mapping[str, Any]) -> dict[str, Any]:
    """The goals, and whether every ratio that was measured reaches its own."""
    if workload.goal == (None, None):
        return {}
    pairs = [p for p in zip(("eager", "compiled"), workload.goal, strict=True) if p[1] is not None]
    met = [ratios[f"vs_{name}"] >= least for name, least in pairs if f"vs_{name}" in ratios]
    return {f"goal_{name}": least for name, least in pairs} | {"goal_met": bool(met) and all(met)}


def shares(
    workload: workloads.Workload,
    known: Mapping[str, Mapping[str, Any]],
    seconds: Mapping[str, Sequence[float]],
    rates: Mapping[str, float],
) -> dict[str, float]:
    """The measured roofline, and the shares of it that each side reaches."""
    found = {f"{name}_gflops": v / 1e9 for name, v in rates.items() if name.startswith("gemm")}
    found |= {f"{name}_gbs": v / 1e9 for name, v in rates.items() if name.startswith("copy")}
    names = {"ours": OURS, "eager": "eager", "compiled": best_compiled(seconds)}
    for name, key in names.items():
        if flops_of(known) and key in seconds:
            took = median(seconds[key])
            found[f"roofline_{name}"] = roofline.share(flops_of(known), took, rates, "gemm")
    if "tokens" in workload.options:
        read = roofline.decoding_bytes(workload.options, known[OURS]["parameters"])
        found["bandwidth_ours"] = roofline.share(read, median(seconds[OURS]), rates, "copy")
    return found


def resources(
    known: Mapping[str, Mapping[str, Any]],
    cold: Mapping[str, Any],
    seconds: Mapping[str, Sequence[float]],
) -> dict[str, float]:
    """Peak memory, and seconds from the builder to the first step's end less those of a step."""
    mode = best_compiled(seconds)
    names = {"ours": OURS, "eager": "eager", "compiled": mode}
    names = {name: key for name, key in names.items() if key in seconds}
    extra = lambda values, key: values["build_s"] + values["first_s"] - median(seconds[key])
    found = {f"memory_{name}_mib": known[key]["peak_mib"] for name, key in names.items()}
    found |= {f"start_{name}_s": extra(known[key], key) for name, key in names.items()}
    found["start_cached_s"] = found.pop("start_ours_s")
    return found | {"start_cold_s": extra(cold, OURS)}


def quietness(usage: quiet.Usage) -> dict[str, Any]:
    """The share of the CPUs that others used in the turns, None where it is not known."""
    if not usage.elapsed:
        return {"others_cpu": None, "quiet": None}
    share = quiet.others(usage, len(os.sched_getaffinity(0)))
    return {"others_cpu": share, "quiet": share <= quiet.LIMIT}
