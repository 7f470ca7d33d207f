"""What a run says: `metrics.jsonl`, TensorBoard events and one live line.

Rows are {"step", "split", "time", name: value...}. `step` counts updates, `split` is "train" or the
evaluated split, `time` is seconds since the epoch. Train rows hold the metrics of that very step,
`examples_per_second`, `peak_memory_mib` (the device's, on a CPU the process's) and
`nonfinite_share`, that of the steps since the last row that were not finite; the other names are
listed in the algorithm's module.
"""

import json
import math
import pathlib
import sys
import time
from collections.abc import Mapping


class Log:
    """Writes rows as they come; one per process, rank 0 only."""

    def __init__(self, workdir: pathlib.Path, steps: int, resume_at: int = 0):
        self.workdir = workdir
        self._steps, self._first = steps, resume_at
        self._live = ""
        self._start = time.time()
        path = workdir / "metrics.jsonl"
        _cut_back(path, resume_at)
        self._rows = open(path, "a", buffering=1)
        self._events = _events(workdir / "tensorboard", resume_at)

    def write(self, step: int, split: str, values: Mapping[str, float]) -> None:
        """One row to the file and to TensorBoard, and the live line anew."""
        row = {"step": step, "split": split, "time": round(time.time(), 3), **values}
        self._rows.write(json.dumps(row) + "\n")
        for name, value in values.items():
            self._events.add_scalar(f"{split}/{name}", value, step)
        self._show(step, split, values)

    def image(self, step: int, name: str, image) -> None:
        """A picture u8 [H, W, C] for TensorBoard."""
        self._events.add_image(name, image[..., :3], step, dataformats="HWC")

    def text(self, step: int, name: str, text: str) -> None:
        """A text for TensorBoard."""
        self._events.add_text(name, text, step)

    def say(self, line: str) -> None:
        """A line of its own, above the live one."""
        self._clear()
        print(line, flush=True)

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *exc) -> None:
        self._clear()
        self._rows.close()
        self._events.close()

    def _show(self, step: int, split: str, values: Mapping[str, float]) -> None:
        numbers = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        if split != "train":
            self.say(f"step {step:>6}  {split}: {numbers}")
            return
        passed = time.time() - self._start
        left = passed / max(step - self._first, 1) * (self._steps - step)
        line = f"step {step}/{self._steps}  {numbers}  ETA {_clock(left)}"
        if not sys.stdout.isatty():
            print(line, flush=True)
            return
        self._clear()
        self._live = line
        print(line[:160], end="\r", flush=True)

    def _clear(self) -> None:
        if self._live:
            print(" " * min(len(self._live), 160), end="\r")
            self._live = ""


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(math.ceil(seconds), 60)
    return f"{minutes}:{seconds:02d}"


def _cut_back(path: pathlib.Path, step: int) -> None:
    """Drops rows later than `step`, and a last line that a kill left unfinished."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if row["step"] <= step:
            kept.append(line + "\n")
    temporary = path.with_suffix(".tmp")
    temporary.write_text("".join(kept))
    temporary.replace(path)


def _events(folder: pathlib.Path, resume_at: int):
    # Imported here: it takes as long as jax itself.
    from tensorboardX import SummaryWriter

    suffix = f".from{resume_at}"  # two writers of one second would share a file name
    return SummaryWriter(str(folder), purge_step=resume_at + 1, filename_suffix=suffix)
