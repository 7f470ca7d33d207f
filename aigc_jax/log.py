"""What a run says: `metrics.jsonl`, TensorBoard events and one live line.

Rows are {"step", "split", "time", name: value...}. `step` counts updates, `split` is "train" or the
evaluated split, `time` is seconds since the epoch. Train rows hold the metrics of that very step,
`examples_per_second`, `peak_memory_mib` (the device's, on a CPU the process's) and
`nonfinite_share`, that of the steps since the last row that were not finite and were skipped; the
other names are listed in the algorithm's module. A row of the split "rollback" says that the run
went back to `step` from the step `from`, and on at `lr_scale` times its learning rates, having
skipped `skipped` steps so far.
"""

import contextlib
import json
import math
import pathlib
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from aigc_jax.events import Events


class Log:
    """Writes rows as they come; one per process, of which only the first writes.

    Nothing that goes wrong here stops a run: what fails is said once and then left.
    """

    def __init__(
        self,
        workdir: pathlib.Path,
        steps: int,
        resume_at: int = 0,
        rollbacks: int = 0,
        writes: bool = True,
    ):
        """Rows after `resume_at` are dropped, and those of more than `rollbacks` rollbacks.

        Args:
          steps: of the whole run.
          writes: False makes every method do nothing.
        """
        self.workdir, self.writes = workdir, writes
        self._steps, self._first = steps, resume_at
        self._live = ""
        self._start = time.time()
        self._failed: set[str] = set()
        self._rows = self._events = None
        if not writes:
            return
        with self.forgiven("metrics.jsonl"):
            path = workdir / "metrics.jsonl"
            _cut_back(path, resume_at, rollbacks)
            self._rows = open(path, "a", buffering=1)
        with self.forgiven("TensorBoard"):
            self._events = Events(workdir / "tensorboard", resume_at)

    def write(self, step: int, split: str, values: Mapping[str, float]) -> None:
        """One row to the file and to TensorBoard, and the live line anew."""
        if not self.writes:
            return
        row = {"step": step, "split": split, "time": round(time.time(), 3), **values}
        with self.forgiven("metrics.jsonl"):
            self._rows.write(json.dumps(row) + "\n")
        with self.forgiven("TensorBoard"):
            self._events.scalars(step, {f"{split}/{name}": v for name, v in values.items()})
        self._show(step, split, values)

    def image(self, step: int, name: str, image) -> None:
        """A picture u8 [H, W, C] for TensorBoard."""
        with self.forgiven("TensorBoard"):
            self._events.image(step, name, image[..., :3])

    def text(self, step: int, name: str, text: str) -> None:
        """A text for TensorBoard."""
        with self.forgiven("TensorBoard"):
            self._events.text(step, name, text)

    @contextlib.contextmanager
    def forgiven(self, what: str) -> Iterator[None]:
        """Lets a run go on when `what` cannot be written; says so the first time."""
        try:
            yield
        except Exception as error:  # a logger may raise anything
            if what not in self._failed:
                self._failed.add(what)
                self.say(f"warning: {what}: {error or type(error).__name__}; the run goes on")

    def say(self, line: str) -> None:
        """A line of its own, above the live one."""
        if self.writes:
            self._clear()
            _print(line)

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *exc) -> None:
        if self.writes:
            self._clear()
        for what, file in (("metrics.jsonl", self._rows), ("TensorBoard", self._events)):
            if file is not None:
                with self.forgiven(what):
                    file.close()

    def _show(self, step: int, split: str, values: Mapping[str, float]) -> None:
        numbers = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        if split != "train":
            self.say(f"step {step:>6}  {split}: {numbers}")
            return
        passed = time.time() - self._start
        left = passed / max(step - self._first, 1) * (self._steps - step)
        line = f"step {step}/{self._steps}  {numbers}  ETA {_clock(left)}"
        if not sys.stdout.isatty():
            _print(line)
            return
        self._clear()
        self._live = line
        _print(line[:160], end="\r")

    def _clear(self) -> None:
        if self._live:
            _print(" " * min(len(self._live), 160), end="\r")
            self._live = ""


def _print(line: str, end: str = "\n") -> None:
    """To stdout if anyone reads it: a pipe that was closed must not end a run."""
    with contextlib.suppress(OSError, ValueError):
        print(line, end=end, flush=True)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(math.ceil(seconds), 60)
    return f"{minutes}:{seconds:02d}"


def _cut_back(path: pathlib.Path, step: int, rollbacks: int) -> None:
    """Drops rows later than `step`, later rollbacks, and a last line that a kill left unfinished.

    A rollback's row is of the step that it went back to, so steps do not say whether it still is to
    come; the state that the run goes on from knows how many there were.
    """
    if not path.exists():
        return
    kept, seen = [], 0
    for line, row in _lines(path):
        seen += row["split"] == "rollback"
        if row["step"] <= step and not (row["split"] == "rollback" and seen > rollbacks):
            kept.append(line + "\n")
    temporary = path.with_suffix(".tmp")
    temporary.write_text("".join(kept))
    temporary.replace(path)


def _lines(path: pathlib.Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(line, row) of a file of rows; a line that a kill left unfinished is left out."""
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(row, dict) and {"step", "split"} <= row.keys():
            yield line, row


def rows_of(workdir: pathlib.Path) -> list[dict[str, Any]]:
    """The rows of a run so far, as they were written."""
    return [row for _, row in _lines(workdir / "metrics.jsonl")]


def rollbacks(workdir: pathlib.Path) -> list[dict[str, Any]]:
    """The rows of the rollbacks of a run so far."""
    return [row for row in rows_of(workdir) if row["split"] == "rollback"]
