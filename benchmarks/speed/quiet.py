"""Whether the machine had other work while it was measured, from Linux' own account of its CPUs."""

import os
import pathlib
import time
from collections.abc import Sequence
from typing import NamedTuple

STAT = pathlib.Path("/proc/stat")
LIMIT = 0.03  # more than this share of the processors used by others is noted


class Usage(NamedTuple):
    """What a stretch of time held, in seconds; `add` puts stretches together."""

    elapsed: float = 0.0
    busy: float = 0.0  # of the processors that this process may use, all together
    own: float = 0.0  # of those, what was measured

    def add(self, elapsed: float, busy: float, own: float) -> "Usage":
        return Usage(self.elapsed + elapsed, self.busy + busy, self.own + own)


def busy_seconds(lines: Sequence[str], processors: set[int], ticks: int) -> float:
    """CPU seconds since the start of the machine that the processors worked or were stolen."""
    total = 0
    for line in lines:
        name, *counts = line.split()
        if name.removeprefix("cpu").isdigit() and int(name[3:]) in processors:
            user, nice, system, _, _, irq, softirq, steal = (int(count) for count in counts[:8])
            total += user + nice + system + irq + softirq + steal
    return total / ticks


def busy_now() -> float | None:
    """`busy_seconds` of the processors that this process may use, None where Linux does not say."""
    if not STAT.exists():
        return None
    ticks = os.sysconf("SC_CLK_TCK")
    return busy_seconds(STAT.read_text().splitlines(), os.sched_getaffinity(0), ticks)


def others(usage: Usage, processors: int) -> float:
    """The share of the processors' time that went to other processes, 0 to 1."""
    available = usage.elapsed * processors
    return min(1.0, max(0.0, usage.busy - usage.own) / available) if available else 0.0


def share_now(seconds: float = 1.0) -> float | None:
    """`others` over a stretch in which this process does nothing, None where it is not known."""
    before, start = busy_now(), time.perf_counter()
    time.sleep(seconds)
    after, end = busy_now(), time.perf_counter()
    if before is None or after is None:
        return None
    return others(Usage(end - start, after - before, 0.0), len(os.sched_getaffinity(0)))
