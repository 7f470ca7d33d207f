"""Saving: the states of one run, copied at once and written in the background."""

import contextlib
import pathlib
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from aigc_jax.core import PyTree, State
from aigc_jax.storage import retention, stored
from aigc_jax.storage.retention import folder, steps
from aigc_jax.storage.stored import first_line

PATIENCE = 600  # seconds that one process waits for the others to write their parts


class Writer:
    """Saves the states of one run, one at a time, in the background.

    Keeps the newest `keep_last`, every multiple of `keep_every` (0: none) and, where `keep_best`
    names a metric, the best by it; never deletes the newest. Every process of a run has one, and
    all save at the same steps.
    """

    def __init__(
        self, workdir: pathlib.Path, keep_last: int, keep_best: str, mode: str, keep_every: int = 0
    ):
        self._workdir = pathlib.Path(workdir)
        self._keep = (keep_last, keep_best, mode, keep_every)
        self._host: PyTree = None  # kept from save to save, since new memory is slow to touch
        self._metrics: dict[int, Mapping[str, float]] = {}
        if jax.process_index() == 0:
            folder(workdir).mkdir(parents=True, exist_ok=True)
            retention.clean(workdir)
            self._metrics = {step: _metrics_of(workdir, step) for step in steps(workdir)}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future | None = None
        self._count, self._keep_all = 0, False

    def save(
        self,
        state: State,
        run: Mapping[str, Any],
        metrics: Mapping[str, float],
        keep_all: bool = False,
    ) -> None:
        """Starts a save, over an older one of the same step. Raises what went wrong in the last.

        The state may be donated as soon as this returns. Several processes meet here. With
        `keep_all` no older one is deleted this time.
        """
        self.wait()
        self._count += 1
        self._keep_all = keep_all
        if jax.process_count() > 1:
            self._pending = self._start_together(state, run, metrics)
        else:
            self._host = _copied(state, self._host)
            self._pending = self._thread.submit(self._write, self._host, run, metrics)

    def _write(self, host: State, run: Mapping, metrics: Mapping) -> None:
        step = int(host.step)
        with _named(self._workdir, step), ocp.Checkpointer(_handler()) as checkpointer:
            meta = stored.meta_of(run, metrics, host)
            checkpointer.save(self._place(step), args=_items(host, meta))
            self._finish(step, meta)

    def _start_together(self, state: State, run: Mapping, metrics: Mapping) -> Future:
        step = int(jax.device_get(state.step))
        # With `active_processes` they meet in the coordinator, not in collectives of the devices:
        # those, from a thread of their own, would mix with the ones of the training step.
        everyone = ocp.options.MultiprocessingOptions(
            active_processes=set(range(jax.process_count())),
            barrier_sync_key_prefix=f"checkpoint_{step}_{self._count}",
        )
        with _named(self._workdir, step):
            meta = stored.meta_of(run, metrics, state)
            path = self._place(step)
            checkpointer = ocp.AsyncCheckpointer(
                _handler(everyone), multiprocessing_options=everyone, timeout_secs=PATIENCE
            )
            # Where the devices are the host, Orbax would read memory that the next step gets.
            state = _duplicate(state) if jax.default_backend() == "cpu" else state
            checkpointer.save(path, args=_items(state, meta))
        return self._thread.submit(self._await, checkpointer, step, meta)

    def _await(self, checkpointer: ocp.AsyncCheckpointer, step: int, meta: Mapping) -> None:
        with _named(self._workdir, step):
            checkpointer.wait_until_finished()
            checkpointer.close()
            self._finish(step, meta)

    def _place(self, step: int) -> pathlib.Path:
        if jax.process_index() == 0:
            folder(self._workdir).mkdir(parents=True, exist_ok=True)
            retention.clean(self._workdir)
        return retention.written_to(self._workdir, step)

    def _finish(self, step: int, meta: Mapping) -> None:
        """Believes that a checkpoint is there only when it is, and deletes those in excess."""
        if jax.process_index() > 0:
            return
        made = stored.read_meta(retention.written_to(self._workdir, step))
        if made["sha256"] != meta["sha256"]:
            raise OSError("another checkpoint is in its place")
        retention.put_in_place(self._workdir, step)
        self._metrics[step] = meta["metrics"]
        there = {s: self._metrics.get(s, {}) for s in steps(self._workdir)}
        if step not in there:
            raise OSError("it is not there")
        excess = there.keys() - retention.kept(there, *self._keep) - {step}
        for old in () if self._keep_all else sorted(excess):
            retention.remove(folder(self._workdir) / str(old))

    def check(self) -> None:
        """Raises what went wrong in the last save, as soon as that is known; never waits."""
        if self._pending is not None and self._pending.done():
            self.wait()

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


def _handler(
    together: ocp.options.MultiprocessingOptions | None = None,
) -> ocp.CompositeCheckpointHandler:
    """Writes arrays without compression: faster, and no larger to read than it is on the disk."""
    together = together or ocp.options.MultiprocessingOptions()
    arrays = ocp.PyTreeCheckpointHandler(use_compression=False, multiprocessing_options=together)
    return ocp.CompositeCheckpointHandler(
        composite_options=ocp.CompositeOptions(multiprocessing_options=together),
        state=arrays,
        meta=ocp.JsonCheckpointHandler(multiprocessing_options=together),
    )


def _items(state: PyTree, meta: Mapping) -> ocp.args.Composite:
    return ocp.args.Composite(state=ocp.args.PyTreeSave(state), meta=ocp.args.JsonSave(dict(meta)))


@contextlib.contextmanager
def _named(workdir: pathlib.Path, step: int) -> Iterator[None]:
    """Turns any error of a save into one that names the folder and what is free there."""
    try:
        yield
    except Exception as error:  # Orbax raises many kinds
        free = "unknown"
        with contextlib.suppress(OSError):
            free = f"{shutil.disk_usage(workdir).free:,}"
            if jax.process_index() == 0:
                retention.clean(workdir)
        raise OSError(
            f"{folder(workdir) / str(step)}: could not be saved ({first_line(error)}); {free} "
            "bytes are free there, and older checkpoints are as they were"
        ) from error


def _copied(state: PyTree, buffers: PyTree) -> PyTree:
    """The state in memory of the host's own, that of the last copy where it fits."""
    there = jax.device_get(state)
    fits = lambda x, y: x.shape == y.shape and x.dtype == y.dtype
    same = jax.tree.structure(there) == jax.tree.structure(buffers)
    if not (same and jax.tree.all(jax.tree.map(fits, there, buffers))):
        return jax.tree.map(lambda x: np.array(x, copy=True), there)
    jax.tree.map(lambda x, y: np.copyto(y, x), there, buffers)
    return buffers


@jax.jit
def _duplicate(state: PyTree) -> PyTree:
    return jax.tree.map(jnp.copy, state)


def _metrics_of(workdir: pathlib.Path, step: int) -> dict[str, float]:
    try:
        return stored.read_meta(folder(workdir) / str(step))["metrics"]
    except ValueError:  # a restore will say what is wrong with it
        return {}
