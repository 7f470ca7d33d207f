"""Collectives take what NCCL's estimates and a torus' rings take, by figures that have a source."""

import pytest

from benchmarks.scaling import chips, network
from benchmarks.scaling.chips import CHIPS
from benchmarks.scaling.network import Group, Seconds
from benchmarks.sections import scaling as section


def test_groups_lie_in_nodes_as_the_mesh_says():
    mixed = {"data": 4, "fsdp": 8, "tensor": 1}
    assert network.group_of(["fsdp"], mixed) == Group(8, 1, 32)
    assert network.group_of(["data"], mixed) == Group(1, 4, 32)
    assert network.group_of(["data", "fsdp"], mixed) == Group(8, 4, 32)
    assert network.group_of(["data"], {"data": 32, "fsdp": 1, "tensor": 1}) == Group(8, 4, 32)
    assert network.group_of(["fsdp"], {"data": 1, "fsdp": 8, "tensor": 4}) == Group(2, 4, 32)


def test_collectives_take_what_rings_and_trees_take():
    h100, payload = CHIPS["H100"], 8e8
    inner, outer = 0.8 * 450e9, 0.8 * 50e9
    inside = network.seconds("all-gather", payload, Group(8, 1, 8), h100)
    assert inside.latency == pytest.approx(14e-6 + 7 * 1.9e-6)
    assert inside.bandwidth == pytest.approx(7 / 8 * payload / inner)
    wide = network.seconds("all-reduce", payload, Group(8, 4, 32), h100)
    assert wide.bandwidth == pytest.approx(2 * 31 / 32 * payload / (8 * outer))
    small = network.seconds("all-reduce", 8.0, Group(1, 512, 4096), h100)
    assert small.latency == pytest.approx(14e-6 + 2 * 9 * 8.5e-6)  # a tree
    assert network.seconds("all-reduce", payload, Group(1, 1, 8), h100).total == 0


@pytest.mark.parametrize("kind", ["all-gather", "reduce-scatter"])
def test_a_ring_takes_a_hop_for_every_member_but_one_in_nodes_and_between_them(kind):
    h100, payload = CHIPS["H100"], 8e8
    across = network.seconds(kind, payload, Group(8, 4, 32), h100)
    assert across.latency == pytest.approx(14e-6 + 28 * 1.9e-6 + 3 * 4e-6)
    assert across.bandwidth == pytest.approx(31 / 32 * payload / (0.8 * 400e9))
    half = network.seconds(kind, payload, Group(4, 8, 64), h100)
    assert half.latency == pytest.approx(14e-6 + 24 * 1.9e-6 + 7 * 4e-6)
    assert half.bandwidth == pytest.approx(31 / 32 * payload / (0.8 * 200e9))
    alone = network.seconds(kind, payload, Group(1, 4, 32), h100)
    assert alone.latency == pytest.approx(14e-6 + 3 * 8.5e-6)
    assert alone.bandwidth == pytest.approx(3 / 4 * payload / (0.8 * 50e9))


@pytest.mark.parametrize(("payload", "tree"), [(1e3, True), (1e6, True), (1e11, False)])
def test_an_all_reduce_takes_the_faster_of_a_ring_and_a_tree(payload, tree):
    h100, link = CHIPS["H100"], 0.8 * 400e9
    ways = {
        False: Seconds(14e-6 + 28 * 1.9e-6 + 2 * 4e-6, 2 * 15 / 16 * payload / link),
        True: Seconds(14e-6 + 14 * 1.25e-6 + 2 * 8.5e-6, 2 * payload / link),
    }
    assert ways[tree].total < ways[not tree].total
    found = network.seconds("all-reduce", payload, Group(8, 2, 16), h100)
    assert found == pytest.approx(ways[tree])


@pytest.mark.parametrize(
    ("group", "axes", "rate"),
    [
        (Group(8, 64, 512), 3, 600e9),
        (Group(8, 1, 512), 1, 200e9),
        (Group(1, 64, 512), 2, 400e9),
        (Group(8, 1, 32), 3, 300e9),  # a cube in a slice without rings
        (Group(1, 4, 32), 2, 200e9),
    ],
)
def test_on_a_torus_a_group_has_the_links_of_the_axes_it_lies_along(group, axes, rate):
    found = network.seconds("all-gather", 8e8, group, CHIPS["TPU v5p"])
    g = group.size
    assert found.bandwidth == pytest.approx((g - 1) / g * 8e8 / (0.8 * rate))
    assert found.latency == pytest.approx(1e-6 + axes * g ** (1 / axes) / 2 * 1e-6)


def test_every_figure_of_every_chip_has_a_source():
    torus_has_none = {"outer_hop", "tree_inner_hop", "tree_hop"}
    absent = {"H100": {"whole"}, "H200": {"whole"}, "TPU v5p": torus_has_none}
    for name, chip in CHIPS.items():
        figures = chip._asdict()
        assert set(figures) == set(chips.WORDS)
        assert {field for field, figure in figures.items() if not figure.value} == absent[name]
        for figure in figures.values():
            kinds = (chips.PEAK, chips.PUBLISHED, chips.ASSUMED)
            assert figure == chips.NONE or (len(figure.source) > 5 and figure.kind in kinds)
    page = section.chips([])
    assert all(source in page for source in (chips.H100, chips.H200, chips.V5P, chips.NCCL))
