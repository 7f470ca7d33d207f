"""How runs stand beside each other: which metrics they share, whose is best, which to read first.

An evaluation here is the content of a run's `evaluation/metrics.json`, and `evaluations` maps the
names of runs to theirs.
"""

import re
from collections.abc import Mapping
from typing import Any

# What a reader looks for first; matched against the start of a metric's name or of a word in it.
HEADLINES = (
    "fid",
    "frechet",
    "modes",
    "reverse_kl",
    "modes_kl",
    "iw",
    "log_likelihood",
    "negative_elbo",
    "elbo",
    "perplexity",
    "bits",
    "nll",
    "loss",
    "precision",
    "recall",
    "coverage",
    "kid",
    "accuracy",
    "psnr",
)


def metric_names(evaluations: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """All metrics that any run reports, in the order in which they first stand."""
    return list(dict.fromkeys(name for e in evaluations.values() for name in e["metrics"]))


def of_runs(evaluations: Mapping[str, Mapping[str, Any]], metric: str) -> dict[str, Any]:
    """{run: its metric} of the runs that report it."""
    return {run: e["metrics"][metric] for run, e in evaluations.items() if metric in e["metrics"]}


def comparable(metrics: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether all were measured alike: the same protocol, of as many samples."""
    return len({(m["protocol"], m["samples"], m["better"]) for m in metrics.values()}) <= 1


def best(metrics: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """The runs with the best of comparable values; none if all are equal or nothing is better.

    Nothing is where values should be near a floor that a run lacks.
    """
    behind = {run: _behind(metric) for run, metric in metrics.items()}
    if len(set(behind.values())) < 2 or None in behind.values() or not comparable(metrics):
        return set()
    goal = min(behind.values())
    return {run for run, value in behind.items() if value == goal}


def _behind(metric: Mapping[str, Any]) -> float | None:
    """The lower, the better; None where nothing is better."""
    value, better = metric["value"], metric["better"]
    if better in ("lower", "higher"):
        return value if better == "lower" else -value
    floor = metric["floors"].get(better)
    return None if floor is None else abs(value - floor)


def floors(metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, list[float]]:
    """{label: values} of the runs' floors, each value once."""
    found = {}
    for metric in metrics.values():
        for label, value in metric["floors"].items():
            values = found.setdefault(label, [])
            values += [value] * (value not in values)
    return found


def headlines(evaluation: Mapping[str, Any], count: int) -> list[str]:
    """The metrics to read first: at most one for each of `HEADLINES`, then the others in order."""
    names = list(evaluation["metrics"])
    chosen = []
    for headline in HEADLINES:
        fits = [n for n in names if re.search(rf"(^|_){headline}", n) and n not in chosen]
        chosen += fits[:1]
    judged = [n for n in names if evaluation["metrics"][n]["better"]]
    return list(dict.fromkeys([*chosen, *judged, *names]))[:count]


def refusals(evaluations: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """(metric, reason, runs in words) of all that is not reported, once for each reason."""
    runs = {}
    for run, evaluation in evaluations.items():
        for metric, reason in evaluation["refused"].items():
            runs.setdefault((metric, reason), []).append(run)
    said = {
        which: "all runs" if len(of) == len(evaluations) else ", ".join(of)
        for which, of in runs.items()
    }
    return [(*which, of) for which, of in said.items()]
