"""The plot of speed beside PyTorch, from rows of `results/speed.jsonl`."""

import hashlib
import json
import pathlib
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

from benchmarks.sections import speed
from benchmarks.sections.cells import Row

NAME = "speed.png"
# Distinct without colour vision, too (Okabe & Ito 2008).
KINDS = {
    "vs_eager": ("ratio to PyTorch eager", "#0072B2"),
    "vs_compiled": ("ratio to PyTorch compiled", "#E69F00"),
}
WIDTH, BAR, LABEL = 9.0, 0.36, 38  # inches, share of a line, characters
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)


class Bars(NamedTuple):
    """One workload: its label and, by kind, median, least and greatest ratio."""

    label: str
    ratios: dict[str, tuple[float, float, float]]


def bars(rows: Sequence[Row]) -> dict[str, list[Bars]]:
    """{machine: its workloads}: of the processor and of the device that were measured last."""
    panels = {}
    for suite, workloads in (("cpu", speed.ON_CPU), ("gpu", speed.ON_GPU)):
        titles = {workload.name: workload.title for workload in workloads}
        for machine, found in list(speed.by_machine(rows, suite).items())[:1]:
            by_name = {row["workload"]: row for row in found}
            chosen = [by_name[name] for name in titles if name in by_name]
            panels[machine] = [Bars(titles[row["workload"]], ratios(row)) for row in chosen]
    return panels


def ratios(row: Row) -> dict[str, tuple[float, float, float]]:
    """Median, least and greatest round of the ratios that a row has."""
    parts = ("", "_low", "_high")
    return {kind: tuple(row[kind + part] for part in parts) for kind in KINDS if kind in row}


def digest(rows: Sequence[Row]) -> str:
    """What a plot of these rows is marked with: 16 hexadecimal digits of what it shows."""
    return hashlib.sha256(json.dumps(bars(rows)).encode()).hexdigest()[:16]


def link(rows: Sequence[Row]) -> str:
    """The plot in Markdown, a line of its own; "" without anything to show."""
    return f"\n![Ratios to PyTorch by workload](results/{NAME})\n" if bars(rows) else ""


def draw(rows: Sequence[Row], path: pathlib.Path) -> pathlib.Path:
    """Writes the plot as PNG: a panel for each machine, on a logarithmic axis around 1."""
    from matplotlib.figure import Figure

    panels = bars(rows)
    heights = [len(found) + 1.2 for found in panels.values()]
    figure = Figure(figsize=(WIDTH, 0.44 * sum(heights) + 0.4), layout="constrained")
    figure.set_facecolor("white")
    axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axis, (machine, found) in zip(axes, panels.items(), strict=True):
        _panel(axis, machine, found)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=9, frameon=False)
    figure.savefig(path, dpi=150, metadata={"Description": digest(rows)})
    return path


def _panel(axis: Any, machine: str, found: Sequence[Bars]) -> None:
    for shift, (kind, (label, colour)) in zip((-0.5, 0.5), KINDS.items(), strict=True):
        lines = [(i, entry.ratios[kind]) for i, entry in enumerate(found) if kind in entry.ratios]
        if lines:
            _bars(axis, [i + shift * BAR for i, _ in lines], [r for _, r in lines], label, colour)
    everything = [x for entry in found for values in entry.ratios.values() for x in values]
    least, most = min([*everything, 0.5]) / 1.15, max([*everything, 1.6]) * 1.3
    axis.set_xscale("log")
    axis.set_xlim(least, most)
    ticks = [tick for tick in TICKS if least <= tick <= most]
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_xticks([], minor=True)
    axis.set_yticks(range(len(found)), [textwrap.fill(entry.label, LABEL) for entry in found])
    axis.set_ylim(len(found) - 0.4, -0.6)
    axis.axvline(1, color="black", linewidth=1)
    axis.grid(axis="x", color="#DDDDDD")
    axis.set_axisbelow(True)
    axis.tick_params(axis="both", labelsize=8, length=0)
    axis.spines[:].set_visible(False)
    axis.set_title(f"{machine}: PyTorch's time over ours (above 1 ours is faster)", fontsize=9)


def _bars(axis: Any, places: list[float], values: list[tuple], label: str, colour: str) -> None:
    """Bars from 1 to the median, with least and greatest round as a whisker, and the number."""
    medians = [median for median, _, _ in values]
    spread = [[m - low for m, low, _ in values], [high - m for m, _, high in values]]
    widths = [median - 1 for median in medians]
    axis.barh(places, widths, BAR, left=1, color=colour, label=label)
    whisker = {"fmt": "none", "ecolor": "#333333", "elinewidth": 1, "capsize": 2}
    axis.errorbar(medians, places, xerr=spread, **whisker)
    for place, (median, low, high) in zip(places, values, strict=True):
        above = median >= 1
        at = high if above else low
        axis.annotate(
            f"{median:.2f}",
            (at, place),
            xytext=(4 if above else -4, 0),
            textcoords="offset points",
            ha="left" if above else "right",
            va="center",
            fontsize=7,
        )
