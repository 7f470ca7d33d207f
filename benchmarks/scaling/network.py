"""How long collectives take: latency and bandwidth by rings and trees over the slowest link.

Devices are numbered row-major along the mesh, the last axis fastest, and 8 consecutive ones share a
node (GPUs) or an axis of the torus (TPUs, in slices that have an axis of 8). A group of g devices
has m members in a node and spans k = g / m nodes. On GPUs rings go through the m members of a node
and on to the next, one ring for each member's network card, so that a node sends at m cards' rate.
On a torus a group that lies in one axis of the mesh uses that axis' links alone, one along both
uses all.
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
    """The time of one collective of `payload` bytes S, as `collectives.of` counts them.

    GPUs, all-gather and reduce-scatter: launch + (g - k) hops in nodes + (k - 1) between them +
    (g - 1) / g S / B with B the lesser of a link and m network cards. An all-reduce is both, or
    where that takes less a tree: 2 (m - 1) hops in nodes, 2 log2(k) between, 2 S / B. These are
    NCCL's own estimates (src/graph/tuning.cc). All-to-all: one hop and the slower of what goes to
    the same node and to others; permutation and broadcast: one hop and S / B.

    Torus: rings both ways along each of its axes, g^(1/axes) / 2 hops of each.
    """
    if group.size <= 1 or payload <= 0:
        return Seconds(0.0, 0.0)
    time = (_torus if chip.whole.value else _switched)(kind, payload, group, chip)
    return Seconds(chip.launch.value + time.latency, time.bandwidth)


def _switched(kind: str, payload: float, group: Group, chip: Chip) -> Seconds:
    inner, outer = (link.value * chip.link_share.value for link in (chip.inner, chip.outer))
    m, k = group.members, group.nodes
    if kind == "all-reduce" and k > 1:
        ways = _ring(2, payload, group, chip), _tree(payload, group, chip)
        return min(ways, key=lambda time: time.total)
    if kind in ("all-gather", "reduce-scatter", "all-reduce"):
        return _ring(2 if kind == "all-reduce" else 1, payload, group, chip)
    hop = (chip.outer_hop if k > 1 else chip.inner_hop).value
    if kind in ("all-to-all", "ragged-all-to-all"):
        near, far = (m - 1) / group.size, (k - 1) / k
        return Seconds(hop, max(near * payload / inner, far * payload / outer))
    return Seconds(hop, payload / (outer if k > 1 else inner))


def _link(group: Group, chip: Chip) -> float:
    """B/s of all rings or trees of a group together."""
    cards = group.members * chip.outer.value
    slowest = min(chip.inner.value, cards) if group.nodes > 1 else chip.inner.value
    return slowest * chip.link_share.value


def _ring(passes: int, payload: float, group: Group, chip: Chip) -> Seconds:
    steps, between = passes * (group.size - 1), passes * (group.nodes - 1)
    # With one member in a node no hop hides behind others in the node: NCCL takes a tree's.
    hop = (chip.outer_hop if group.members > 1 else chip.tree_hop).value
    latency = (steps - between) * chip.inner_hop.value + between * hop
    return Seconds(latency, steps / group.size * payload / _link(group, chip))


def _tree(payload: float, group: Group, chip: Chip) -> Seconds:
    chain, depth = group.members - 1, math.ceil(math.log2(group.nodes))
    latency = 2 * (chain * chip.tree_inner_hop.value + depth * chip.tree_hop.value)
    return Seconds(latency, 2 * payload / _link(group, chip))


def _torus(kind: str, payload: float, group: Group, chip: Chip) -> Seconds:
    """On the links of the axes that the group lies along; hops are those of rings both ways.

    Smaller slices than `CLOSED` have no axis of 8: there the 8 are a cube of 2 x 2 x 2.
    """
    axes, figure, closed = 3, chip.whole, group.devices >= CLOSED
    if group.size < group.devices and group.members == 1:
        axes, figure = 2, chip.outer
    elif group.size < group.devices and group.nodes == 1 and closed:
        axes, figure = 1, chip.inner
    link = figure.value * chip.link_share.value * (1 if closed else 0.5)
    side = group.size ** (1 / axes)
    hops = axes * side / 2 * chip.inner_hop.value
    if kind in ("all-gather", "reduce-scatter", "all-reduce"):
        passes = 2 if kind == "all-reduce" else 1
        moved = passes * (group.size - 1) / group.size * payload / link
        return Seconds(passes * hops, moved)
    # A byte of an all-to-all crosses a quarter of the ring along every axis on average.
    crossed = max(axes * side / 4, 1) if kind.endswith("all-to-all") else 1
    return Seconds(hops, crossed * payload / link)
