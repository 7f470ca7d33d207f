"""The plot of predicted efficiency over the number of chips, from rows of results/scaling.jsonl."""

import hashlib
import json
import pathlib
from collections.abc import Sequence
from typing import Any

from benchmarks.scaling import predict
from benchmarks.scaling.chips import CHIPS
from benchmarks.scaling.predict import CHIP_COUNTS, Row

NAME = "scaling.png"
# Distinct without colour vision, too (Okabe & Ito 2008).
COLOURS = {
    "data": "#0072B2",
    "fsdp": "#D55E00",
    "data x fsdp 8": "#009E73",
    "fsdp x tensor 8": "#CC79A7",
}
PANEL = (3.3, 2.1)  # inches
TICKS = (1, 8, 64, 512, 4096)


def curves(rows: Sequence[Row]) -> dict[str, dict[str, dict[str, list[tuple[float, float]]]]]:
    """{workload: {chip: {mesh: [(without, with full overlap) for each of `predict.reach`]}}}."""
    found: dict[str, Any] = {}
    for row in rows:
        for name, chip in CHIPS.items():
            found.setdefault(row["title"], {}).setdefault(name, {})[row["mesh"]] = [
                tuple(
                    round(predict.efficiency(row, n, chip, hidden), 4) for hidden in (False, True)
                )
                for n in predict.reach(row)
            ]
    return found


def digest(rows: Sequence[Row]) -> str:
    """What a plot of these rows is marked with: 16 hexadecimal digits of what it shows."""
    return hashlib.sha256(json.dumps(curves(rows)).encode()).hexdigest()[:16]


def draw(rows: Sequence[Row], path: pathlib.Path) -> pathlib.Path:
    """Writes the plot as PNG: a line of panels for each workload, a column for each chip."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    panels = curves(rows)
    figure = Figure(
        figsize=(PANEL[0] * len(CHIPS), PANEL[1] * len(panels) + 1.0), layout="constrained"
    )
    figure.set_facecolor("white")
    axes = figure.subplots(len(panels), len(CHIPS), squeeze=False, sharex=True, sharey=True)
    compiled = max(point["devices"] for row in rows for point in row["points"])
    for line, (workload, by_chip) in zip(axes, panels.items(), strict=True):
        batch = next(row for row in rows if row["title"] == workload)
        line[0].set_ylabel(
            f"{workload}\n{batch['batch_per_device']} x {batch['unit']} per chip", fontsize=8
        )
        for axis, (chip, by_mesh) in zip(line, by_chip.items(), strict=True):
            _panel(axis, by_mesh, compiled)
            if workload == next(iter(panels)):
                axis.set_title(chip, fontsize=10)
    for axis in axes[-1]:
        axis.set_xlabel("chips", fontsize=8)
    shown = [mesh for mesh in COLOURS if any(row["mesh"] == mesh for row in rows)]
    figure.legend(
        handles=[Line2D([], [], color=COLOURS[mesh], label=mesh) for mesh in shown],
        loc="outside lower center",
        ncols=len(shown),
        fontsize=9,
        frameon=False,
    )
    figure.suptitle(
        "Predicted by simulation, measured on no chip: throughput per chip over that of one chip.\n"
        "Solid: communication after work; dashed: all of it behind work; the truth lies between.\n"
        "Lines end where a mesh divides the state no more. "
        f"Grey: beyond the {compiled} devices compiled for.",
        fontsize=9,
    )
    figure.savefig(path, dpi=130, metadata={"Description": digest(rows)})
    return path


def _panel(axis: Any, by_mesh: dict[str, list[tuple[float, float]]], compiled: int) -> None:
    axis.axvspan(compiled, CHIP_COUNTS[-1], color="#EEEEEE", linewidth=0)
    axis.axhline(0.5, color="black", linewidth=0.8, linestyle=":")
    for mesh, values in by_mesh.items():
        low, high = zip(*values, strict=True)
        counts = CHIP_COUNTS[: len(values)]
        axis.plot(counts, high, color=COLOURS[mesh], linewidth=1.2, linestyle=(0, (4, 2)))
        axis.plot(counts, low, color=COLOURS[mesh], linewidth=1.8)
    axis.set_xscale("log", base=2)
    axis.set_xlim(1, CHIP_COUNTS[-1])
    axis.set_ylim(0, 1.08)
    axis.set_xticks(TICKS, [f"{tick:,}" for tick in TICKS])
    axis.set_xticks([], minor=True)
    axis.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
    axis.grid(color="#DDDDDD", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.tick_params(axis="both", labelsize=8, length=0)
    axis.spines[:].set_visible(False)
