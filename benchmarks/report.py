"""What the benchmarks share: where a result comes from, results as JSON lines, and tables."""

import datetime
import json
import os
import pathlib
import platform
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from aigc_jax import workdir

ROOT = pathlib.Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def circumstances() -> dict[str, Any]:
    """Date, commit, device, processor and versions: what a number needs beside it."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "processor": f"{len(os.sched_getaffinity(0))} cores of {processor()}",
        **workdir.circumstances(),
    }


def processor() -> str:
    """The processor's name as Linux gives it, elsewhere the architecture."""
    path = pathlib.Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def append(name: str, rows: Sequence[Mapping[str, Any]]) -> pathlib.Path:
    """Adds the rows, each with its circumstances, to `results/<name>.jsonl`; returns the path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.jsonl"
    now = circumstances()
    with path.open("a") as file:
        file.writelines(json.dumps({**now, **row}) + "\n" for row in rows)
    return path


def mean_and_spread(values: Sequence[float]) -> str:
    """ "mean ± standard deviation" of some seeds."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.4g} ± {deviation:.2g}"


def summary(rows: Sequence[Mapping[str, Any]], first: str = "seed") -> dict[str, str]:
    """The row below a table: `mean_and_spread` of its columns of numbers."""
    columns = [name for name, value in rows[0].items() if isinstance(value, float)]
    return {first: "mean"} | {c: mean_and_spread([row[c] for row in rows]) for c in columns}


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table with the columns of the first row; numbers get four digits."""

    def text(value):
        return f"{value:.4g}" if isinstance(value, float) else str(value)

    columns = list(rows[0])
    cells = [columns, ["---"] * len(columns)]
    cells += [[text(row.get(name, "")) for name in columns] for row in rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in cells)
