"""What an evaluation finds: numbers that say how they came about, figures, and refusals."""

import contextlib
import json
import math
import pathlib
import traceback
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

MOST_SAID = 400  # characters of a reason


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


def attempt(findings: Findings, name: str, part: Callable[[], None]) -> None:
    """Does a part that adds to `findings`; where it fails, `name` is refused with the reason.

    Whatever fails, a metric's rule or a user's own code, costs the other parts nothing.
    """
    try:
        part()
    except Exception as error:
        findings.refused[name] = reason_of(error)


def reason_of(error: Exception) -> str:
    """An error in one line: a rule's own words, of other errors their kind and place, too."""
    said = " ".join(str(error).split())
    said = said if len(said) <= MOST_SAID else f"{said[:MOST_SAID]} ..."
    if isinstance(error, ValueError):
        return said or "refused without a reason"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "site-packages" not in frame.filename] or frames
    place = f" ({pathlib.Path(own[-1].filename).name}:{own[-1].lineno})" if own else ""
    return f"{type(error).__name__}: {said}{place}"


def measured(findings: Findings, name: str, measure: Callable[[], Metric]) -> None:
    """Adds the metric, or the reason for which it refuses its input.

    `measure` raises ValueError for too few samples, features that are not finite and the like. A
    floor that is not finite costs the metric nothing: it is refused on its own.
    """

    def add() -> None:
        found = measure()
        if not math.isfinite(found.value):
            raise ValueError(f"the result is {found.value}")
        for label, value in found.floors.items():
            if not math.isfinite(value):
                findings.refused[f"{name}, {label}"] = f"the result is {value}"
        finite = {label: v for label, v in found.floors.items() if math.isfinite(v)}
        findings.metrics[name] = found._replace(floors=finite)

    attempt(findings, name, add)


def floors_of(
    findings: Findings, name: str, measures: Mapping[str, Callable[[], Any]]
) -> dict[str, Any]:
    """{label: value} of the floors of a metric that can be measured; the others are refused."""
    found = {}
    for label, measure in measures.items():
        keep = lambda label=label, measure=measure: found.update({label: measure()})
        attempt(findings, f"{name}, {label}", keep)
    return found


def extend(found: Findings, more: Findings) -> None:
    """Adds the findings of another part."""
    found.metrics.update(more.metrics)
    found.refused.update(more.refused)
    found.figures.extend(more.figures)


def write(
    folder: pathlib.Path, findings: Findings, about: Mapping[str, Any], written: int = 0
) -> None:
    """Writes `metrics.json` and `figures/` of one evaluation; `about` says whose it is.

    The metrics file is put in place last and in one move: it never names a missing figure. The
    first `written` figures are on disk already; those of the evaluation that it takes the place of
    go.
    """
    figures, former = folder / "figures", _figures_of(folder / "metrics.json")
    figures.mkdir(parents=True, exist_ok=True)
    for figure in findings.figures[written:]:
        _write_figure(figures, figure, about["mark"])
    listed = [
        {"name": figure.name, "title": figure.title, "caption": figure.caption}
        | {"file": _file_of(figure)}
        for figure in findings.figures
    ]
    content = {k: v for k, v in about.items() if k != "mark"} | {
        "metrics": {name: metric._asdict() for name, metric in findings.metrics.items()},
        "refused": findings.refused,
        "figures": listed,
    }
    temporary = folder / "metrics.json.tmp"
    temporary.write_text(json.dumps(content, indent=1))
    temporary.replace(folder / "metrics.json")
    for name in former - {figure["file"] for figure in listed}:
        (figures / name).unlink(missing_ok=True)


def _figures_of(path: pathlib.Path) -> set[str]:
    """The files of the figures that a metrics file names; none of one that cannot be read."""
    with contextlib.suppress(ValueError, TypeError, KeyError, OSError):
        return {pathlib.Path(f["file"]).name for f in json.loads(path.read_text())["figures"]}
    return set()


def _file_of(figure: Figure) -> str:
    ending = "png" if figure.pixels is not None else "wav" if figure.audio else "txt"
    return f"{figure.name}.{ending}"


def _write_figure(folder: pathlib.Path, figure: Figure, mark: Mapping[str, Any]) -> None:
    from aigc_jax.media import images

    path = folder / _file_of(figure)
    if figure.pixels is not None:
        images.write_png(path, figure.pixels, mark)
    else:
        path.write_bytes(figure.audio or figure.text.encode())


def read(workdir: pathlib.Path) -> dict[str, Any] | None:
    """The stored evaluation of a run, None without one.

    Raises:
      ValueError: it is damaged.
    """
    path = workdir / "evaluation" / "metrics.json"
    try:
        content = json.loads(path.read_text()) if path.exists() else None
    except ValueError as error:
        raise ValueError(f"{path}: is not JSON ({error}); evaluate the run again") from None
    parts = {"metrics": dict, "refused": dict, "figures": list, "step": int}
    if content is not None and not isinstance(content, dict):
        raise ValueError(f"{path}: holds no evaluation; evaluate the run again")
    for name, kind in parts.items() if content is not None else ():
        if not isinstance(content.get(name), kind):
            raise ValueError(f"{path}: has no {name}; evaluate the run again")
    return content
