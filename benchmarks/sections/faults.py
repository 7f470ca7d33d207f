"""What faults come to and what checkpoints cost: rows of `results/` -> Markdown."""

import signal
import statistics
from collections.abc import Sequence

from benchmarks import report
from benchmarks.faults.catalogue import FAULTS
from benchmarks.sections import cells
from benchmarks.sections.cells import Row
from benchmarks.sections.growth import where

COMMAND = "python -m benchmarks.faults"


def faults(rows: Sequence[Row]) -> str:
    """The newest row of every fault, and those that were not measured."""
    newest = {row["fault"]: row for row in rows if row["fault"] in FAULTS}
    if not newest:
        return cells.missing(COMMAND)
    lines = [_line(newest[name]) for name in FAULTS if name in newest]
    missing = [name for name in FAULTS if name not in newest]
    parts = [_without(list(newest.values())), report.table(lines)]
    parts += [cells.missing(f"{COMMAND} --only={','.join(missing)}")] if missing else []
    return "\n\n".join(parts)


def _without(rows: Sequence[Row]) -> str:
    """Where this was, and what runs without faults take: the scale of all seconds below."""
    last = max(rows, key=lambda row: row["date"])
    kinds = {kind: times for row in rows for kind, times in row["without_s"].items()}
    times = {kind: f"{statistics.median(t):.1f} s" for kind, t in kinds.items()}
    spread = max(max(t) - min(t) for t in kinds.values())
    repeated = any(len(t) > 1 for t in kinds.values())
    pair = f" in one process, {times['pair']} in two" if "pair" in times else ""
    return (
        f"{where(last)} Without a fault {last['plan']['steps']} steps take "
        f"{times.get('one', 'not measured yet')}{pair}, start included; "
        + (f"runs of a kind differ by up to {spread:.1f} s." if repeated else "each once.")
    )


def _line(row: Row) -> dict[str, str]:
    wrong = "; ".join(row["not_so"])
    return {
        "`--only=`": f"`{row['fault']}`",
        "fault": row["title"],
        "outcome": f"**not so: {wrong}**" if wrong else row["outcome"],
        "exit code": _codes(row["exits"]),
        "noticed after": _seconds(row["noticed_s"]),
        "lost": _seconds(row["lost_s"]),
        "steps redone": "–" if row["redone"] is None else str(row["redone"]),
        "test": f"`{row['test'].removeprefix('tests/')}`",
    }


def _codes(exits: Sequence[int]) -> str:
    """Exit codes as a shell shows them; those of signals by name."""
    named = [str(code) if code >= 0 else signal.Signals(-code).name for code in exits]
    return ", ".join(dict.fromkeys(named))


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{max(value, 0.0):.1f} s"


def checkpoints(rows: Sequence[Row]) -> str:
    """What saving and restoring states of some sizes costs, the newest row of each."""
    newest = sorted(cells.newest(rows, "megabytes"), key=lambda row: row["megabytes"])
    if not newest:
        return cells.missing(f"{COMMAND} --checkpoints")
    return f"{where(newest[-1])}\n\n{report.table(list(map(_cost, newest)))}"


def _cost(row: Row) -> dict[str, str]:
    spread = lambda name: "{} ({} to {})".format(
        *(cells.three_digits(row[name + part]) for part in ("", "_low", "_high"))
    )
    return {
        "state": f"{row['megabytes']:,} MB",
        "a save holds the loop up": f"{spread('stall_ms')} ms",
        "the first one": f"{cells.three_digits(row['first_stall_ms'])} ms",
        "in the background": f"{spread('save_mb_s')} MB/s",
        "restored and verified": f"{spread('restore_mb_s')} MB/s",
    }
