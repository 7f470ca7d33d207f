"""The tables of speed beside PyTorch: rows of `results/speed.jsonl` -> Markdown.

The keys of a row are listed in `benchmarks/speed/table.py`.
"""

from collections.abc import Sequence
from functools import partial
from statistics import median
from typing import Any

from benchmarks import report
from benchmarks.sections import cells
from benchmarks.sections.cells import Row
from benchmarks.speed import measure, table
from benchmarks.speed.workloads import WORKLOADS, Workload

NONE = ""
WAITING = "not measured yet"
# Modes of the twin that are no fair rival.
FOR_REFERENCE = {
    "no_cache": "PyTorch without a cache, the whole text again for every token,",
    "loader": "PyTorch's DataLoader with two processes",
}
ROOFLINE = ("gemm_jax_gflops", "gemm_torch_gflops", "copy_jax_gbs", "copy_torch_gbs")
ON_GPU = tuple(workload for workload in WORKLOADS if workload.suites == ("gpu",))
ON_CPU = tuple(workload for workload in WORKLOADS if workload not in ON_GPU)


def by_machine(rows: Sequence[Row], suite: str) -> dict[str, list[Row]]:
    """The newest row of each workload on each machine, the machine measured last first.

    A machine is a processor for the suites of the CPU, on a GPU the device.
    """
    kind = "device" if suite == "gpu" else "processor"
    known = {workload.name for workload in (ON_GPU if suite == "gpu" else ON_CPU)}
    machines: dict[str, list[Row]] = {}
    for row in reversed([row for row in rows if row["workload"] in known]):
        machines.setdefault(row[kind], []).append(row)
    return {name: cells.newest(found[::-1], "workload") for name, found in machines.items()}


def speed(suite: str, rows: Sequence[Row]) -> str:
    """Every machine's tables; workloads measured nowhere stand in the first one.

    Args:
      suite: "cpu" or "gpu".
      rows: all rows on record, oldest first.
    """
    workloads = ON_GPU if suite == "gpu" else ON_CPU
    machines = by_machine(rows, suite)
    found = {row["workload"] for rows in machines.values() for row in rows}
    waiting = [workload for workload in workloads if workload.name not in found]
    parts, extra = [], waiting
    for name, measured in machines.items():
        parts.append(machine(name, measured, workloads, extra))
        extra = []
    if not machines:
        parts.append(report.table([_waiting(workload) for workload in waiting]))
    if waiting:
        names = ",".join(workload.name for workload in waiting)
        only = "" if len(waiting) == len(workloads) else f" --only={names}"
        every = "gpu" if suite == "gpu" else "full"
        parts.append(cells.missing(f"python -m benchmarks.speed --suite={every}{only}"))
    return "\n\n".join(parts)


cpu, gpu = partial(speed, "cpu"), partial(speed, "gpu")


def machine(
    name: str, rows: Sequence[Row], workloads: Sequence[Workload], waiting: Sequence[Workload]
) -> str:
    """One machine: its circumstances, times and ratios, reasons, and what the steps take."""
    by_name = {row["workload"]: row for row in rows}
    measured = [(w, by_name[w.name]) for w in workloads if w.name in by_name]
    # The first line gives a table its columns, so measured ones come first.
    lines = [_times(w, row) for w, row in measured] + [_waiting(w) for w in waiting]
    parts = [circumstances(name, rows), report.table(lines)]
    notes = [line for w, row in measured for line in remarks(w, row)]
    parts += ["\n".join(f"- {line}" for line in notes)] if notes else []
    return "\n\n".join([*parts, report.table([_resources(w, row) for w, row in measured])])


def circumstances(name: str, rows: Sequence[Row]) -> str:
    """Where, when and of what the rows are, and the measured roofline."""
    every = lambda *path: ", ".join(dict.fromkeys(str(_at(row, path)) for row in rows))
    dates = sorted(row["date"][:10] for row in rows)
    when = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
    commits = ", ".join(dict.fromkeys(short(row["commit"]) for row in rows))
    text = (
        f"{name}; {when}; jax {every('versions', 'jax')}, PyTorch {every('torch')}; "
        f"commit {commits}; {every('rounds')} rounds."
    )
    roofs = {row["precision"]: row for row in rows if "gemm_jax_gflops" in row}
    return " ".join([text, *(_roof(precision, row) for precision, row in roofs.items())])


