"""From rows of results to cells: which rows count, and how their numbers are written."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks import report

Row = Mapping[str, Any]


def of_seeds(rows: Sequence[Row], **key: Any) -> list[Row]:
    """The newest complete set of seeds among the rows that agree with `key`.

    A set is of one commit, and complete if it has every seed that any commit has; of a seed that it
    has twice, the later row counts. Without such a commit it is the last row of each seed.
    """
    found = [row for row in rows if all(row.get(name) == value for name, value in key.items())]
    last = {row["seed"]: row for row in found}
    for commit in dict.fromkeys(row["commit"] for row in reversed(found)):
        of_commit = {row["seed"]: row for row in found if row["commit"] == commit}
        if of_commit.keys() == last.keys():
            return list(of_commit.values())
    return list(last.values())


def newest(rows: Sequence[Row], *keys: str) -> list[Row]:
    """The last row of every combination of values of `keys`, in the order of first appearance."""
    return list({tuple(row.get(key) for key in keys): row for row in rows}.values())


def mean(rows: Sequence[Row], name: str, decimals: int, scale: float = 1.0, unit: str = "") -> str:
    """ "mean ± standard deviation" of a column times `scale`; of one row only its value."""
    values = [scale * row[name] for row in rows]
    written = f"{statistics.mean(values):.{decimals}f}"
    if len(values) > 1:
        written += f" ± {statistics.stdev(values):.{decimals}f}"
    return written + unit


def two_digits(rows: Sequence[Row], name: str) -> str:
    """`mean` with as many decimals as show two digits of the deviation, four at most."""
    values = [row[name] for row in rows]
    deviation = statistics.stdev(values) if len(values) > 1 else abs(values[0])
    decimals = 4 if deviation == 0 else min(4, max(0, 1 - math.floor(math.log10(deviation))))
    return mean(rows, name, decimals)


def three_digits(value: float) -> str:
    """Three digits, or all before the point, with commas between thousands."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def ratio(row: Row, name: str) -> str:
    """Median and, in brackets, least and greatest round, in bold from 1 on; "" where absent."""
    if name not in row:
        return ""
    median = f"{row[name]:.2f}"
    bold = f"**{median}**" if row[name] >= 1 else median
    return f"{bold} ({row[f'{name}_low']:.2f}–{row[f'{name}_high']:.2f})"


def minutes(rows: Sequence[Row]) -> str:
    """The shortest and the longest of the runs: "9 to 12 min", below two minutes in seconds."""
    values = [row["seconds"] for row in rows if row["seconds"] is not None]
    if not values:
        return "an unknown time"
    unit, size = ("s", 1) if max(values) < 120 else ("min", 60)
    least, most = round(min(values) / size), round(max(values) / size)
    return f"{least} {unit}" if least == most else f"{least} to {most} {unit}"


def table(
    groups: Mapping[str, Sequence[Row]],
    first: str,
    columns: Mapping[str, Callable[[Sequence[Row]], str]],
    command: str,
) -> str:
    """A Markdown table: a line for each group with rows, a cell for each column.

    Args:
      groups: the rows of each line by its label.
      first: what labels are, the header of the first column.
      columns: header -> (rows of a line) -> cell.
      command: what measures these rows.
    """
    lines = [
        {first: label} | {header: cell(rows) for header, cell in columns.items()}
        for label, rows in groups.items()
        if rows
    ]
    return report.table(lines) if lines else missing(command)


def missing(command: str) -> str:
    """What stands in place of a table without rows."""
    return f"Not measured yet: `{command}`"
