"""Which compiler options make a step faster: each candidate beside the project's own options.

    python -m benchmarks.speed.flags --workload=gpt_small
    python -m benchmarks.speed.flags --workload=gpu_gpt2

One candidate at a time is added to `aigc_jax.compiling.OPTIONS`; two warm processes take turns, and
a ratio above 1 means that the candidate is faster. Rows go to benchmarks/results/flags.jsonl. What
wins on the real steps is then written into `aigc_jax/compiling.py`, the one place for it. An option
that the compiler does not know is compiled without, so its ratio is near that of "none".
"""

import argparse
import contextlib
import pathlib
import sys
import tempfile
from collections.abc import Mapping
from typing import Any

import jax

from aigc_jax import compiling
from benchmarks import report
from benchmarks.speed import measure, rounds, workloads
from benchmarks.speed.worker import OURS

YNN, FUSION = "xla_cpu_experimental_ynn_fusion_type", "LIBRARY_FUSION_TYPE_"
CANDIDATES = {
    "cpu": [
        {},
        {YNN: ""},
        {YNN: f"{FUSION}INDIVIDUAL_DOT"},
        {YNN: f"{FUSION}DOT,{FUSION}INDIVIDUAL_DOT,{FUSION}REDUCE"},
        {YNN: f"{FUSION}DOT,{FUSION}INDIVIDUAL_DOT,{FUSION}REDUCE,{FUSION}ELTWISE"},
        {"xla_cpu_prefer_vector_width": "512"},
        {"xla_cpu_enable_fast_math": "true"},
    ],
    "gpu": [
        {},
        {"xla_gpu_autotune_level": "4"},
        {"xla_gpu_triton_gemm_any": "true"},
        {"xla_gpu_enable_while_loop_double_buffering": "true"},
        {"xla_gpu_enable_latency_hiding_scheduler": "true"},
        {"xla_gpu_graph_min_graph_size": "1"},
        {"xla_gpu_force_conv_nhwc": "true"},
        {"xla_gpu_enable_cudnn_layer_norm": "true"},
        {"xla_gpu_experimental_enable_conv_fusion": "true"},
    ],
}


def compared(
    workload: workloads.Workload, candidate: Mapping[str, str], number: int
) -> dict[str, Any]:
    """The row of one candidate: our time per step over that with the candidate added."""
    own = compiling.OPTIONS.get(jax.default_backend(), {})
    every = {"own": own, "candidate": {**own, **candidate}}
    with contextlib.ExitStack() as stack:
        cache = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        workers, steps = {}, {}
        for name, options in every.items():
            given = {"builder": workload.builder, "options": workload.options}
            given |= {"precision": workload.options["precision"], "compiler_options": options}
            worker = measure.start("flagged:build", OURS, given, cache / name)
            stack.callback(worker.close)
            worker.answer()
            steps[name] = rounds.calibrate(lambda n, w=worker: w.ask(n)["seconds"])
            workers[name] = worker
        seconds, _, _ = rounds.take_turns(workers, steps, number)
    middle, low, high = measure.ratio(seconds["own"], seconds["candidate"])
    text = ", ".join(f"{k}={v}" for k, v in candidate.items()) or "none"
    return {"candidate": text, "ratio": middle, "low": low, "high": high}


def main(argv: list[str]) -> None:
    """Measures every candidate of the platform, prints a table and records it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [w.name for w in workloads.WORKLOADS if "precision" in w.options]
    parser.add_argument("--workload", default="gpt_small", choices=names)
    parser.add_argument("--rounds", type=int, default=5)
    flags = parser.parse_args(argv)
    workload = next(w for w in workloads.WORKLOADS if w.name == flags.workload)
    candidates = CANDIDATES.get(jax.default_backend(), [])
    rows = [compared(workload, candidate, flags.rounds) for candidate in candidates]
    print(report.table(rows))
    report.append("flags", [{"workload": workload.name, "rounds": flags.rounds} | r for r in rows])


if __name__ == "__main__":
    main(sys.argv[1:])
