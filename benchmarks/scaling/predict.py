"""Step times and efficiencies at any number of chips, from counts of compiled programs.

A chip's own work takes max(FLOPs / products, bytes / HBM), each at its share of the peak; bytes are
the operands and results of products in bfloat16, as if everything else were fused into them, and
the state once in and once out. Communication is added to it, or hidden behind it as far as it goes:
the truth lies between the two.
"""

import functools
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.scaling import fit, network
from benchmarks.scaling.chips import Chip
from benchmarks.scaling.network import Seconds

Row = Mapping[str, Any]  # of results/scaling.jsonl, see `measure`
Counts = Mapping[str, float]  # OWN, and ("count" or "bytes", kind, axes) of every collective
OWN = ("flops", "product_elements", "state_bytes")
WIDTH = 2  # bytes of a bfloat16
FIT_FROM = network.NODE  # devices; below, a node is not full
CHIP_COUNTS = (1, *(2**power for power in range(3, 13)))
DIVIDED = 0.1  # of the state that "fsdp" may leave whole for the mesh to be what its name says


class Step(NamedTuple):
    """The parts of one step on one chip, in seconds."""

    products: float
    memory: float
    talk: Mapping[str, Seconds]  # {"all-reduce over data": ...}

    @property
    def own(self) -> float:
        """The chip's own work: what bounds it."""
        return max(self.products, self.memory)

    @property
    def talking(self) -> float:
        """All communication."""
        return sum(part.total for part in self.talk.values())

    def seconds(self, hidden: bool) -> float:
        """The step with all communication hidden behind the chip's own work, or none."""
        return max(self.own, self.talking) if hidden else self.own + self.talking


def counts_of(point: Mapping[str, Any]) -> dict[Any, float]:
    """One compiled program's counts: {quantity: value}."""
    found = {name: float(point[name]) for name in OWN}
    for collective in point["collectives"]:
        where = collective["kind"], "+".join(collective["axes"])
        for part in ("count", "bytes"):
            found[part, *where] = found.get((part, *where), 0.0) + collective[part]
    return found


def reach(row: Row) -> tuple[int, ...]:
    """The numbers of chips, from 1 on, at which the row's mesh divides the state."""
    whole = lambda n: row["undivided"][str(n)] > DIVIDED
    return tuple(itertools.takewhile(lambda n: not whole(n), CHIP_COUNTS))


def laws(row: Row) -> dict[Any, fit.Law]:
    """How every quantity of a row grows; 0 where a program has none of it.

    Fitted to full nodes within `reach` whose mesh has the same axes longer than 1 as the largest of
    them, and divides the same arrays.
    """
    return _laws(json.dumps({name: row[name] for name in ("mesh", "points", "undivided")}))


@functools.cache
def _laws(written: str) -> dict[Any, fit.Law]:
    row = json.loads(written)
    compiled = {p["devices"]: counts_of(p) for p in row["points"] if p["devices"] in reach(row)}
    last = _form(row, max(compiled))
    compiled = {n: c for n, c in compiled.items() if n >= FIT_FROM and _form(row, n) == last}
    names = dict.fromkeys(name for counts in compiled.values() for name in counts)
    return {
        name: fit.law({n: counts.get(name, 0.0) for n, counts in compiled.items()})
        for name in names
    }


def _form(row: Row, devices: int) -> tuple[list[str], float]:
    """What programs must share to follow one law."""
    sizes = network.MESHES[row["mesh"]](devices)
    return [axis for axis, size in sizes.items() if size > 1], row["undivided"][str(devices)]


def counts_at(row: Row, devices: int) -> dict[Any, float]:
    """As compiled where it was compiled, else by the laws."""
    for point in row["points"]:
        if point["devices"] == devices:
            return counts_of(point)
    return {name: law.at(devices) for name, law in laws(row).items()}


def step(counts: Mapping[Any, float], sizes: Mapping[str, int], chip: Chip) -> Step:
    """The predicted step of a program with these counts on a mesh of these sizes."""
    moved = WIDTH * counts["product_elements"] + counts["state_bytes"]
    talk = {}
    for name, total in counts.items():
        if name[0] != "bytes" or total <= 0:
            continue
        _, kind, axes = name
        count = max(counts["count", kind, axes], 1.0)
        group = network.group_of(axes.split("+"), sizes)
        once = network.seconds(kind, total / count, group, chip)
        talk[f"{kind} over {axes}"] = Seconds(count * once.latency, count * once.bandwidth)
    return Step(
        counts["flops"] / (chip.matrix.value * chip.matrix_share.value),
        moved / (chip.memory.value * chip.memory_share.value),
        talk,
    )


def weak(row: Row, devices: int, chip: Chip) -> Step:
    """The step at the row's batch per device."""
    return step(counts_at(row, devices), network.MESHES[row["mesh"]](devices), chip)


def efficiency(row: Row, devices: int, chip: Chip, hidden: bool) -> float:
    """Examples per second and chip over those of one chip with the same batch."""
    alone = weak(row, 1, chip).seconds(hidden)
    return alone / weak(row, devices, chip).seconds(hidden)


def blame(row: Row, devices: int, chip: Chip) -> str:
    """What a step takes longer by than on one chip: "latency of all-gather over fsdp", say."""
    alone, here = (weak(row, n, chip) for n in (1, devices))
    bound = "HBM" if here.memory > here.products else "products"
    terms = {f"more {bound}": here.own - alone.own}
    for name, time in here.talk.items():
        terms |= {f"{part} of {name}": getattr(time, part) for part in Seconds._fields}
    return max(terms, key=terms.get)


def strong(row: Row, devices: int, chip: Chip, batch: int) -> Step:
    """The step where `batch` examples in all are divided over the devices.

    What a quantity has that grows with the batch is known from the program with half of it.
    """
    share = batch / devices / row["batch_per_device"]
    counts = counts_at(row, devices)
    halved = counts_of(row["half"])
    whole = counts_at(row, row["half"]["devices"])
    scaled = {}
    for name, value in counts.items():
        full = whole.get(name, 0.0)
        fixed = min(max(2 * halved.get(name, 0.0) / full - 1, 0.0), 1.0) if full else 1.0
        scaled[name] = value * (fixed + (1 - fixed) * share)
    return step(scaled, network.MESHES[row["mesh"]](devices), chip)


def strong_efficiency(row: Row, devices: int, chip: Chip, batch: int, hidden: bool) -> float:
    """Speed-up over one chip that does the whole batch, by the number of chips."""
    alone = strong(row, 1, chip, batch).seconds(hidden)
    return alone / devices / strong(row, devices, chip, batch).seconds(hidden)


def stops(
    efficiency_at: Callable[[int], float], chips: Sequence[int] = CHIP_COUNTS, least: float = 0.5
) -> int | None:
    """The first number of chips from which on efficiency stays below `least`, None if at none."""
    below = None
    for count in reversed(chips):
        if efficiency_at(count) >= least:
            return below
        below = count
    return below


def fit_error(row: Row, devices: int, chip: Chip) -> float:
    """The relative error of the time that extrapolated counts make, by each law's own error."""
    counts, found = counts_at(row, devices), laws(row)
    sizes = network.MESHES[row["mesh"]](devices)
    off = {name: value * (1 + found[name].error) for name, value in counts.items()}
    right = step(counts, sizes, chip).seconds(hidden=False)
    return step(off, sizes, chip).seconds(hidden=False) / right - 1
