"""The bench of faults: runs of train.py in fresh processes, watched, hit and timed from outside."""

import contextlib
import dataclasses
import os
import pathlib
import re
import resource
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from aigc_jax import checkpoint
from benchmarks import report

CONFIG = "configs/vae_digits.py"
# A step of some milliseconds, six saves, and every fault halfway between two of them.
PLAN = {"steps": 600, "batch_size": 1024, "log_every": 10, "save_every": 100, "eval_every": 300}
PLAN |= {"keep_last": 9, "num_samples": 16}
PATIENCE = 120.0  # seconds that anything may take before the bench gives up
# Variables by which a launcher or a shell would make these processes parts of something else.
FOREIGN = re.compile(r"(SLURM|OMPI|PMIX?|PRTE|JAX|TPU|MEGASCALE|KUBERNETES)_|\w*_proxy$", re.I)
FOREIGN_NAMES = ("JOB_COMPLETION_INDEX", "WORLD_SIZE", "RANK", "XLA_FLAGS")


class Kind(NamedTuple):
    """A run by its name, what it changes in the plan, and its number of processes."""

    name: str
    options: Mapping[str, Any]
    processes: int = 1


ONE = Kind("one", {"mesh.data": 1})


class Outcome(NamedTuple):
    """What came of a fault.

    Attributes:
      claims: {what the outcome is in words: whether that was found to be so}.
      exits: exit codes of the processes that had to notice, negative for signals.
      noticed: seconds from the fault to the end of the process that had to notice it.
      lost: seconds of all processes from start to end beyond those of a run without the fault.
      redone: steps that were done twice.
    """

    claims: Mapping[str, bool]
    exits: Sequence[int]
    noticed: float | None = None
    lost: float | None = None
    redone: int | None = None


class Job:
    """The processes of one start of a run; of what they say the first one's words count."""

    def __init__(self, commands: Sequence[Sequence[str]], environments, folder: pathlib.Path):
        self.began, self.hit = time.monotonic(), 0.0
        self._ends: dict[int, float] = {}
        self._files = [folder / f"{i}.txt" for i in range(len(commands))]
        self._all = []
        for words, variables, path in zip(commands, environments, self._files, strict=True):
            with open(path, "wb") as out:
                streams = {"stdout": out, "stderr": subprocess.STDOUT}
                popen = subprocess.Popen(words, cwd=report.ROOT, env=variables, **streams)
            self._all.append(popen)

    def said(self, index: int = 0) -> str:
        """What a process has said so far."""
        return self._files[index].read_text(errors="replace")

    def wait_until(self, holds: Callable[[], bool], every: float = 0.005) -> None:
        """Returns as soon as `holds()`.

        Raises:
          RuntimeError: with what was said, if that never comes.
        """
        while not holds():
            over = time.monotonic() > self.began + PATIENCE
            if over or (self._all[0].poll() is not None and not holds()):
                raise RuntimeError(f"waited in vain\n{self.said()}")
            time.sleep(every)

    def wait_for(self, text: str) -> None:
        """Returns as soon as the first process has said `text`."""
        self.wait_until(lambda: text in self.said())

    def strike(self, number: int, index: int = 0) -> None:
        """The fault: a signal to one process."""
        self.hit = time.monotonic()
        self._all[index].send_signal(number)

    def limit_files(self, size: int) -> None:
        """The fault: from now on the first process can write no file beyond `size` bytes."""
        self.hit = time.monotonic()
        resource.prlimit(self._all[0].pid, resource.RLIMIT_FSIZE, (size, size))

    def wait(self, index: int = 0) -> int:
        """The exit code of a process."""
        code = self._all[index].wait(PATIENCE)
        self._ends.setdefault(index, time.monotonic())
        return code

    def codes(self) -> list[int]:
        """The exit codes of all."""
        return [self.wait(index) for index in range(len(self._all))]

    @property
    def seconds(self) -> float:
        """From the start to the last end that was waited for."""
        return max(self._ends.values()) - self.began

    @property
    def noticed(self) -> float:
        """Seconds from the fault to the last end that was waited for."""
        return max(self._ends.values()) - self.hit

    @property
    def begun(self) -> int:
        """The step that it started from."""
        return int(re.search(r"\(from step (\d+)\)", self.said()).group(1))

    @property
    def reached(self) -> int:
        """The last step that it has told of."""
        return max(map(int, re.findall(r"^step (\d+)/", self.said(), re.MULTILINE)))

    def kill(self) -> None:
        """Ends what still runs, stopped processes too."""
        for process in self._all:
            if process.poll() is None:
                process.kill()
                process.wait()


