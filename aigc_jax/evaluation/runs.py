"""What lies on disk of a run that a report shows: its record, its curves and its evaluation."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from aigc_jax import log
from aigc_jax.evaluation import results

# What a run has in its folder, however far it came.
MARKS = ("config.json", "checkpoints", "metrics.jsonl", "evaluation/metrics.json")


class Run(NamedTuple):
    """One run as a report sees it."""

    name: str
    workdir: pathlib.Path
    content: Mapping[str, Any]  # of evaluation/metrics.json, {} without one
    record: Mapping[str, Any]  # config.json, {} without one
    rows: Sequence[Mapping[str, Any]]  # metrics.jsonl


def load(workdirs: Sequence[pathlib.Path]) -> list[Run]:
    """The runs of these folders, each under a name of its own.

    Raises:
      ValueError: there is no folder, or one of them holds neither a record nor an evaluation.
    """
    if not workdirs:
        raise ValueError("0 runs: a report needs at least one")
    runs = [_load(pathlib.Path(workdir)) for workdir in workdirs]
    names = [run.name for run in runs]
    if len(set(names)) < len(names):  # runs of one name in different folders
        names = [str(run.workdir) for run in runs]
    if len(set(names)) < len(names):
        raise ValueError(f"runs {', '.join(names)}: each may be named once")
    return [run._replace(name=name) for run, name in zip(runs, names, strict=True)]


def _load(workdir: pathlib.Path) -> Run:
    record = _record(workdir / "config.json")
    content = results.read(workdir) or {}
    if not record and not content:
        raise ValueError(
            f"{workdir}: holds neither config.json nor evaluation/metrics.json; accepted are the "
            "workdirs of runs"
        )
    return Run(workdir.resolve().name, workdir, content, record, rows_of(workdir))


def _record(path: pathlib.Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text()) if path.exists() else {}
    except ValueError as error:
        raise ValueError(f"{path}: is not JSON ({error}); the next start writes it anew") from None
    if not isinstance(record, dict) or not isinstance(record.get("config", {}), dict):
        raise ValueError(f"{path}: is no record of a run")
    return record


def listed(folder: pathlib.Path) -> list[pathlib.Path]:
    """The folders in a folder that a run has written into, damaged ones among them.

    Raises:
      ValueError: there is none.
    """
    inside = sorted(folder.iterdir()) if folder.is_dir() else []
    found = [path for path in inside if any((path / mark).exists() for mark in MARKS)]
    if not found:
        raise ValueError(f"--list={folder}: holds no runs; accepted is a folder of workdirs")
    return found


def rows_of(workdir: pathlib.Path) -> list[dict[str, Any]]:
    """The rows of a run's metrics.jsonl by step."""
    return sorted(log.rows_of(workdir), key=lambda row: row["step"])


def flattened(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted keys of a nested mapping: {"optimizer.model.name": "adam", ...}."""
    flat = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat |= flattened(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
