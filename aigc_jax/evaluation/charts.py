"""Curves of `metrics.jsonl` as SVG inside HTML: metrics that belong together share a chart.

Colours are the CSS variables --c0 to --c7 of the page. A chart of one run has a colour for each
line, one of several runs a colour for each run and a dash for each metric; values of a held-out
split stand as dots. The page's script reads values at the pointer back from the paths and the
`data-x`, `data-y` of the SVG ("start end low high", and "log").
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from aigc_jax.evaluation import axes
from aigc_jax.evaluation.axes import Axis, position
from aigc_jax.evaluation.markup import Markup, element, joined
from aigc_jax.evaluation.readable import headed, number, tick

# Title, the names of the metrics on the chart, and whether its axis is logarithmic if it can be.
# Rate and distortion are both positive; the elbo, their negative sum, would squeeze them.
GROUPS = (
    ("Losses of both players", r"[dg]_loss", False),
    ("Logits of real and fake", r"d_(real|fake)(_logits?)?", False),
    ("Signs of the logits", r".*_sign", False),
    ("Distance between samples, over that of real ones", r"fake_distance", False),
    ("Loss", r"loss|nll", False),
    ("Evidence lower bound", r"elbo", False),
    ("Rate and distortion", r"rate|distortion|kl", False),
    ("Penalties", r"r1|r2|.*penalty.*|.*_gp", True),
    ("Gradient norms", r".*grad_norm", True),
)
COLOURS = 8
DASHES = ("", "6 3", "2 3", "8 3 2 3")
WIDTH, HEIGHT = 520, 250
LEFT, RIGHT, TOP, BOTTOM = 50, 500, 10, 222  # of the plot
BUCKETS = 300  # of a line; a page of long runs stays small
DOTS = 60  # a held-out split with more values is a plain line
SMOOTH_FROM, SMOOTH = 100, 120  # a training line of so many values gets a smooth one of so many
NOT_VALUES = ("step", "split", "time")


class Series(NamedTuple):
    """One line: the values of a metric on a split of a run."""

    run: str
    metric: str
    split: str
    points: list[tuple[float, float]]  # (step, value), values maybe not finite
    colour: int = 0
    dash: int = 0


def series_of(run: str, rows: Iterable[Mapping[str, Any]]) -> list[Series]:
    """All lines in a run's rows; a row without a metric is no gap in it, a null or NaN is."""
    found = {}
    for row in rows:
        for name in row.keys() - set(NOT_VALUES):
            value = row[name]
            if value is None or isinstance(value, int | float):
                points = found.setdefault((name, row["split"]), [])
                points.append((row["step"], math.nan if value is None else float(value)))
    order = sorted(found, key=lambda which: (which[0], which[1] != "train", which[1]))
    return [Series(run, *which, found[which]) for which in order]


def grouped(series: Sequence[Series]) -> list[tuple[str, bool, list[Series]]]:
    """(title, log, series) of each chart: the groups in order, then what is left by name."""
    charts, left = [], list(series)
    for title, pattern, log in GROUPS:
        chosen = [s for s in left if re.fullmatch(pattern, s.metric)]
        left = [s for s in left if s not in chosen]
        charts.append((title, log, chosen))
    for name in sorted({s.metric for s in left}):
        charts.append((headed(name), False, [s for s in left if s.metric == name]))
    return [chart for chart in charts if chart[2]]


def styled(series: Sequence[Series], runs: Sequence[str]) -> list[Series]:
    """With colours and dashes: a colour for each run if there are several, else for each line."""
    if len(runs) == 1:
        return [s._replace(colour=i % COLOURS) for i, s in enumerate(series)]
    metrics = list(dict.fromkeys(s.metric for s in series))
    return [
        s._replace(colour=runs.index(s.run) % COLOURS, dash=metrics.index(s.metric) % len(DASHES))
        for s in series
    ]


def charts(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Markup]:
    """A <figure> for each group of metrics in {run name: rows of its metrics.jsonl}."""
    series = [line for run, rows in runs.items() for line in series_of(run, rows)]
    last = max((step for s in series for step, _ in s.points), default=0)
    x = axes.steps_axis(last, LEFT, RIGHT)
    return [
        chart(title, styled(group, list(runs)), x, log) for title, log, group in grouped(series)
    ]


def chart(title: str, series: Sequence[Series], x: Axis, log: bool = False) -> Markup:
    """One <figure>: title, lines over the step axis `x`, and a legend with the last values."""
    values = [v for s in series for _, v in s.points if math.isfinite(v)]
    y = axes.values_axis(values or [0.0], BOTTOM, TOP, log)
    beyond = sum(not y.low <= v <= y.high for v in values)
    outside = f"{beyond:,} of {len(values):,} values beyond the axis" if beyond else ""
    notes = filter(None, ("log scale" if y.log else "", outside))
    labels = label_of(series)
    # An inner <svg> cuts off what lies beyond its box: the plot, and half the width of a line.
    box = {"x": LEFT, "y": TOP - 2, "width": RIGHT - LEFT + 2, "height": BOTTOM - TOP + 4}
    inside = [line(s, labels[i], x, y) for i, s in enumerate(series)]
    plot = element(
        "svg",
        _frame(x, y),
        element("svg", *inside, viewBox=" ".join(map(str, box.values())), **box),
        element("line", class_="cursor", y1=TOP, y2=BOTTOM, visibility="hidden"),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=f"{title} over training steps",
        data_x=_scale(x),
        data_y=_scale(y),
    )
    note = element("span", ", ".join(notes), class_="note")
    at = element("output", class_="at")
    heading = element("header", element("h3", title), note, at)
    return element("figure", heading, plot, _legend(series, labels), class_="chart")


