"""How steps grow, and how long training takes from end to end: rows of results -> Markdown."""

from collections.abc import Sequence

from benchmarks import report
from benchmarks.sections import cells
from benchmarks.sections.cells import Row

VARIANTS = {
    "ours_cold": "`train.py`, empty compilation cache",
    "ours_cached": "`train.py`, filled compilation cache",
    "eager": "PyTorch, eager",
    "compiled_cold": "PyTorch, compiled, empty cache",
    "compiled_cached": "PyTorch, compiled, filled cache",
}
# The ratios that a line of ours shows: to eager and to compiled PyTorch in the like state.
RATIOS = {
    "ours_cold": ("vs_eager_cold", "vs_compiled_cold"),
    "ours_cached": ("vs_eager_cached", "vs_compiled_cached"),
}


def where(row: Row) -> str:
    """Machine, date and versions of a row in one sentence."""
    versions = f"jax {row['versions']['jax']}"
    versions += f", PyTorch {row['torch']}" if "torch" in row else ""
    return f"{row['processor']}, {row['device']}; {row['date'][:10]}; {versions}."


def growth(rows: Sequence[Row]) -> str:
    """Step times by size with their exponents, the newest sweep of each kind and machine."""
    chosen = cells.newest(rows, "workload", "varied", "processor", "device")
    if not chosen:
        return cells.missing("python -m benchmarks.speed.growth")
    machines = dict.fromkeys((row["processor"], row["device"]) for row in chosen)
    parts = []
    for machine in machines:
        own = [row for row in chosen if (row["processor"], row["device"]) == machine]
        parts += [where(own[-1]), report.table([_sweep(row) for row in own])]
    return "\n\n".join(parts)


def _sweep(row: Row) -> dict[str, str]:
    listed = lambda values: ", ".join(map(cells.three_digits, values))
    exponents = lambda name: f"{row[name]:.2f}, {row[f'{name}_last']:.2f}"
    return {
        "workload": f"`{row['workload']}`",
        "varied": row["varied"],
        "sizes": ", ".join(map(str, row["sizes"])),
        "ms per step": listed(row["step_ms"]),
        "exponent: all, last two": exponents("exponent"),
        "expected": f"{row['expected']:.2f}",
        "MiB": listed(row["memory_mib"]),
        "exponent of memory": exponents("memory_exponent"),
    }


def end_to_end(rows: Sequence[Row]) -> str:
    """Seconds from the start of a process to a fixed loss, the newest row of each machine."""
    chosen = cells.newest(rows, "workload", "data", "processor", "device")
    if not chosen:
        return cells.missing("python -m benchmarks.speed.end_to_end")
    parts = []
    for row in chosen:
        head = f"To {row['target']:g} nats on {row['data']}, batch {row['batch']}, evaluated every "
        head += f"{row['eval_every']} steps. {where(row)}"
        parts += [head, report.table([_variant(row, name) for name in VARIANTS])]
    return "\n\n".join(parts)


def _variant(row: Row, name: str) -> dict[str, str]:
    eager, compiled = RATIOS.get(name, ("", ""))
    return {
        "process": VARIANTS[name],
        "seconds, by seed": ", ".join(f"{value:.1f}" for value in row["seconds"][name]),
        "steps": ", ".join(map(str, row["steps_taken"][name])),
        "ratio to eager": cells.ratio(row, eager),
        "ratio to compiled": cells.ratio(row, compiled),
    }