@dataclasses.dataclass(frozen=True)
class Bench:
    """A folder for runs, their plan, and how often a run without a fault is timed."""

    folder: pathlib.Path
    plan: Mapping[str, Any] = dataclasses.field(default_factory=lambda: PLAN)
    rounds: int = 2
    timed: dict[str, list[float]] = dataclasses.field(default_factory=dict)

    @property
    def moment(self) -> int:
        """A logged step halfway between two saves, after the middle of the run."""
        return self.plan["steps"] // 2 + self.plan["save_every"] // 2

    @property
    def saved(self) -> int:
        """The newest step with a checkpoint then."""
        return self.moment - self.moment % self.plan["save_every"]

    def workdir(self, name: str) -> pathlib.Path:
        """Where the run of a name lives."""
        return self.folder / "runs" / name

    @contextlib.contextmanager
    def start(
        self, name: str, kind: Kind = ONE, before: Sequence[str] = (), **options: Any
    ) -> Iterator[Job]:
        """Starts a run or goes on with it; kills what still runs at the end of the block.

        Args:
          before: words of a command that executes the rest of its arguments.
          options: beside those of the plan and the kind, with "__" for dots.
        """
        given = {key.replace("__", "."): value for key, value in options.items()}
        chosen = {**self.plan, "data.data_dir": self.folder / "data", **kind.options, **given}
        words = [*before, sys.executable, "train.py", f"--config={CONFIG}"]
        words += [f"--workdir={self.workdir(name)}"]
        words += [f"--config.{key}={value}" for key, value in chosen.items()]
        logs = self.folder / "logs" / f"{name}.{time.monotonic_ns()}"
        logs.mkdir(parents=True)
        job = Job([words] * kind.processes, list(self._environments(kind.processes)), logs)
        try:
            yield job
        finally:
            job.kill()

    def _environments(self, count: int) -> Iterator[dict[str, str]]:
        """Each process has one CPU device; several find each other on a free port."""
        own = {k: v for k, v in os.environ.items() if not FOREIGN.match(k)}
        own = {k: v for k, v in own.items() if k not in FOREIGN_NAMES}
        own |= {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1", "PYTHONUNBUFFERED": "1"}
        own |= {"JAX_COMPILATION_CACHE_DIR": str(self.folder / "cache")}
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        together = {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": str(count)}
        for index in range(count):
            yield own | (together | {"JAX_PROCESS_ID": str(index)} if count > 1 else {})

    def reach_moment(self, job: Job, name: str) -> None:
        """Waits for the step `moment`, and until the checkpoint before it is on the disk."""
        job.wait_for(f"step {self.moment}/")
        job.wait_until(lambda: self.saved in checkpoint.steps(self.workdir(name)))

    def finish(self, name: str, kind: Kind = ONE, **options: Any) -> Job:
        """Starts a run or goes on with it, and waits for its end."""
        with self.start(name, kind, **options) as job:
            job.codes()
        return job

    def whole(self, kind: Kind = ONE) -> pathlib.Path:
        """The workdir of a run without a fault; timed the first time, after one to fill caches."""
        if kind.name not in self.timed:
            jobs = [self.finish(f"{kind.name}_{i}", kind) for i in range(self.rounds + 1)]
            for job in jobs:
                if any(job.codes()):
                    raise RuntimeError(f"a run without a fault failed\n{job.said()}")
            self.timed[kind.name] = [job.seconds for job in jobs[1:]]
        return self.workdir(f"{kind.name}_{self.rounds}")

    def beyond(self, kind: Kind, *jobs: Job) -> float:
        """Seconds of jobs together beyond the median of runs without a fault."""
        return sum(job.seconds for job in jobs) - statistics.median(self.timed[kind.name])


KILLED = -signal.SIGKILL
