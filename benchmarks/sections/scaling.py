"""The simulated scaling study: rows of `results/scaling.jsonl` -> Markdown."""

from collections.abc import Sequence

from benchmarks import report
from benchmarks.scaling import plot, predict
from benchmarks.scaling.chips import CHIPS, WORDS, Chip, Figure
from benchmarks.sections import cells
from benchmarks.sections.cells import Row

COMMAND = "python -m benchmarks.scaling"
MOST = predict.CHIP_COUNTS[-1]


def newest(rows: Sequence[Row]) -> list[Row]:
    """The last row of every workload and mesh."""
    return cells.newest(rows, "workload", "mesh")


def link(rows: Sequence[Row]) -> str:
    """The plot in Markdown, a line of its own; "" without anything to show."""
    alt = "Predicted efficiency over the number of chips"
    return f"\n![{alt}](results/{plot.NAME})\n" if rows else ""


def provenance(rows: Sequence[Row]) -> str:
    """Commit, versions and device counts of the newest rows in one sentence."""
    if not rows:
        return ""
    row = newest(rows)[-1]
    counts = ", ".join(str(point["devices"]) for point in row["points"])
    return (
        f"Simulated, not measured: compiled with jax {row['versions']['jax']} at commit "
        f"{row['commit'][:7]}{'+' * ('+' in row['commit'])} on {row['date'][:10]} for {counts} CPU "
        f"devices in {row['minutes']:.0f} minutes on {row['processor']}."
    )


def table(rows: Sequence[Row]) -> str:
    """Efficiency and step time of every workload and mesh, and where each stops scaling."""
    chosen = newest(rows)
    return report.table([_line(row) for row in chosen]) if chosen else cells.missing(COMMAND)


def _line(row: Row) -> dict[str, str]:
    hopper, torus = CHIPS["H100"], CHIPS["TPU v5p"]
    most = predict.reach(row)[-1]
    return {
        "model": row["title"],
        "mesh": row["mesh"],
        "ms, 1 chip": cells.three_digits(1e3 * predict.weak(row, 1, hopper).seconds(False)),
        "state on a chip": _state(row),
        "most chips that divide it": _last_division(row, hopper),
        "512": _efficiency(row, 512, hopper),
        f"{MOST:,}": _efficiency(row, MOST, hopper),
        "below half from": _stop(row, hopper),
        f"v5p, {MOST:,}": _efficiency(row, MOST, torus),
        f"fit error at {MOST:,}": (
            _percent(predict.fit_error(row, MOST, hopper)) if most == MOST else "–"
        ),
    }


def _state(row: Row) -> str:
    """What one device holds of the state, in percent, at the most of 512 that divide it."""
    devices = min(512, predict.reach(row)[-1])
    held, whole = (predict.counts_at(row, n)["state_bytes"] for n in (devices, 1))
    return f"{_percent(held / whole)} of {devices}"


def _last_division(row: Row, chip: Chip) -> str:
    """The most chips that divide the state and the efficiency there, where there is an end."""
    most = predict.reach(row)[-1]
    return f"{most:,}: {_efficiency(row, most, chip)}" if most < MOST else "–"


def _efficiency(row: Row, devices: int, chip: Chip) -> str:
    """The two bounds, in percent; none where the mesh does not divide the state."""
    if devices not in predict.reach(row):
        return "–"
    low, high = (round(100 * predict.efficiency(row, devices, chip, h)) for h in (False, True))
    return f"{low} %" if low == high else f"{low}–{high} %"


def _stop(row: Row, chip: Chip) -> str:
    """Where efficiency stays below one half without overlap, with it, and what is to blame."""
    counts = predict.reach(row)
    at = [
        predict.stops(lambda n: predict.efficiency(row, n, chip, h), counts) for h in (False, True)
    ]
    never = "never" if counts[-1] == MOST else f"not up to {counts[-1]:,}"
    if at[0] is None:
        return never
    blame = predict.blame(row, at[0], chip)
    hidden = never if at[1] is None else f"{at[1]:,}"
    return f"{at[0]:,} ({hidden}): {blame}"


def fixed(rows: Sequence[Row]) -> str:
    """Where a fixed global batch stops scaling, by workload and mesh."""
    chosen = [row for row in newest(rows) if row["half"]]
    return report.table([_fixed(row) for row in chosen]) if chosen else cells.missing(COMMAND)


def _fixed(row: Row) -> dict[str, str]:
    batch = row["fixed_batch"]
    counts = [n for n in predict.reach(row) if n <= batch]

    def last(chip):
        lasts = []
        for hidden in (False, True):
            at = lambda n: predict.strong_efficiency(row, n, chip, batch, hidden)
            stop = predict.stops(at, counts)
            lasts.append(f"{max(n for n in counts if stop is None or n < stop):,}")
        return lasts[0] if lasts[0] == lasts[1] else " to ".join(lasts)

    named = {name: last(chip) for name, chip in CHIPS.items()}
    return {"model": row["title"], "mesh": row["mesh"], "global batch": f"{batch:,}", **named}


def errors(rows: Sequence[Row]) -> str:
    """What each collective is fitted by, and how far a prediction of the last point was off.

    Rows of which all is compiled, since the mesh divides the state no further, have no laws.
    """
    lines = []
    for row in newest(rows):
        if MOST not in predict.reach(row):
            continue
        for (part, kind, axes), law in _fitted(row):
            lines.append(
                {
                    "model": row["title"],
                    "mesh": row["mesh"],
                    "collective": f"{kind} over {axes}, {part}",
                    "law": law.form,
                    "at 512": f"{law.at(512) / (1e6 if part == 'bytes' else 1):,.4g}"
                    + " MB" * (part == "bytes"),
                    "error": _percent(law.error),
                }
            )
    return report.table(lines) if lines else cells.missing(COMMAND)


def _percent(share: float) -> str:
    """Two digits, or all before the point."""
    if share < 1e-5:
        return "0 %"
    return f"{100 * share:,.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


def _fitted(row: Row) -> list:
    """The laws of collectives that move a thousandth of the row's bytes or more."""
    found = {name: law for name, law in predict.laws(row).items() if len(name) == 3}
    most = max((law.at(512) for (part, *_), law in found.items() if part == "bytes"), default=0)
    heavy = {name[1:] for name, law in found.items() if law.at(512) > most / 1000}
    return [(name, law) for name, law in found.items() if name[0] == "bytes" and name[1:] in heavy]


def chips(rows: Sequence[Row]) -> str:
    """Every figure of chips and links with its kind and source; the same with and without rows."""
    lines = []
    for field, (words, unit, size) in WORDS.items():
        figures: dict[str, Figure] = {name: getattr(chip, field) for name, chip in CHIPS.items()}
        written = {
            name: f"{figure.value / size:g} {unit}".strip() if figure.value else "–"
            for name, figure in figures.items()
        }
        there = [figure for figure in figures.values() if figure.value]
        kinds = dict.fromkeys(figure.kind for figure in there)
        sources = dict.fromkeys(figure.source for figure in there)
        lines.append(
            {"figure": words, **written, "is": ", ".join(kinds), "source": "; ".join(sources)}
        )
    return report.table(lines)
