"""The table of a run, and what the keys of a row of `results/speed.jsonl` mean.

Every row has `date`, `processor`, `commit`, `versions`, `device` (see `report.circumstances`) and

- workload, title, suite, rounds, unit ("images" or "tokens"), count (of them per step), precision,
  parameters, gflop_per_step (model FLOPs of one step, 0.0 where they are not counted);
- ours_ms, eager_ms, compiled_ms (median per step), ours_per_second (units), compiled_mode: the mode
  of torch.compile with the least median, "" without any;
- vs_eager, vs_compiled: medians over rounds of theirs / ours, above 1 where ours is faster; with
  _low and _high the least and the greatest round;
- goal_eager, goal_compiled, goal_met (of the ratios that were measured): absent without a goal;
- gemm_jax_gflops, gemm_torch_gflops, copy_jax_gbs, copy_torch_gbs: the measured roofline (GFLOP/s,
  GB/s read and written); roofline_ours, roofline_eager, roofline_compiled: model FLOPs per second
  over the best GEMM (absent without FLOPs; above 1 is possible where fewer are needed than the
  model names); bandwidth_ours: share of the best copy, decoding only;
- memory_ours_mib, memory_eager_mib, memory_compiled_mib: peak of the device, on a CPU of the
  process;
- start_cold_s, start_cached_s (ours, with an empty and with a filled compilation cache),
  start_eager_s, start_compiled_s (both without cache): building and first step, less a warm step,
  imports not included;
- others_cpu (share of the CPUs that other processes used in the turns), quiet (at most 3 %): null
  where it is not known;
- note, failed ({mode: reason}), torch (its version), steps_per_turn ({variant: steps}), seconds
  ({"ours", "eager", "compile", ...: seconds per step of each round, in order}).

eager_*, compiled_*, vs_* and the like are absent where that variant failed or is not asked for.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.speed import quiet

MISSING = "-"
# Heading, width, and the cell of a row.
COLUMNS = (
    ("workload", 16, lambda r: r["workload"]),
    ("ours ms", 8, lambda r: number(r.get("ours_ms"))),
    ("per s", 8, lambda r: number(r.get("ours_per_second"))),
    ("eager", 7, lambda r: number(r.get("eager_ms"))),
    ("compiled", 8, lambda r: number(r.get("compiled_ms"))),
    ("mode", 8, lambda r: r["compiled_mode"][:8] or MISSING),
    ("x eager", 15, lambda r: spread(r, "vs_eager")),
    ("x compiled", 15, lambda r: spread(r, "vs_compiled")),
    ("goal", 8, lambda r: goal(r)),
    ("GFLOP", 6, lambda r: number(r["gflop_per_step"] or None)),
    ("roof", 4, lambda r: percent(r.get("roofline_ours"))),
    ("MiB ours/PT", 11, lambda r: pair(r, "memory_ours_mib", "memory_eager_mib")),
    ("start s*", 13, lambda r: starts(r)),
)


def number(value: float | None) -> str:
    """Three digits, or all before the point."""
    if value is None:
        return MISSING
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def percent(value: float | None) -> str:
    """A share of 1 in per cent."""
    return MISSING if value is None else f"{100 * value:.0f}%"


def spread(row: Mapping[str, Any], name: str) -> str:
    """A ratio with its least and greatest round."""
    if name not in row:
        return MISSING
    return f"{row[name]:.2f} {row[f'{name}_low']:.2f}-{row[f'{name}_high']:.2f}"


def goal(row: Mapping[str, Any]) -> str:
    """Both goals, with "!" where one is missed."""
    if "goal_met" not in row:
        return MISSING
    return "/".join(goals_of(row)) + ("" if row["goal_met"] else "!")


def goals_of(row: Mapping[str, Any]) -> list[str]:
    """The goals against eager and compiled PyTorch, "-" for none."""
    both = [row.get(f"goal_{name}") for name in ("eager", "compiled")]
    return ["-" if least is None else f"{least:g}" for least in both]


def pair(row: Mapping[str, Any], *names: str) -> str:
    """Values with a slash between."""
    return "/".join(number(row.get(name)) for name in names)


def starts(row: Mapping[str, Any]) -> str:
    """Start-up of ours, cold and cached, and of the compiled twin, in seconds."""
    names = ("start_cold_s", "start_cached_s", "start_compiled_s")
    return "/".join(f"{row[name]:.1f}" if name in row else MISSING for name in names)


def text(rows: Sequence[Mapping[str, Any]]) -> str:
    """One line per row in at most 140 columns, and below them what must be known beside them."""
    heading = " ".join(f"{name:>{width}}" for name, width, _ in COLUMNS)
    lines = [" ".join(f"{cell(row):>{width}}" for _, width, cell in COLUMNS) for row in rows]
    return "\n".join([heading, *lines, "", *legend(rows)])


def legend(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The roofline, what was missed, what failed, and which rows were not measured in quiet."""
    lines = [
        "x: theirs / ours, median and range of the rounds; above 1 ours is faster; ! goal missed",
        "*build and first step: ours without cache / with cache / compiled PyTorch without cache",
    ]
    roofs = {
        row["precision"]: f"roofline {row['precision']}: GEMM {row['gemm_jax_gflops']:.0f} (JAX)"
        f" {row['gemm_torch_gflops']:.0f} (PyTorch) GFLOP/s, copy {row['copy_jax_gbs']:.0f}"
        f" {row['copy_torch_gbs']:.0f} GB/s"
        for row in rows
        if "gemm_jax_gflops" in row
    }
    lines += roofs.values()
    for row in rows:
        name = row["workload"]
        lines += [f"{name}: {mode} failed: {reason}" for mode, reason in row["failed"].items()]
        lines += [f"{name}: {row['note']}"] if row["note"] else []
        if "bandwidth_ours" in row:
            lines.append(f"{name}: {percent(row['bandwidth_ours'])} of the copy's bandwidth")
        if row["quiet"] is False:
            lines.append(
                f"warning: {name}: other processes used {percent(row['others_cpu'])} of the CPUs"
                f" ({percent(quiet.LIMIT)} is quiet)"
            )
    return lines
