"""Child processes that work in turns: A B A B over rounds, the others waiting for their input."""

import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.speed import quiet

TURN = 0.6  # seconds that one turn takes, or one step where that is longer
PAUSE = 0.1  # seconds between turns, in which threads that spin after their work come to rest
LONG = 20.0  # seconds; a variant with longer steps, the classics without cache, gets one round
LIMIT = 900.0  # seconds after which a process that does not answer is killed


class Failed(RuntimeError):
    """A variant that cannot be built, run or reached any more; says why."""


class Worker:
    """A child process that reads JSON lines and answers each with one."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], limit: float = LIMIT):
        self.errors = tempfile.TemporaryFile("w+", errors="replace")
        self.limit = limit
        self.known: dict[str, Any] = {}  # what it has answered so far, the newest value of each key
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command,
            env={**os.environ, **env},
            stdin=pipe,
            stdout=pipe,
            stderr=self.errors,
            text=True,
        )

    def answer(self) -> dict[str, Any]:
        """The next answer.

        Raises:
          Failed: with the reason that the process gives, or the end of what it wrote on its death.
        """
        timer = threading.Timer(self.limit, self.process.kill)
        timer.start()
        line = self.process.stdout.readline()
        timer.cancel()
        values = json.loads(line) if line else {"failed": self._death()}
        if "failed" in values:
            raise Failed(values["failed"])
        self.known |= values
        return values

    def ask(self, steps: int) -> dict[str, Any]:
        """Has it run that many steps; returns its answer, and raises what `answer` does."""
        try:
            print(json.dumps({"steps": steps}), file=self.process.stdin, flush=True)
        except BrokenPipeError:
            raise Failed(self._death()) from None
        return self.answer()

    def _death(self) -> str:
        code = self.process.wait()
        self.errors.seek(0)
        lines = [line.strip() for line in self.errors.read().splitlines() if line.strip()]
        return f"ended with status {code}: {' | '.join(lines[-3:])[-300:] or 'no message'}"

    def close(self) -> None:
        """Ends the process."""
        self.process.kill()  # it holds nothing that must be saved
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.errors):
            try:
                stream.close()
            except BrokenPipeError:
                continue


def calibrate(seconds: Callable[[int], float], turn: float = TURN) -> int:
    """How many steps take about `turn` seconds, at least half of it and one step, once warm.

    `seconds(n)` runs n steps. The number that is returned has been run, so that what is compiled
    for a number of steps is not timed.
    """
    steps, took = 1, seconds(1)
    if took < LONG:
        took = min(took, seconds(1))
    while took < turn / 2:
        # The first steps say little of the ones that follow, so the number grows by degrees.
        steps = _rounded(min(steps * turn / took, 10 * steps))
        took = seconds(steps)
    return steps


def _rounded(steps: float) -> int:
    """To a whole number, of many steps to a multiple of 50, which a call of several divides."""
    return max(1, round(steps)) if steps < 50 else 50 * round(steps / 50)


def order(names: Sequence[str], number: int) -> list[str]:
    """The names as they take turns in a round: each begins once in as many rounds."""
    first = number % len(names)
    return [*names[first:], *names[:first]]


def take_turns(
    workers: Mapping[str, Worker], steps: Mapping[str, int], rounds: int
) -> tuple[dict[str, list[float]], dict[str, str], quiet.Usage]:
    """Seconds per step of each worker in each round, why some failed, and who used the CPUs.

    A worker whose steps are `LONG` takes part in the first round only.
    """
    seconds = {name: [] for name in workers}
    failed, usage = {}, quiet.Usage()
    for number in range(rounds):
        for name in order(list(workers), number):
            if name in failed or max(seconds[name], default=0.0) > LONG:
                continue
            time.sleep(PAUSE)
            try:
                took, usage = _turn(workers[name], steps[name], usage)
                seconds[name].append(took)
            except Failed as error:
                failed[name] = str(error)
                del seconds[name]
    return seconds, failed, usage


def _turn(worker: Worker, steps: int, usage: quiet.Usage) -> tuple[float, quiet.Usage]:
    busy, own, start = quiet.busy_now(), time.process_time(), time.perf_counter()
    answer = worker.ask(steps)
    end, own = time.perf_counter(), time.process_time() - own + answer["cpu_s"]
    if busy is not None:
        usage = usage.add(end - start, quiet.busy_now() - busy, own)
    return answer["seconds"] / steps, usage
