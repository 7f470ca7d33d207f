"""One warm process of one variant: builds it, then times as many steps as it is asked for.

    python -m benchmarks.speed.worker BUILDER VARIANT OPTIONS

BUILDER is "module:function", VARIANT "ours" or a mode of the twin, OPTIONS a JSON object. The
process writes one JSON line when it is built and has run its first step, then one for each line
`{"steps": n}` that it reads, and ends with its input. A variant that cannot be built or run
answers `{"failed": reason}`.
"""

import importlib
import json
import os
import pathlib
import resource
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from benchmarks.speed.timed import Timed

OURS = "ours"


def peak_mib(variant: str) -> float:
    """The most memory held so far in MiB: of the accelerator, on a CPU of the whole process."""
    if variant == OURS:
        import jax

        peak = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0)
    else:
        import torch

        peak = torch.cuda.max_memory_allocated() if torch.cuda.is_initialized() else 0
    return (peak or resident_peak()) / 2**20


def resident_peak() -> int:
    """The most bytes that this process has had in memory."""
    status = pathlib.Path("/proc/self/status")
    if status.exists():  # ru_maxrss would begin at the size of the process that started this one
        lines = status.read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def configure(variant: str, precision: str) -> None:
    """Sets the process up: ours as train.py does, a twin with all its threads and its precision."""
    if variant == OURS:
        from aigc_jax import launch

        launch.configure()
    else:
        from benchmarks.speed.twins import training

        training.configure(precision)


def built(builder: str, variant: str, options: Mapping[str, Any]) -> tuple[Timed, dict[str, Any]]:
    """The workload after its first step, and what is known of it: seconds, MiB, sizes."""
    configure(variant, options.get("precision", "float32"))
    module, _, function = builder.partition(":")
    build = getattr(importlib.import_module(module), function)
    idle = peak_mib(variant)
    start = time.perf_counter()
    timed = build(**options) if variant == OURS else build(variant, **options)
    ready = time.perf_counter()
    timed.steps(1)
    done = time.perf_counter()
    return timed, {
        "parameters": int(timed.parameters),
        "flops": float(timed.flops),
        "build_s": ready - start,
        "first_s": done - ready,
        "idle_mib": idle,
        "peak_mib": peak_mib(variant),
    }


def serve(
    requests: Iterable[str], answer: Callable[[dict[str, Any]], None], timed: Timed, variant: str
) -> None:
    """Answers each `{"steps": n}` with the seconds, CPU seconds and peak memory of n steps."""
    for line in requests:
        steps = json.loads(line)["steps"]
        cpu, start = time.process_time(), time.perf_counter()
        timed.steps(steps)
        seconds = time.perf_counter() - start
        cpu = time.process_time() - cpu
        answer({"seconds": seconds, "cpu_s": cpu, "peak_mib": peak_mib(variant)})


def reason(error: Exception) -> str:
    """Kind, first line and place of an error, in at most 300 characters."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    first = (str(error).strip().splitlines() or [""])[0]
    where = f" ({pathlib.Path(place.filename).name}:{place.lineno})"
    return f"{type(error).__name__}: {first}"[: 300 - len(where)] + where


def main(argv: list[str]) -> int:
    """Serves one variant until its input ends; 1 where it failed."""
    builder, variant, options = argv
    # What libraries print must not be read as an answer, so only this handle goes to the parent.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    answer = lambda values: print(json.dumps(values), file=answers, flush=True)
    try:
        timed, known = built(builder, variant, json.loads(options))
        answer(known)
        serve(sys.stdin, answer, timed, variant)
    except Exception as error:  # whatever a framework raises is this variant's result
        traceback.print_exc()
        answer({"failed": reason(error)})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
