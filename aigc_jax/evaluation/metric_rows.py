"""The table of all metrics in a report: values, floors on real data, protocols in words."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from aigc_jax.evaluation import standing
from aigc_jax.evaluation.axes import Axis, position
from aigc_jax.evaluation.markup import Markup, element, escaped
from aigc_jax.evaluation.readable import arrow, direction, number, quantity
from aigc_jax.evaluation.runs import Run
from aigc_jax.evaluation.sections import colour, evaluations_of, heading, scrolling

WIDTH, HEIGHT = 160, 24  # of the small scale beside the floors
MARGIN = 8


def metric_table(runs: Sequence[Run]) -> Markup:
    """Two rows for each metric: its numbers, and below them how they were measured."""
    names = standing.metric_names(evaluations_of(runs))
    if not names:
        return element("p", "No metric is reported.", class_="soft")
    values = [heading(run, i) for i, run in enumerate(runs)]
    if len(runs) == 1:
        values = [element("th", "Value", scope="col", class_="number")]
    kind = "metrics one" if len(runs) == 1 else "metrics"
    head = element(
        "tr",
        element("th", "Metric", scope="col"),
        *values,
        element("th", "Samples", scope="col", class_="number"),
        element("th", "The same number for real data", scope="col"),
    )
    bodies = [_body(name, runs) for name in names]
    return scrolling(element("table", element("thead", head), *bodies, class_=kind))


def _body(name: str, runs: Sequence[Run]) -> Markup:
    metrics = standing.of_runs(evaluations_of(runs), name)
    leaders = standing.best(metrics)
    better = next(iter(metrics.values()))["better"]
    meaning = direction(better) or None
    where = element("span", f" {arrow(better)}", class_="arrow", title=meaning)
    numbers = element(
        "tr",
        element("th", element("code", breakable(name)), where, scope="row"),
        *(_value(run, metrics, leaders) for run in runs),
        element("td", _joined(f"{m['samples']:,}" for m in metrics.values()), class_="number"),
        element("td", _floors(runs, metrics)),
    )
    said = _protocols(metrics)
    protocol = element("tr", element("td", *said, colspan=3 + len(runs)), class_="protocol")
    return element("tbody", numbers, protocol)


def breakable(name: str) -> Markup:
    """A name that may be broken after its underscores."""
    return Markup(escaped(name).replace("_", "_<wbr>"))


def _joined(texts: Any) -> str:
    return " / ".join(dict.fromkeys(texts))


def _value(run: Run, metrics: Mapping[str, Any], leaders: set[str]) -> Markup:
    if run.name not in metrics:
        return element("td", "–", class_="number soft")
    written = quantity(metrics[run.name]["value"], metrics[run.name]["unit"])
    if run.name not in leaders:
        return element("td", written, class_="number")
    return element("td", written, class_="number best", title="best of the runs")


def _protocols(metrics: Mapping[str, Any]) -> list[Markup]:
    """How it was measured, once if all runs agree."""
    texts = {run: m["protocol"] for run, m in metrics.items()}
    if standing.comparable(metrics):
        return [element("p", next(iter(texts.values())))]
    warning = "Measured by other protocols or on other numbers of samples: no run is the best."
    each = [element("p", f"{run}: {text}") for run, text in texts.items()]
    return [element("p", warning, class_="warn"), *each]


def _floors(runs: Sequence[Run], metrics: Mapping[str, Any]) -> Markup | None:
    floors = standing.floors(metrics)
    texts = [
        element("span", f"{label} ", element("b", _joined(number(v, 3) for v in values)))
        for label, values in floors.items()
    ]
    return element("div", *texts, strip(runs, metrics), class_="floors") if texts else None


def strip(runs: Sequence[Run], metrics: Mapping[str, Any]) -> Markup:
    """A small scale from 0 with floors as strokes and each run's value as a dot of its colour."""
    floors = [
        (v, f"{label} {number(v, 3)}")
        for m in metrics.values()
        for label, v in m["floors"].items()
        if math.isfinite(v)
    ]
    values = {i: metrics[run.name]["value"] for i, run in enumerate(runs) if run.name in metrics}
    everything = [0.0, *(v for v, _ in floors), *values.values()]
    x = Axis(min(everything), max(everything) or 1.0, MARGIN, WIDTH - MARGIN, False, ())
    marks = [_mark("line", position(x, v), text) for v, text in dict.fromkeys(floors)]
    marks += [_mark("circle", position(x, v), runs[i].name, colour(i)) for i, v in values.items()]
    scale = element("line", x1=0, x2=WIDTH, y1=HEIGHT / 2, y2=HEIGHT / 2)
    said = "floors as strokes, values as dots: " + ", ".join(text for _, text in floors)
    box = {"viewBox": f"0 0 {WIDTH} {HEIGHT}", "role": "img", "aria_label": said}
    return element("svg", scale, *marks, class_="strip", **box)


def _mark(kind: str, x: float, text: str, style: str | None = None) -> Markup:
    named, at = element("title", text), f"{x:.1f}"
    if kind == "line":
        return element(kind, named, class_="floor", x1=at, x2=at, y1=4, y2=HEIGHT - 4)
    return element(kind, named, cx=at, cy=HEIGHT / 2, r=5, style=style)
