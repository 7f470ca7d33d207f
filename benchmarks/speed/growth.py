"""How our step time and memory grow with batch, width, context and image size.

    python -m benchmarks.speed.growth

Each size has processes of its own. An exponent is the slope of log(value) over log(size), by least
squares over all sizes and between the last two; beside the one of time stands the slope of the
step's FLOPs over all sizes. Memory is the peak less that of the process before it builds anything.
Rows go to benchmarks/results/growth.jsonl: workload, varied, sizes, step_ms, memory_mib, exponent,
exponent_last, expected, memory_exponent, memory_exponent_last.
"""

import contextlib
import os
import pathlib
import sys
import tempfile
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np

from benchmarks import report
from benchmarks.speed import measure, rounds, workloads
from benchmarks.speed.worker import OURS

SWEEPS = (
    ("gpt_small", "batch", (4, 16, 64)),
    ("gpt_small", "dim", (64, 128, 256)),
    ("gpt_small", "context", (64, 128, 256)),
    ("dcgan28", "batch", (32, 64, 128)),
    ("dcgan28", "size", (16, 32, 64)),
)
TURNS = 3
TURN = 0.4  # seconds


def flops(name: str, options: Mapping[str, Any]) -> float:
    """Model FLOPs of a training step, up to a factor.

    GPT: B T (6 (12 L D^2 + V D) + 12 L T D); convolutions of a fixed width: B S^2.
    """
    if not name.startswith("gpt"):
        return float(options["batch"] * options["size"] ** 2)
    layers, dim, context = options["layers"], options["dim"], options["context"]
    products = 6 * (12 * layers * dim**2 + options["vocab"] * dim)
    return float(options["batch"] * context * (products + 12 * layers * context * dim))


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The least-squares slope of log(value) over log(size)."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def point(workload: workloads.Workload, options: Mapping[str, Any]) -> tuple[float, float]:
    """Milliseconds per step, and MiB beyond those of an idle process.

    A first process compiles, so that the memory of the compiler is not in that of the second.
    """
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        for _ in range(2):
            worker = measure.start(workload.builder, OURS, options, pathlib.Path(folder))
            stack.callback(worker.close)
            worker.answer()
        steps = rounds.calibrate(lambda n: worker.ask(n)["seconds"], TURN)
        times = [worker.ask(steps)["seconds"] / steps for _ in range(TURNS)]
        return 1e3 * median(times), worker.known["peak_mib"] - worker.known["idle_mib"]


def sweep(name: str, varied: str, sizes: Sequence[int]) -> dict[str, Any]:
    """The row of one sweep."""
    workload = next(w for w in workloads.WORKLOADS if w.name == name)
    every = [{**workload.options, varied: size} for size in sizes]
    times, memory = zip(*(point(workload, options) for options in every), strict=True)
    return {
        "workload": name,
        "varied": varied,
        "sizes": list(sizes),
        "step_ms": times,
        "memory_mib": memory,
        "exponent": exponent(sizes, times),
        "exponent_last": exponent(sizes[-2:], times[-2:]),
        "expected": exponent(sizes, [flops(name, options) for options in every]),
        "memory_exponent": exponent(sizes, memory),
        "memory_exponent_last": exponent(sizes[-2:], memory[-2:]),
    }


def line(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as it is printed: lists as text."""
    lists = {name: value for name, value in row.items() if isinstance(value, list | tuple)}
    return {**row, **{name: " ".join(f"{v:.3g}" for v in values) for name, values in lists.items()}}


def main() -> int:
    """Measures every sweep on the CPU, prints the table and appends it; 1 where a size failed."""
    os.environ |= {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    rows = []
    for name, varied, sizes in SWEEPS:
        print(f"{name}: {varied} {sizes}", file=sys.stderr)
        try:
            rows.append(sweep(name, varied, sizes))
        except rounds.Failed as error:
            print(f"error: {name}, {varied}: {error}", file=sys.stderr)
    if rows:
        print(report.table([line(row) for row in rows]))
        print(report.append("growth", rows))
    return 0 if len(rows) == len(SWEEPS) else 1


if __name__ == "__main__":
    sys.exit(main())
