"""Tables of modes and of music: rows of `results/quality_*.jsonl` -> Markdown."""

from collections.abc import Callable, Sequence
from functools import partial

from benchmarks import report
from benchmarks.sections import cells
from benchmarks.sections.cells import Row

GRID = {
    "ns": "`ns`: non-saturating",
    "ns_r1": "`ns_r1`: with R1",
    "rp_r1r2": "`rp_r1r2`: relativistic with R1 and R2",
    "wgan_gp": "`wgan_gp`",
    "pac2": "`pac2`: as `ns`, in packs of two",
}
RING = {method: f"`{method}`" for method in GRID}
STACKED = {
    "cpu": "`gan_stacked:cpu`, DCGAN",
    "cpu_pac2": "`gan_stacked:cpu_pac2`, the same in packs of two",
}
# The same of Bach's 77 test pieces, measured by `benchmarks.quality.music` with the model's.
BACH = {
    "voice crossing, share of frames": ("voice_crossing", 1, 100, " %", "2.0 %"),
    "parallel fifths per 100 chord changes": ("parallel_fifths", 1, 1, "", "0.21"),
    "parallel octaves per 100 chord changes": ("parallel_octaves", 1, 1, "", "0.08"),
    "leaps over 7 semitones": ("leaps", 1, 100, " %", "2.4 %"),
    "pitches in the range of their voice": ("in_range", 1, 100, " %", "100 %"),
    "longest copied run, frames, in any key": ("longest_copied_run", 0, 1, "", "34"),
}
MUSIC = "python -m benchmarks.quality.music"


def _digits(name: str) -> Callable:
    return lambda rows: cells.two_digits(rows, name)


def _mixture(data: str, first: str, labels: dict[str, str], rows: Sequence[Row]) -> str:
    plain = [row for row in rows if not row["overrides"]]
    groups = {
        label: cells.of_seeds(plain, data=data, method=method) for method, label in labels.items()
    }
    columns = {
        "modes": lambda rows: cells.mean(rows, "modes", 0),
        "high quality": lambda rows: cells.mean(rows, "high_quality", 2),
        "reverse KL": _digits("reverse_kl"),
        "reverse KL, HQ": _digits("reverse_kl_hq"),
    }
    return cells.table(groups, first, columns, f"python -m benchmarks.quality.modes --data {data}")


grid = partial(_mixture, "grid", "25-Gaussian grid", GRID)
ring = partial(_mixture, "ring", "ring of 8", RING)


def modes_time(rows: Sequence[Row]) -> str:
    """The shortest and the longest run of either mixture."""
    plain = [row for row in rows if not row["overrides"]]
    pairs = [(data, method) for data in ("grid", "ring") for method in GRID]
    chosen = [r for data, method in pairs for r in cells.of_seeds(plain, data=data, method=method)]
    return cells.minutes(chosen)


def _stacked(rows: Sequence[Row]) -> dict[str, list[Row]]:
    plain = [row for row in rows if not row["overrides"]]
    return {label: cells.of_seeds(plain, method=method) for method, label in STACKED.items()}


def stacked(rows: Sequence[Row]) -> str:
    """Modes of Stacked MNIST, above those of true triples."""
    groups = _stacked(rows)
    columns = {
        "modes of 1000": lambda rows: cells.mean(rows, "modes", 0),
        "KL from uniform": lambda rows: f"{rows[0]['kl']:.3g} nats",
    }
    command = "python -m benchmarks.quality.stacked --arguments cpu cpu_pac2 --seeds 0"
    made = cells.table(groups, "config", columns, command)
    found = [row for group in groups.values() for row in group]
    return f"{made}\n| true triples | 1000 | {found[0]['floor']:.3f} nats |" if found else made


def stacked_time(rows: Sequence[Row]) -> str:
    """The shortest and the longest run."""
    return cells.minutes([row for group in _stacked(rows).values() for row in group])


def _chorales(rows: Sequence[Row]) -> list[Row]:
    plain = [row for row in rows if not row["overrides"]]
    return cells.of_seeds(plain, config="configs/gpt_chorales.py")


def chorales(rows: Sequence[Row]) -> str:
    """Loss and accuracy on the test pieces; the n-grams' rows follow in the template."""
    columns = {
        "nats per note": lambda rows: cells.mean(rows, "nll", 3),
        "nats per frame": lambda rows: cells.mean(rows, "nll_per_frame", 2),
        "accuracy": lambda rows: cells.mean(rows, "accuracy", 3),
        "accuracy on changes": lambda rows: cells.mean(rows, "accuracy_on_changes", 3),
    }
    return cells.table({"`gpt_chorales`, 900 steps": _chorales(rows)}, "model", columns, MUSIC)


def voice_leading(rows: Sequence[Row]) -> str:
    """Rules of voice leading, the model's samples beside Bach's test pieces."""
    chosen = _chorales(rows)
    lines = [
        {
            "16 samples of 8 bars": rule,
            "model": cells.mean(chosen, name, decimals, scale, unit),
            "Bach's test pieces": bach,
        }
        for rule, (name, decimals, scale, unit, bach) in BACH.items()
        if chosen
    ]
    return report.table(lines) if lines else cells.missing(MUSIC)


def chorales_time(rows: Sequence[Row]) -> str:
    """The shortest and the longest training."""
    return cells.minutes(_chorales(rows))