def short(commit: str) -> str:
    """Seven digits of a commit, and whether there were changes."""
    return commit[:7] + "+" * ("+" in commit)


def _at(row: Any, path: Sequence[str]) -> Any:
    for key in path:
        row = row[key]
    return row


def _roof(precision: str, row: Row) -> str:
    rates = [f"{row[name]:,.0f}" for name in ROOFLINE]
    return (
        "Measured roofline in {}: matrix products {} (JAX) and {} (PyTorch) GFLOP/s, copies {} and "
        "{} GB/s."
    ).format(precision, *rates)


def _waiting(workload: Workload) -> dict[str, str]:
    return {"workload": workload.title, "ours": WAITING}


def _times(workload: Workload, row: Row) -> dict[str, str]:
    """What a step takes, and the ratios."""
    mode = {"": "", "compile": ""}.get(row["compiled_mode"], f" ({row['compiled_mode']})")
    return {
        "workload": workload.title + (" *" if row["quiet"] is False else ""),
        "ours": milliseconds(row["ours_ms"]),
        "per second": f"{cells.three_digits(row['ours_per_second'])} {row['unit']}",
        "eager": milliseconds(row.get("eager_ms")),
        "compiled": milliseconds(row.get("compiled_ms")) + mode,
        "ratio to eager": cells.ratio(row, "vs_eager"),
        "ratio to compiled": cells.ratio(row, "vs_compiled"),
        "goal": goal(workload, row),
    }


def milliseconds(value: float | None) -> str:
    """A time in ms with three digits."""
    return NONE if value is None else f"{cells.three_digits(value)} ms"


def goal(workload: Workload, row: Row) -> str:
    """The present goals, "-" for none, and whether the recorded ratios meet them."""
    found = measure.goals(workload, row)
    if not found:
        return NONE
    both = " / ".join(table.goals_of(found))
    return f"{both}: {'met' if found['goal_met'] else 'missed'}"


def remarks(workload: Workload, row: Row) -> list[str]:
    """Why a ratio is below 1, what failed, and whether others used the machine."""
    lines = []
    below = [row[name] for name in ("vs_eager", "vs_compiled") if row.get(name, 1.0) < 1]
    if below:
        reason = workload.note or row["note"] or "the reason is not known yet"
        lines.append(f"{workload.title} ({min(below):.2f}): {reason}")
    for mode, words in FOR_REFERENCE.items():
        if mode in row.get("seconds", {}):
            took = milliseconds(1e3 * median(row["seconds"][mode]))
            lines.append(f"{workload.title}: {words} takes {took}")
    lines += [f"{workload.title}: {mode} failed: {why}" for mode, why in row["failed"].items()]
    if row["quiet"] is False:
        share = f"{100 * row['others_cpu']:.0f} %"
        lines.append(f"\\* {workload.title}: other processes used {share} of the CPUs meanwhile")
    return lines


def _resources(workload: Workload, row: Row) -> dict[str, str]:
    """Work, share of the roofline, memory and start."""
    memory = [row.get(f"memory_{name}_mib") for name in ("ours", "eager", "compiled")]
    starts = [row.get(f"start_{name}_s") for name in ("cold", "cached", "compiled")]
    return {
        "workload": workload.title,
        "precision": row["precision"],
        "parameters": f"{row['parameters']:,}",
        "GFLOP/step": cells.three_digits(row["gflop_per_step"]) if row["gflop_per_step"] else NONE,
        "share of roofline": share(row),
        "MiB: ours, eager, compiled": ", ".join(map(_or_dash, memory)),
        "start s: cold, cached, compiled PyTorch": ", ".join(map(_or_dash, starts)),
    }


def share(row: Row) -> str:
    """The share of the best matrix product, ours and PyTorch's best, or of the best copy."""
    if "bandwidth_ours" in row:
        return f"{100 * row['bandwidth_ours']:.0f} % of copying"
    theirs = [row[f"roofline_{n}"] for n in ("eager", "compiled") if f"roofline_{n}" in row]
    if "roofline_ours" not in row:
        return NONE
    beside = f" (PyTorch {100 * max(theirs):.0f} %)" if theirs else ""
    return f"{100 * row['roofline_ours']:.0f} %{beside}"


def _or_dash(value: float | None) -> str:
    return "–" if value is None else cells.three_digits(value)
