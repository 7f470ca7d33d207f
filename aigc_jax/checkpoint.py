"""Checkpoints: the State, the run's config and tokenizer, and a digest of every leaf.

A save copies the state to the host and returns; digests and files are made in the background.
Format 1 is an Orbax composite of `state` (arrays) and `meta` (JSON): {"format", "run": what was
passed, "sha256": of that as sorted JSON, "leaves": {path: {"sha256", "shape", "dtype"}}}.
"""

import hashlib
import json
import pathlib
import shutil
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as managers

from aigc_jax.core import PyTree, State, path_name

FORMAT = 1


class Writer:
    """Saves the states of one run, one at a time, in the background.

    Keeps the newest `keep_last` and, where `keep_best` names a metric, the best by it; never
    deletes the newest.
    """

    def __init__(self, workdir: pathlib.Path, keep_last: int, keep_best: str, mode: str):
        unknown = float("inf" if mode == "min" else "-inf")
        get = lambda metrics: metrics.get(keep_best, unknown)
        # Policies sort in ascending order and keep the end.
        best = managers.BestN(
            get_metric_fn=get,
            n=1 if keep_best else 0,
            reverse=mode == "min",
            keep_checkpoints_without_metrics=False,
        )
        options = ocp.CheckpointManagerOptions(
            preservation_policy=managers.AnyPreservationPolicy([managers.LatestN(keep_last), best]),
            best_fn=get,  # without it metrics are not stored, and a resumed run would not know them
            enable_async_checkpointing=False,
        )
        self._manager = ocp.CheckpointManager(folder(workdir), options=options)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future | None = None

    def save(self, state: State, run: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """Starts a save. Raises what went wrong in the one before."""
        self.wait()
        # The copy must own its memory: the state is donated to the next step.
        host = jax.tree.map(lambda x: np.array(x, copy=True), jax.device_get(state))
        self._pending = self._thread.submit(self._write, host, dict(run), dict(metrics))

    def _write(self, host: State, run: dict, metrics: dict) -> None:
        leaves = leaf_digests(host)
        meta = {"format": FORMAT, "run": run, "sha256": _json_digest(run), "leaves": leaves}
        items = ocp.args.Composite(state=ocp.args.StandardSave(host), meta=ocp.args.JsonSave(meta))
        self._manager.save(int(host.step), args=items, metrics=metrics)

    def wait(self) -> None:
        """Returns when the last save is on disk; raises if it failed."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *exc) -> None:
        """Waits for the last save and lets go of the folder."""
        try:
            self.wait()
        finally:
            self._thread.shutdown()
            self._manager.close()


def folder(workdir: pathlib.Path) -> pathlib.Path:
    """Where a run keeps its checkpoints."""
    return (pathlib.Path(workdir) / "checkpoints").resolve()


def steps(workdir: pathlib.Path) -> list[int]:
    """Steps that have a checkpoint, oldest first; unfinished saves do not count."""
    found = folder(workdir).glob("*")
    return sorted(int(p.name) for p in found if p.name.isdigit() and any(p.iterdir()))


def set_aside(workdir: pathlib.Path, step: int) -> None:
    """Renames the checkpoints after `step`, which are damaged, so that they can be made again."""
    for damaged in (folder(workdir) / str(s) for s in steps(workdir) if s > step):
        kept = damaged.with_suffix(".damaged")
        shutil.rmtree(kept, ignore_errors=True)
        damaged.rename(kept)


def leaf_digests(tree: PyTree) -> dict[str, dict[str, Any]]:
    """{path: {"sha256", "shape", "dtype"}} of every leaf, by its bytes in memory."""

    def describe(leaf):
        array = np.asarray(leaf)
        content = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        digest = hashlib.sha256(content).hexdigest()
        return {"sha256": digest, "shape": list(array.shape), "dtype": str(array.dtype)}

    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {path_name(path): describe(leaf) for path, leaf in leaves}


def read_run(workdir: pathlib.Path, step: int | None = None) -> dict[str, Any]:
    """What `Writer.save` was given as `run`, of one step or the newest.

    Raises:
      ValueError: if the workdir has no checkpoint, or not that one.
    """
    step = _choose(workdir, step)
    return _read_meta(workdir, step)["run"]


def _choose(workdir: pathlib.Path, step: int | None) -> int:
    there = steps(workdir)
    if not there:
        raise ValueError(f"--workdir={workdir}: has no checkpoint; train there first")
    if step is not None and step not in there:
        raise ValueError(f"--step={step}: {workdir} has checkpoints of steps {there}")
    return there[-1] if step is None else step


def _read_meta(workdir: pathlib.Path, step: int) -> dict[str, Any]:
    path = folder(workdir) / str(step) / "meta"
    try:
        with ocp.Checkpointer(ocp.JsonCheckpointHandler()) as reader:
            meta = reader.restore(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: is damaged ({_first_line(error)})") from None
    if meta["format"] != FORMAT:
        raise ValueError(f"{path}: has format {meta['format']}, not {FORMAT}")
    if _json_digest(meta["run"]) != meta["sha256"]:
        raise ValueError(f"{path}: is damaged, for its sha256 is not the stored one")
    return meta


def _json_digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def restore(workdir: pathlib.Path, target: State, step: int | None = None) -> State:
    """The state of one step, or the newest that is whole, checked leaf by leaf.

    Args:
      target: the abstract state with the shardings that it shall have.

    Raises:
      ValueError: if a given step is damaged, or all are; each one is named with what is wrong.
    """
    candidates = [_choose(workdir, step)] if step is not None else steps(workdir)[::-1]
    _choose(workdir, step)
    failures = []
    for candidate in candidates:
        try:
            return _restore(workdir, target, candidate)
        except Exception as error:  # Orbax raises many kinds for damaged files
            failures.append(f"{folder(workdir) / str(candidate)}: {_first_line(error)}")
            print(f"damaged checkpoint passed over: {failures[-1]}", flush=True)
    raise ValueError("no checkpoint could be restored:\n  " + "\n  ".join(failures))


def read_arrays(workdir: pathlib.Path) -> dict[str, np.ndarray]:
    """{path: array} of the newest checkpoint, whatever the run was, with digests checked.

    Raises:
      ValueError: if the workdir has no checkpoint, or a leaf is damaged.
    """
    step = _choose(workdir, None)
    expected = _read_meta(workdir, step)["leaves"]
    with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as reader:
        tree = reader.restore(folder(workdir) / str(step) / "state")
    leaves = jax.tree_util.tree_flatten_with_path(jax.device_get(tree))[0]
    arrays = {path_name(path): np.asarray(leaf) for path, leaf in leaves}
    _check_digests(leaf_digests(tree), expected)
    return arrays


def _check_digests(found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    for name, digest in found.items():
        if digest != expected[name]:
            raise ValueError(f"{name}: its sha256 is not the stored one; the data is damaged")


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:300]


def _restore(workdir: pathlib.Path, target: State, step: int) -> State:
    expected = _read_meta(workdir, step)["leaves"]
    wanted = jax.tree_util.tree_flatten_with_path(target)[0]
    for path, leaf in wanted:
        stored = expected.get(path_name(path))
        found = stored and (stored["dtype"], stored["shape"])
        if found != (str(leaf.dtype), list(leaf.shape)):
            raise ValueError(f"{path_name(path)}: {found} stored, {leaf.dtype} {leaf.shape} wanted")
    extra = sorted(set(expected) - {path_name(path) for path, _ in wanted})
    if extra:
        raise ValueError(f"{extra[0]}: stored, but not a part of this run")
    with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as reader:
        state = reader.restore(folder(workdir) / str(step) / "state", target)
    _check_digests(leaf_digests(jax.device_get(state)), expected)
    return state
