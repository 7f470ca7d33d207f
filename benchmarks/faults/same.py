"""Whether two runs ended alike, and what a run's files say of it."""

import json
import pathlib
from typing import Any

import numpy as np

from aigc_jax import checkpoint

# What two equal runs may write differently.
VARYING = ("time", "examples_per_second", "peak_memory_mib")


def rows(workdir: pathlib.Path, split: str = "") -> list[dict[str, Any]]:
    """The rows of metrics.jsonl, of one split or all, without what varies."""
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    wanted = [row for row in lines if split in ("", row["split"])]
    return [{k: v for k, v in row.items() if k not in VARYING} for row in wanted]


def equal(one: pathlib.Path, other: pathlib.Path) -> bool:
    """Whether the newest states, step and cursor included, and all rows are equal bit for bit."""
    if checkpoint.steps(one)[-1:] != checkpoint.steps(other)[-1:]:
        return False
    a, b = checkpoint.read_arrays(one), checkpoint.read_arrays(other)
    bits = a.keys() == b.keys() and all(a[k].tobytes() == b[k].tobytes() for k in a)
    return bits and rows(one) == rows(other)


def finite(workdir: pathlib.Path) -> bool:
    """Whether the newest state is finite throughout."""
    arrays = checkpoint.read_arrays(workdir).values()
    return all(np.isfinite(x).all() for x in arrays if np.issubdtype(x.dtype, np.floating))


def apart(one: pathlib.Path, other: pathlib.Path) -> float:
    """The relative difference of the ELBO in the last evaluations of two runs.

    Another division of the batch rounds otherwise, and hundreds of steps multiply that: the parts
    of the ELBO, which weigh against each other, differ ten times as much as their sum.
    """
    a, b = (rows(workdir, "test")[-1]["elbo"] for workdir in (one, other))
    return abs(a - b) / abs(a)


def names(workdir: pathlib.Path) -> list[str]:
    """What lies beside each other in the folder of checkpoints."""
    return sorted(path.name for path in checkpoint.folder(workdir).iterdir())
