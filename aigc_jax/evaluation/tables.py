"""What evaluations found, as text for a terminal: one table, or one line per run."""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from aigc_jax.evaluation import standing
from aigc_jax.evaluation.readable import ARROWS, NEAR, arrow, number, quantity, words

BEST, UNLIKE = "*", "†"  # marks behind a value
GAP = "   "
NAME, KIND, STEPS = 24, 30, 22  # characters of the first columns of a summary line


def metrics_table(evaluations: Mapping[str, Mapping[str, Any]]) -> str:
    """An aligned table of {run name: content of its metrics.json}: a row for each metric.

    Its columns are the name with an arrow to where better is, the value (of each run; the best
    has a star), the sample count and the floors. Values that were measured by different protocols
    or on different numbers of samples get a dagger and no best. Refused metrics follow with their
    reasons.

    Raises:
      ValueError: there is no evaluation.
    """
    if not evaluations:
        raise ValueError("0 evaluations: a table needs at least one")
    names = standing.metric_names(evaluations)
    values = list(evaluations) if len(evaluations) > 1 else ["value"]
    rows = [["metric", *values, "samples", "the same number for real data"]]
    rows += [_row(evaluations, name) for name in names]
    table = aligned(rows, right=range(1, 2 + len(values))) if names else "no metric is reported"
    return "\n\n".join(filter(None, (table, _legend(table), _refused(evaluations))))


def aligned(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Rows of equal length as lines with aligned columns; those of `right` end together."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]

    def line(row):
        padded = [
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return GAP.join(padded).rstrip()

    lines = [line(row) for row in rows]
    return "\n".join([lines[0], "─" * max(map(len, lines)), *lines[1:]])


def _row(evaluations: Mapping[str, Mapping[str, Any]], name: str) -> list[str]:
    metrics = standing.of_runs(evaluations, name)
    where = arrow(next(iter(metrics.values()))["better"])
    leaders, alike = standing.best(metrics), standing.comparable(metrics)
    several = len(evaluations) > 1

    def value_of(run):
        if run not in metrics:
            return "–" + " " * several
        mark = BEST if run in leaders else " " if alike else UNLIKE
        return quantity(metrics[run]["value"], metrics[run]["unit"]) + mark * several

    samples = _each({m["samples"]: f"{m['samples']:,}" for m in metrics.values()})
    floors = [
        f"{label} {_each({value: number(value, 3) for value in values})}"
        for label, values in standing.floors(metrics).items()
    ]
    return [f"{name} {where}".strip(), *map(value_of, evaluations), samples, ", ".join(floors)]


def _each(written: Mapping[Any, str]) -> str:
    """What all runs have in common, or what each has."""
    return " / ".join(dict.fromkeys(written.values()))


def _legend(table: str) -> str:
    said = {
        ARROWS["lower"]: f"{ARROWS['lower']} lower is better",
        ARROWS["higher"]: f"{ARROWS['higher']} higher is better",
        NEAR: f"{NEAR} nearer to real data is better",
        BEST: f"{BEST} best of the runs",
        UNLIKE: f"{UNLIKE} measured by other protocols or on other numbers of samples",
    }
    return ", ".join(text for mark, text in said.items() if mark in table)


def _refused(evaluations: Mapping[str, Mapping[str, Any]]) -> str:
    lines = [
        f"  {metric}: {reason}" + f" ({of})" * (len(evaluations) > 1)
        for metric, reason, of in standing.refusals(evaluations)
    ]
    return "\n".join(["not reported", *lines]) if lines else ""


def summary_line(
    name: str,
    content: Mapping[str, Any] | None,
    record: Mapping[str, Any] | None,
    rows: Sequence[Mapping[str, Any]],
) -> str:
    """A run in one line: name, family and data, steps, the three most telling metrics, date.

    Args:
      name: of the run.
      content: its `evaluation/metrics.json`, None without one.
      record: its `config.json`, None without one.
      rows: of its `metrics.jsonl`; only the last is read.
    """
    config = (record or {}).get("config", {})
    family = config.get("algorithm", {}).get("name", "?")
    kind = f"{family} on {config.get('data', {}).get('name', '?')}"
    step = rows[-1]["step"] if rows else (content or {}).get("step", 0)
    steps = f"step {step:,} of {config['steps']:,}" if "steps" in config else f"step {step:,}"
    found = _telling(content, step) if content else "not evaluated yet"
    columns = (name.ljust(NAME), kind.ljust(KIND), steps.ljust(STEPS), _date(content, rows), found)
    return "  ".join(columns)


def _telling(content: Mapping[str, Any], step: int) -> str:
    metrics = content["metrics"]
    parts = [
        f"{words(name)} {quantity(metrics[name]['value'], metrics[name]['unit'])}"
        for name in standing.headlines(content, 3)
    ]
    at = f"at step {content['step']:,}: " * (content["step"] != step)
    left = "; cut short" if content.get("remaining") else ""
    return at + (", ".join(parts) or f"all {len(content['refused'])} metrics refused") + left


def _date(content: Mapping[str, Any] | None, rows: Sequence[Mapping[str, Any]]) -> str:
    """Of the evaluation, else of the last row, as 2026-01-31."""
    if content and content.get("date"):
        return content["date"][:10]
    if rows and "time" in rows[-1]:
        return datetime.datetime.fromtimestamp(rows[-1]["time"], datetime.UTC).date().isoformat()
    return " " * 10
