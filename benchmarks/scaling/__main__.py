"""How far training scales: predicted from compiled programs, measured on no chip.

    python -m benchmarks.scaling
    python -m benchmarks.scaling --only=gan_256 --devices=1,8,64

compiles the project's own training step for simulated devices, counts the operations, bytes and
collectives of one device, fits each collective over the number of devices, and adds the counts to
`results/scaling.jsonl`, from which tables and plot follow with the figures of `chips`.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import readme, report
from benchmarks.scaling import plot
from benchmarks.scaling.workloads import WORKLOADS
from benchmarks.sections import scaling as section

DEVICES = (1, 8, 16, 32, 64, 128, 256, 512)


def measured(devices: int, names: Sequence[str]) -> list[dict[str, Any]]:
    """The lines of `measure` for one number of devices, compiled in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "lines.jsonl"
        words = [sys.executable, "-m", "benchmarks.scaling.measure", str(devices), str(out), *names]
        subprocess.run(words, check=True, cwd=report.ROOT)
        return [json.loads(line) for line in out.read_text().splitlines()]


def rows_of(found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row for each workload and mesh, its points in the order of their devices."""
    rows = []
    for name, workload in WORKLOADS.items():
        for mesh in workload.meshes:
            own = [f for f in found if (f["workload"], f["mesh"]) == (name, mesh)]
            full = [f["point"] for f in own if f["batch_per_device"] == workload.batch_per_device]
            halves = [f["point"] for f in own if f["batch_per_device"] < workload.batch_per_device]
            if full:
                rows.append(
                    {
                        **{"simulation": "compiled for simulated devices, nothing was run"},
                        **{"workload": name, "title": workload.title, "mesh": mesh},
                        **{"unit": workload.unit, "batch_per_device": workload.batch_per_device},
                        **{"fixed_batch": workload.fixed_batch, "half": (halves or [None])[0]},
                        "undivided": own[0]["undivided"],
                        "points": sorted(full, key=lambda p: p["devices"]),
                    }
                )
    return rows


def arguments() -> argparse.Namespace:
    """The command line, checked before anything is compiled."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(WORKLOADS), help="workloads, with commas")
    parser.add_argument("--devices", default=",".join(map(str, DEVICES)), help="with commas")
    chosen = parser.parse_args()
    for name in chosen.only.split(","):
        if name not in WORKLOADS:
            parser.error(f"--only={name}: accepted are {', '.join(WORKLOADS)}")
    for count in chosen.devices.split(","):
        if not count.isdigit() or int(count) not in DEVICES:
            parser.error(f"--devices={count}: accepted are {', '.join(map(str, DEVICES))}")
    return chosen


def main() -> None:
    """Compiles, counts, records, and prints what follows."""
    chosen = arguments()
    counts = sorted(map(int, chosen.devices.split(",")), reverse=True)
    started = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        parts = pool.map(lambda count: measured(count, chosen.only.split(",")), counts)
        rows = rows_of([line for part in parts for line in part])
    minutes = (time.perf_counter() - started) / 60
    print(report.append("scaling", [row | {"minutes": round(minutes, 1)} for row in rows]))
    recorded = section.newest(readme.recorded(report.RESULTS, "scaling"))
    print(section.table(recorded))
    print(plot.draw(recorded, report.RESULTS / plot.NAME))
    print(f"{minutes:.1f} minutes")


if __name__ == "__main__":
    main()
