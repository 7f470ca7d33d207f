"""How long collectives take: latency and bandwidth by rings and trees over the slowest link.

Devices are numbered row-major along the mesh, the last axis fastest, and 8 consecutive ones share a
node (GPUs) or an axis of the torus (TPUs). A group of g devices has m members in a node and spans
k = g / m nodes. On GPUs a collective of payload S works inside the node on S and between nodes on
S / m for each GPU, all network cards at once, as NCCL's rings on rails do. On a torus a
group that lies in one axis of the mesh uses that axis' links alone, one along both uses all.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from benchmarks.scaling.chips import Chip

NODE = 8
# A torus closes to rings from one cube of 4 x 4 x 4 on; smaller slices have half the bandwidth.
CLOSED = 64


def _inner(devices: int) -> int:
    return min(devices, NODE)


# The meshes on offer: (devices) -> sizes, axes in the order in which devices are numbered.
MESHES: Mapping[str, Callable[[int], dict[str, int]]] = {
    "data": lambda n: {"data": n, "fsdp": 1, "tensor": 1},
    "fsdp": lambda n: {"data": 1, "fsdp": n, "tensor": 1},
    "data x fsdp 8": lambda n: {"data": n // _inner(n), "fsdp": _inner(n), "tensor": 1},
    "fsdp x tensor 8": lambda n: {"data": 1, "fsdp": n // _inner(n), "tensor": _inner(n)},
}


class Group(NamedTuple):
    """One group of a collective: its members in a node, the nodes, and the devices of the run."""

    members: int
    nodes: int
    devices: int

    @property
    def size(self) -> int:
        """Devices in the group."""
        return self.members * self.nodes


class Seconds(NamedTuple):
    """The two parts of a time."""

    latency: float
    bandwidth: float

    @property
    def total(self) -> float:
        """Both together."""
        return self.latency + self.bandwidth


def group_of(axes: Sequence[str], mesh: Mapping[str, int]) -> Group:
    """The groups along some axes of a mesh {"data": 4, "fsdp": 8, "tensor": 1}."""
    members, nodes, stride = 1, 1, 1
    for axis, size in reversed(mesh.items()):
        near = min(size, max(NODE // stride, 1))
        if axis in axes:
            members, nodes = members * near, nodes * (size // near)
        stride *= size
    return Group(members, nodes, math.prod(mesh.values()))


def seconds(kind: str, payload: float, group: Group, chip: Chip) -> Seconds:
    """The time of one collective of `payload` bytes, as `collectives.of` counts them.

    All-gather and reduce-scatter: launch + (g - 1) hops + (g - 1) / g S / B, and an all-reduce is
    both, or a tree of 2 log2(k) hops between nodes where that takes less. All-to-all: one hop and
    (g - 1) / g S / B; permutation and broadcast: one hop and S / B.
    """
    if group.size <= 1 or payload <= 0:
        return Seconds(0.0, 0.0)
    inside, between = (_torus if chip.whole.value else _switched)(kind, payload, group, chip)
    latency = chip.launch.value + inside.latency + between.latency
    return Seconds(latency, inside.bandwidth + between.bandwidth)


def _switched(kind: str, payload: float, group: Group, chip: Chip) -> tuple[Seconds, Seconds]:
    """Inside the node, and between nodes."""
    inner = chip.inner.value * chip.link_share.value
    outer = chip.outer.value * chip.link_share.value
    m, k = group.members, group.nodes
    if kind in ("all-gather", "reduce-scatter", "all-reduce"):
        passes = 2 if kind == "all-reduce" else 1
        inside = _ring(m, payload, inner, chip.inner_hop.value, passes)
        between = _ring(k, payload / m, outer, chip.outer_hop.value, passes)
        if kind == "all-reduce" and k > 1:
            hops = 2 * math.ceil(math.log2(k)) * chip.tree_hop.value
            tree = Seconds(hops, 2 * payload / m / outer)
            between = min(between, tree, key=lambda time: time.total)
        return inside, between
    if kind in ("all-to-all", "ragged-all-to-all"):
        near, far = (m - 1) / group.size, (k - 1) / k
        inside = Seconds(chip.inner_hop.value * (m > 1), near * payload / inner)
        return inside, Seconds(chip.outer_hop.value * (k > 1), far * payload / outer)
    if k > 1:
        return Seconds(0.0, 0.0), Seconds(chip.outer_hop.value, payload / outer)
    return Seconds(chip.inner_hop.value, payload / inner), Seconds(0.0, 0.0)


def _torus(kind: str, payload: float, group: Group, chip: Chip) -> tuple[Seconds, Seconds]:
    """On the links of the axes that the group lies along; hops are those of rings both ways."""
    axes, figure = 3, chip.whole
    if group.size < group.devices and 1 in (group.members, group.nodes):
        axes, figure = (1, chip.inner) if group.nodes == 1 else (2, chip.outer)
    link = figure.value * chip.link_share.value * (1 if group.devices >= CLOSED else 0.5)
    side, none = group.size ** (1 / axes), Seconds(0.0, 0.0)
    hops = axes * side / 2 * chip.inner_hop.value
    if kind in ("all-gather", "reduce-scatter", "all-reduce"):
        passes = 2 if kind == "all-reduce" else 1
        moved = passes * (group.size - 1) / group.size * payload / link
        return Seconds(passes * hops, moved), none
    # A byte of an all-to-all crosses a quarter of the ring along every axis on average.
    crossed = max(axes * side / 4, 1) if kind.endswith("all-to-all") else 1
    return Seconds(hops, crossed * payload / link), none


def _ring(size: int, payload: float, link: float, hop: float, passes: int) -> Seconds:
    moved = passes * (size - 1) / size * payload / link
    return Seconds(passes * (size - 1) * hop, moved)
