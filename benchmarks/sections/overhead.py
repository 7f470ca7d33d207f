"""The table of what the project adds to the bare step: rows of `results/overhead.jsonl`."""

from collections.abc import Sequence

from benchmarks import report
from benchmarks.sections import cells
from benchmarks.sections.cells import Row

BARE = "bare step, ms"
CONFIG = "configs/gan_digits.py"
# The label of each figure and its decimals.
FIGURES = {
    "loop over it, %": ("the loop over the bare step of {bare:.1f} ms", 1),
    "import, s": ("importing what `train.py` needs", 2),
    "start, s": ("second start, to the end of the first step", 1),
    "save, s": ("how long saving 100 MB holds the loop up", 2),
}


def overhead(rows: Sequence[Row]) -> str:
    """The newest figures of `gan_digits` beside their goals."""
    rows = [row for row in rows if row["config"] == CONFIG]
    by_figure = {row["figure"]: row for row in cells.newest(rows, "figure")}
    if not by_figure:
        return cells.missing("python -m benchmarks.overhead")
    bare = by_figure[BARE]["median"]
    return report.table([_line(by_figure[figure], bare) for figure in FIGURES])


def _line(row: Row, bare: float) -> dict[str, str]:
    label, decimals = FIGURES[row["figure"]]
    unit = row["figure"].rpartition(", ")[2]
    measured = f"{row['median']:.{decimals}f} {unit}"
    if row["first"] != "":
        measured += f" (first: {row['first']:.{decimals}f} {unit})"
    goal = f"{row['at most']} {unit}"
    return {"figure": label.format(bare=bare), "measured": measured, "goal": goal}