def label_of(series: Sequence[Series]) -> list[str]:
    """What tells each line from the others of its chart: run, metric, split, or those that vary."""
    parts = [(s.run, s.metric, s.split) for s in series]
    varies = [len(set(column)) > 1 for column in zip(*parts, strict=True)]
    varies[1] |= not any(varies)
    return [" · ".join(p for p, v in zip(part, varies, strict=True) if v) for part in parts]


def line(series: Series, label: str, x: Axis, y: Axis) -> Markup:
    """A path, broken where values are not finite, with crosses there and dots if held out.

    A long training line is faint, with its running median over it.
    """
    stretches = axes.unbroken(series.points)
    held_out = series.split != "train"
    smooth = not held_out and len(series.points) >= SMOOTH_FROM
    places = [_places(axes.thinned(part, BUCKETS), x, y) for part in stretches]
    dash = DASHES[series.dash] or None
    paths = [element("path", d=_d(places), stroke_dasharray=None if smooth else dash)]
    if smooth:
        medians = [_places(axes.smoothed(part, SMOOTH), x, y) for part in stretches]
        paths.append(element("path", d=_d(medians), stroke_dasharray=dash, class_="smooth"))
    few = held_out and len(series.points) <= DOTS
    dots = [_dot(place) for part in places for place in part] if few else []
    lost = {round(position(x, s)) for s, value in series.points if not math.isfinite(value)}
    named = element("title", f"{label}: {_extremes(series)}")
    kind = "line" + " held-out" * held_out + " noisy" * smooth
    return element(
        "g", named, *paths, *dots, *map(_cross, sorted(lost)), class_=kind, style=_colour(series)
    )


def _places(points: Sequence[tuple[float, float]], x: Axis, y: Axis) -> list[str]:
    return [f"{position(x, step):.2f},{position(y, value):.2f}" for step, value in points]


def _d(parts: Sequence[Sequence[str]]) -> str:
    """The shape of a path; a part of one point is a line of no length, which is drawn as a dot."""
    return "".join("M" + "L".join(part) + "h0" * (len(part) == 1) for part in parts)


def _dot(point: str) -> Markup:
    x, y = point.split(",")
    return element("circle", cx=x, cy=y, r="2.6")


def _cross(x: int) -> Markup:
    """At the foot of the plot: this value was not a number."""
    return element("path", class_="gap", d=f"M{x - 3} {BOTTOM - 8}l6 6m0 -6l-6 6")


def _colour(series: Series) -> str:
    return f"--c:var(--c{series.colour})"


def _scale(axis: Axis) -> str:
    numbers = " ".join(f"{v:.10g}" for v in (axis.start, axis.end, axis.low, axis.high))
    return numbers + " log" * axis.log


def _extremes(series: Series) -> str:
    finite = [(value, step) for step, value in series.points if math.isfinite(value)]
    if not finite:
        return "no finite value"
    last, low, high = finite[-1], min(finite), max(finite)
    said = {"last": last, "lowest": low, "highest": high}
    return ", ".join(f"{k} {number(v)} at step {s:,}" for k, (v, s) in said.items())


def _frame(x: Axis, y: Axis) -> Markup:
    """Grid lines and the labels of both axes."""
    rows = [
        element("line", x1=LEFT, x2=RIGHT, y1=f"{position(y, v):.1f}", y2=f"{position(y, v):.1f}")
        + element("text", tick(v), x=LEFT - 7, y=f"{position(y, v) + 4:.1f}", text_anchor="end")
        for v in y.ticks
    ]
    columns = [
        element("text", tick(v), x=f"{position(x, v):.1f}", y=BOTTOM + 18, text_anchor="middle")
        for v in x.ticks
    ]
    return element("g", *map(Markup, rows), *columns, class_="frame", aria_hidden="true")


def _legend(series: Sequence[Series], labels: Sequence[str]) -> Markup:
    entries = []
    for one, label in zip(series, labels, strict=True):
        finite = [value for _, value in one.points if math.isfinite(value)]
        last = number(finite[-1]) if finite else "–"
        dash = DASHES[one.dash] or None
        stroke = element("line", x1=1, x2=21, y1=5, y2=5, stroke_dasharray=dash)
        dot = element("circle", cx=11, cy=5, r=3) if one.split != "train" else None
        key = element("svg", stroke, dot, viewBox="0 0 22 10", class_="key", aria_hidden="true")
        value = element("output", last, data_last=last)
        entries.append(element("li", key, f"{label} ", value, style=_colour(one)))
    return element("ul", joined(entries), class_="legend")
