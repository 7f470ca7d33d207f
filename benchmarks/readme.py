"""Writes benchmarks/README.md and its plot from the recorded results.

    python -m benchmarks.readme

Prose and published figures stand in README.template.md; a `{{name}}` in it is replaced by what the
function of that name in `PARTS` makes of the rows of one file in results/.
"""

import json
import pathlib
import re
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks import plots, report
from benchmarks.sections import faults, growth, modes, overhead, quality, scaling, speed

TEMPLATE = report.ROOT / "benchmarks" / "README.template.md"
README = report.ROOT / "benchmarks" / "README.md"
HOLE = re.compile(r"\{\{(\w+)\}\}")

# What a hole in the template is filled with: the file in results/, and (rows) -> text.
PARTS: Mapping[str, tuple[str, Callable]] = {
    "plot": ("speed", plots.link),
    "cpu": ("speed", speed.cpu),
    "gpu": ("speed", speed.gpu),
    "end_to_end": ("end_to_end", growth.end_to_end),
    "growth": ("growth", growth.growth),
    "text": ("quality_text", quality.text),
    "gan": ("quality_gan", quality.gan),
    "gan_agreement": ("quality_gan", quality.gan_agreement),
    "vae": ("quality_vae", quality.vae),
    "grid": ("quality_modes", modes.grid),
    "ring": ("quality_modes", modes.ring),
    "modes_time": ("quality_modes", modes.modes_time),
    "stacked": ("quality_stacked", modes.stacked),
    "stacked_time": ("quality_stacked", modes.stacked_time),
    "likelihood": ("quality_likelihood", quality.likelihood),
    "likelihood_time": ("quality_likelihood", quality.likelihood_time),
    "chorales": ("quality_music", modes.chorales),
    "voice_leading": ("quality_music", modes.voice_leading),
    "chorales_time": ("quality_music", modes.chorales_time),
    "overhead": ("overhead", overhead.overhead),
    "faults": ("faults", faults.faults),
    "checkpoints": ("checkpoints", faults.checkpoints),
    "scaling_plot": ("scaling", scaling.link),
    "scaling_provenance": ("scaling", scaling.provenance),
    "scaling": ("scaling", scaling.table),
    "scaling_fixed": ("scaling", scaling.fixed),
    "scaling_errors": ("scaling", scaling.errors),
    "scaling_chips": ("scaling", scaling.chips),
}


def recorded(folder: pathlib.Path, name: str) -> list[dict[str, Any]]:
    """The rows of `<folder>/<name>.jsonl` in the order of their dates, none without the file."""
    path = folder / f"{name}.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return sorted(map(json.loads, lines), key=lambda row: row["date"])


def fill(template: str, made: Mapping[str, str]) -> str:
    """The template with every hole filled.

    Raises:
      ValueError: for a hole that nothing fills, or a part without a hole.
    """
    holes = HOLE.findall(template)
    for name in holes:
        if name not in made:
            raise ValueError(f"{{{{{name}}}}}: nothing fills it; accepted are {', '.join(made)}")
    for name in made:
        if name not in holes:
            raise ValueError(f"{{{{{name}}}}} is missing in the template")
    return HOLE.sub(lambda hole: made[hole[1]], template)


def written(folder: pathlib.Path) -> str:
    """The text of README.md from the results in `folder`."""
    made = {name: make(recorded(folder, file)) for name, (file, make) in PARTS.items()}
    return fill(TEMPLATE.read_text(), made)


def main() -> None:
    """Writes the page, and the plot where there is something to show."""
    README.write_text(written(report.RESULTS))
    print(README)
    rows = recorded(report.RESULTS, "speed")
    if plots.bars(rows):
        print(plots.draw(rows, report.RESULTS / plots.NAME))


if __name__ == "__main__":
    main()
