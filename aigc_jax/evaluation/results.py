"""What an evaluation finds: numbers that say how they came about, figures, and refusals."""

import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np


class Metric(NamedTuple):
    """One number and all that is needed to compare it with another."""

    value: float
    samples: int  # of how many generated or held-out examples
    protocol: str  # in words: the data, the features, the estimator
    floors: Mapping[str, float] = {}  # the same number for real data, {"test | train": ...}
    # "lower", "higher", the name of the floor where nearer to it is better, since real data are
    # there too and more and less are both unlike them; "" where nothing is better.
    better: str = ""
    unit: str = ""


class Figure(NamedTuple):
    """One thing to look at, read or listen to: `pixels`, `text` or `audio`."""

    name: str  # of its file, without the ending
    title: str
    caption: str
    pixels: np.ndarray | None = None  # uint8 [H, W, C]
    text: str = ""
    audio: bytes = b""  # a WAV file


class Findings(NamedTuple):
    """What one part of an evaluation contributes."""

    metrics: dict[str, Metric]
    refused: dict[str, str]  # {metric: why it is not reported}
    figures: list[Figure]


def nothing() -> Findings:
    """No findings yet."""
    return Findings({}, {}, [])


def measured(findings: Findings, name: str, measure: Callable[[], Metric]) -> None:
    """Adds the metric, or the reason for which it refuses its input.

    `measure` raises ValueError for too few samples, features that are not finite and the like.
    """
    try:
        found = measure()
    except ValueError as reason:
        findings.refused[name] = str(reason)
        return
    if np.isfinite(found.value):
        findings.metrics[name] = found
    else:
        findings.refused[name] = f"the result is {found.value}"


def extend(found: Findings, more: Findings) -> None:
    """Adds the findings of another part."""
    found.metrics.update(more.metrics)
    found.refused.update(more.refused)
    found.figures.extend(more.figures)


def write(folder: pathlib.Path, findings: Findings, about: Mapping[str, Any]) -> None:
    """Writes `metrics.json` and `figures/` of one evaluation; `about` says whose it is.

    The metrics file is put in place last and in one move: it never names a missing figure.
    """
    from aigc_jax.media import images

    figures = folder / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    listed = []
    for figure in findings.figures:
        ending = "png" if figure.pixels is not None else "wav" if figure.audio else "txt"
        path = figures / f"{figure.name}.{ending}"
        if figure.pixels is not None:
            images.write_png(path, figure.pixels, about["mark"])
        else:
            path.write_bytes(figure.audio or figure.text.encode())
        listed.append(
            {"name": figure.name, "title": figure.title, "caption": figure.caption}
            | {"file": path.name}
        )
    content = {k: v for k, v in about.items() if k != "mark"} | {
        "metrics": {name: metric._asdict() for name, metric in findings.metrics.items()},
        "refused": findings.refused,
        "figures": listed,
    }
    temporary = folder / "metrics.json.tmp"
    temporary.write_text(json.dumps(content, indent=1))
    temporary.replace(folder / "metrics.json")


def read(workdir: pathlib.Path) -> dict[str, Any] | None:
    """The stored evaluation of a run, None without one."""
    path = workdir / "evaluation" / "metrics.json"
    return json.loads(path.read_text()) if path.exists() else None
