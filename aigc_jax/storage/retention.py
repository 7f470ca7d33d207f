"""The folder of a run's checkpoints: which steps it holds, which are kept, and whether more fit."""

import contextlib
import math
import os
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

import jax

from aigc_jax.core import PyTree

BEING_MADE = "unfinished"
BEING_DELETED = "deleted"


def folder(workdir: pathlib.Path) -> pathlib.Path:
    """Where a run keeps its checkpoints."""
    return (pathlib.Path(workdir) / "checkpoints").resolve()


def steps(workdir: pathlib.Path) -> list[int]:
    """Steps that have a checkpoint, oldest first; unfinished saves and links do not count."""
    found = [p for p in folder(workdir).glob("*") if p.name.isascii() and p.name.isdigit()]
    whole = [p for p in found if p.is_dir() and not p.is_symlink() and any(p.iterdir())]
    return sorted(int(p.name) for p in whole if p.name == str(int(p.name)))


def kept(
    metrics: Mapping[int, Mapping[str, float]],
    keep_last: int,
    keep_best: str,
    mode: str,
    keep_every: int,
) -> set[int]:
    """Of {step: its metrics}, the steps to keep.

    The newest `keep_last` (at least one), the multiples of `keep_every`, and the best by the metric
    `keep_best` in `mode` "min" or "max"; of equally good ones the newest.
    """
    newest = sorted(metrics)[-max(keep_last, 1) :]
    regular = [step for step in metrics if keep_every and step and step % keep_every == 0]
    sign = -1 if mode == "min" else 1
    values = {s: m[keep_best] for s, m in metrics.items() if s and keep_best in m}
    ranked = sorted((sign * v, step) for step, v in values.items() if math.isfinite(v))
    return {*newest, *regular, *(step for _, step in ranked[-1:])}


def written_to(workdir: pathlib.Path, step: int) -> pathlib.Path:
    """Where the checkpoint of a step is made before it takes its place."""
    return folder(workdir) / f"{step}.{BEING_MADE}"


def put_in_place(workdir: pathlib.Path, step: int) -> None:
    """Moves a checkpoint that was made to its step, where it replaces an older one.

    What it is made of reaches the disk before: older ones are deleted next, and a power cut must
    not take both.
    """
    path = folder(workdir) / str(step)
    for inside in (*written_to(workdir, step).rglob("*"), written_to(workdir, step)):
        _flush(inside)
    doomed = unused(path, BEING_DELETED)
    if path.exists():
        path.rename(doomed)
    written_to(workdir, step).rename(path)
    _flush(folder(workdir))
    with contextlib.suppress(OSError):
        _delete(doomed)


def _flush(path: pathlib.Path) -> None:
    """Has the system write a file or folder out; some file systems do not know that."""
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove(path: pathlib.Path) -> None:
    """Deletes a checkpoint; it stops being one at once, however long deleting takes."""
    doomed = unused(path, BEING_DELETED)
    path.rename(doomed)
    _delete(doomed)


def clean(workdir: pathlib.Path) -> None:
    """Deletes what a process that was killed left behind: half-made and half-deleted folders."""
    for pattern in (f"*.{BEING_MADE}*", f"*.{BEING_DELETED}*"):
        for path in folder(workdir).glob(pattern):
            _delete(path)


def _delete(path: pathlib.Path) -> None:
    """Deletes a folder, or a link that stands in its place but not what it leads to."""
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def unused(path: pathlib.Path, suffix: str) -> pathlib.Path:
    """`path.suffix`, or `path.suffix.2` and so on where that is taken."""
    name, count = path.with_name(f"{path.name}.{suffix}"), 1
    while name.exists() or name.is_symlink():
        count += 1
        name = path.with_name(f"{path.name}.{suffix}.{count}")
    return name


def set_aside(workdir: pathlib.Path, step: int, suffix: str = "damaged") -> list[pathlib.Path]:
    """Renames the checkpoints after `step` to N.suffix, so that they can be made again.

    Returns their new paths. Of several processes only the first renames.
    """
    later = [folder(workdir) / str(s) for s in steps(workdir) if s > step]
    return rename(later, suffix)


def rename(paths: list[pathlib.Path], suffix: str) -> list[pathlib.Path]:
    """Renames each path to path.suffix in the first process; returns the new paths."""
    if jax.process_index() > 0:
        return []
    return [path.rename(unused(path, suffix)) for path in paths]


def most_at_once(config: Mapping[str, Any]) -> int:
    """How many checkpoints a run's folder holds at most: with one in the making and one to go."""
    regular = config["steps"] // config["keep_every"] if config["keep_every"] else 0
    saves = -(-config["steps"] // config["save_every"]) + 1  # that of step 0 too
    return min(config["keep_last"] + regular + bool(config["keep_best"]), saves) + 2


def check_space(workdir: pathlib.Path, state: PyTree, copies: int) -> None:
    """Whether `copies` checkpoints of a state, abstract or not, fit beside what is there.

    Those that the folder holds already count as made.

    Raises:
      ValueError: naming the folder, the bytes needed and the bytes free.
    """
    there = folder(workdir)
    while not there.exists():
        there = there.parent
    each = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    missing = max(copies - len(steps(workdir)), 1)
    free = shutil.disk_usage(there).free
    if each * missing > free:
        raise ValueError(
            f"{folder(workdir)}: {missing} more checkpoints of {each:,} bytes need "
            f"{each * missing:,} bytes, but {free:,} are free; free some, keep fewer "
            "(config.keep_last, config.keep_every) or give another --workdir"
        )
