"""Whether ratios got worse than the last ones on record for the same machine."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks import report

RATIOS = ("vs_eager", "vs_compiled")
SAME = ("workload", "processor", "device")  # what rows must share to be compared
TOLERANCE = 0.15


def recorded(name: str) -> list[dict[str, Any]]:
    """The rows of `results/<name>.jsonl`, oldest first; none where there is no file."""
    path = report.RESULTS / f"{name}.jsonl"
    return [json.loads(line) for line in path.open()] if path.exists() else []


def last_of(row: Mapping[str, Any], earlier: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The last earlier row of the same workload on the same machine, {} without any."""
    same = [old for old in earlier if all(old.get(key) == row.get(key) for key in SAME)]
    return same[-1] if same else {}


def regressions(
    rows: Iterable[Mapping[str, Any]],
    earlier: Iterable[Mapping[str, Any]],
    tolerance: float = TOLERANCE,
) -> list[str]:
    """A line for each median ratio below (1 - tolerance) times the last recorded one.

    A ratio that was recorded and is now missing counts as one.
    """
    found, earlier = [], list(earlier)
    for row in rows:
        old = last_of(row, earlier)
        for name in RATIOS:
            if name in old and row.get(name, 0.0) < (1 - tolerance) * old[name]:
                now = f"{row[name]:.2f}" if name in row else "missing"
                found.append(f"{row['workload']}: {name} {now}, recorded {old[name]:.2f}")
    return found


def unknown(rows: Iterable[Mapping[str, Any]], earlier: Iterable[Mapping[str, Any]]) -> list[str]:
    """The names of the workloads without a recorded row of this machine."""
    earlier = list(earlier)
    return [row["workload"] for row in rows if not last_of(row, earlier)]
