"""Kinds, counts, bytes and groups of the collectives in a program, from its text alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from aigc_jax import parallel
from aigc_jax.compiled import collectives, hlo, replica_groups

MESH = {"data": 2, "fsdp": 4, "tensor": 1}
HEAD = "HloModule step, entry_computation_layout={()->f32[8]{0}}, num_partitions=8\n\n"
ADD = """%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

"""


def entry(*lines):
    """A program whose entry computation has these lines, with an argument %x f32[8,4]."""
    body = "\n".join(f"  {line}" for line in ("%x = f32[8,4]{1,0} parameter(0)", *lines))
    return f"{HEAD}{ADD}ENTRY %main (x: f32[8,4]) -> f32[8] {{\n{body}\n}}\n"


def found(*lines):
    """(kind, count, bytes, group size, groups) of every collective."""
    return [tuple(one[:5]) for one in collectives.of(entry(*lines))]


GROUPS = "replica_groups={{0,1,2,3},{4,5,6,7}}"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"f32[8,4]{{1,0}} all-reduce(%x), {GROUPS}, to_apply=%add", ("all-reduce", 128)),
        (f"f32[32,4]{{1,0}} all-gather(%x), {GROUPS}, dimensions={{0}}", ("all-gather", 512)),
        (f"f32[2,4]{{1,0}} reduce-scatter(%x), {GROUPS}, to_apply=%add", ("reduce-scatter", 128)),
        (f"f32[8,4]{{1,0}} all-to-all(%x), {GROUPS}, dimensions={{0}}", ("all-to-all", 128)),
    ],
)
def test_bytes_are_those_of_the_whole_array_in_a_group(line, expected):
    assert found(f"ROOT %y = {line}") == [(expected[0], 1, expected[1], 4, 2)]


def test_a_permutation_counts_what_each_device_gives():
    pairs = "source_target_pairs={{0,0},{1,2},{2,1},{3,3}}"
    (one,) = collectives.of(entry(f"ROOT %y = f32[8,4]{{1,0}} collective-permute(%x), {pairs}"))
    assert (one.kind, one.bytes, one.sent, one.members) == (
        "collective-permute",
        128,
        128,
        ((1, 2), (2, 1)),
    )


def test_nothing_is_said_in_groups_of_one():
    lonely = "replica_groups={{0},{1},{2},{3},{4},{5},{6},{7}}"
    assert found(f"ROOT %y = f32[8,4]{{1,0}} all-reduce(%x), {lonely}, to_apply=%add") == []


def test_a_start_and_its_end_are_one():
    assert found(
        f"%s = (f32[8,4], f32[32,4]) all-gather-start(%x), {GROUPS}, dimensions={{0}}",
        "ROOT %y = f32[32,4]{1,0} all-gather-done(%s)",
    ) == [("all-gather", 1, 512, 4, 2)]


def test_an_asynchronous_computation_runs_once():
    wrapped = (
        f"%wrapped (p: f32[8,4]) -> f32[2,4] {{\n  %p = f32[8,4] parameter(0)\n"
        f"  ROOT %r = f32[2,4] reduce-scatter(%p), {GROUPS}, to_apply=%add\n}}\n\n"
    )
    text = entry(
        "%s = ((f32[8,4]), f32[2,4], u32[]) async-start(%x), calls=%wrapped",
        "ROOT %y = f32[2,4] async-done(%s), calls=%wrapped",
    ).replace(ADD, ADD + wrapped)
    assert [tuple(one[:3]) for one in collectives.of(text)] == [("reduce-scatter", 1, 128)]


def looped(trips):
    """A loop over an all-reduce inside a loop over it."""
    nest = lambda name, inner: (
        f"%{name} (t: (f32[8,4])) -> (f32[8,4]) {{\n  %t = (f32[8,4]) parameter(0)\n"
        f"  %e = f32[8,4] get-tuple-element(%t), index=0\n  {inner}\n"
        f"  ROOT %o = (f32[8,4]) tuple(%r)\n}}\n\n"
    )
    reduce = f"%r = f32[8,4] all-reduce(%e), {GROUPS}, to_apply=%add"
    loop = "(f32[8,4]) while(%{}), condition=%c, body=%{}, backend_config={{{}}}"
    known = [f'"known_trip_count":{{"n":"{n}"}}' if n else '"x":1' for n in trips]
    inner = loop.format("t", "inner", known[1])
    inner = f"%w = {inner}\n  %r = f32[8,4] get-tuple-element(%w), index=0"
    text = entry("%t = (f32[8,4]) tuple(%x)", f"ROOT %w = {loop.format('t', 'outer', known[0])}")
    return text.replace(ADD, ADD + nest("inner", reduce) + nest("outer", inner))


@pytest.mark.parametrize(("trips", "count"), [((3, 5), 15), ((3, 0), 3), ((1, 1), 1)])
def test_loops_multiply_and_unknown_ones_count_once(trips, count):
    assert [one.count for one in collectives.of(looped(trips))] == [count]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("replica_groups={{0,4},{1,5},{2,6},{3,7}}", ("data",)),
        ("replica_groups=[2,4]<=[8]", ("fsdp",)),
        ("replica_groups=[4,2]<=[2,4]T(1,0)", ("data",)),
        ("replica_groups=[1,8]<=[8]", ("data", "fsdp")),
        ("replica_groups={}", ("data", "fsdp")),
        ("replica_groups=mesh['axis_0'=2,'axis_1'=4] {'axis_1'}", ("fsdp",)),
        (
            "replica_groups=mesh['a'=2,'b'=4] {'a','b'}, use_global_device_ids=true",
            ("data", "fsdp"),
        ),
        ("replica_groups=mesh['a'=4,'b'=2], device_ids=([2,4]T(1,0)) {'b'}", ("data",)),
        ("replica_groups=mesh['a'=8] {'a':(1)2}", ("data",)),
        ("replica_groups=mesh['a'=8] {'a':(2)4}", ("fsdp",)),
    ],
)
def test_groups_are_read_in_every_notation(text, expected):
    groups = replica_groups.of(f", channel_id=1, {text}, dimensions={{0}}", 8)
    assert sorted(sum(groups, ())) == list(range(8))
    assert replica_groups.axes(groups, MESH) == expected


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ("f32[8,4]{1,0}", 128),
        ("bf16[3]{0:T(256)}", 6),
        ("pred[]", 1),
        ("(f32[2]{0}, s4[8]{0}, u8[])", 13),
        ("c64[2]", 16),
        ("token[]", 0),
    ],
)
def test_sizes_of_types(shape, size):
    assert hlo.bytes_of(shape) == size


@pytest.mark.parametrize(
    ("kind", "sent"), [("all-reduce", 2 * 7), ("all-gather", 7), ("collective-permute", 8)]
)
def test_what_a_ring_sends(kind, sent):
    assert collectives.Collective(kind, 3, 80, 8, 1, "", "", ()).sent == 3 * 10 * sent


def compiled(function, spec, *shapes, out):
    """The collectives of a function of arrays divided by `spec` over fsdp 8, by kind and bytes."""
    mesh = parallel.make_mesh({"data": 1, "fsdp": 8, "tensor": 1})
    place = lambda spec: NamedSharding(mesh, spec)
    jitted = jax.jit(function, in_shardings=place(spec), out_shardings=place(out))
    arrays = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return [(c.kind, c.bytes) for c in collectives.of(jitted.lower(*arrays).compile().as_text())]


SUM = lambda x: x.T @ x  # [B, D] -> [D, D], summed over B
BATCH = P("fsdp", None)


def test_a_sum_that_is_only_sliced_is_a_reduce_scatter():
    assert compiled(SUM, BATCH, (64, 16), out=P(None, "fsdp")) == [("reduce-scatter", 16 * 16 * 4)]


def test_a_sum_that_is_also_used_whole_is_an_all_reduce():
    function = lambda x: (total := SUM(x), total.max())[1] * total
    found = compiled(function, BATCH, (64, 16), out=P())
    assert found == [("all-reduce", 16 * 16 * 4)]


def test_sums_that_are_only_added_are_one():
    function = lambda x, y, z: SUM(x) + SUM(y) + SUM(z)
    shapes = [(64, 16)] * 3
    assert compiled(function, BATCH, *shapes, out=P()) == [("all-reduce", 16 * 16 * 4)]
    found = compiled(function, BATCH, *shapes, out=P(None, "fsdp"))
    assert found == [("reduce-scatter", 16 * 16 * 4)]


def test_sums_of_which_one_is_used_alone_are_two():
    function = lambda x, y: (SUM(x) + SUM(y)) * SUM(y)
    found = compiled(function, BATCH, (64, 16), (64, 16), out=P())
    assert sum(size for _, size in found) == 2 * 16 * 16 * 4


@pytest.mark.parametrize(
    ("place", "size", "kind"),
    [
        ("u32[] partition-id()", 2, "reduce-scatter"),
        ("u32[] constant(2)", 2, "all-reduce"),
        ("u32[] partition-id()", 4, "all-reduce"),
    ],
)
def test_only_the_share_of_each_partition_makes_a_reduce_scatter(place, size, kind):
    (one,) = found(
        f"%r = f32[8,4] all-reduce(%x), {GROUPS}, to_apply=%add",
        f"%p = {place}",
        "%two = u32[] constant(2)",
        "%at = u32[] multiply(%p, %two)",
        "%zero = u32[] constant(0)",
        f"ROOT %y = f32[{size},4] dynamic-slice(%r, %at, %zero)",
    )
    assert one == (kind, 1, 128, 4, 2)


def test_an_all_gather_of_a_real_program():
    found = compiled(lambda x: x * 2, BATCH, (64, 16), out=P())
    assert found == [("all-gather", 64 * 16 * 4)]


def test_a_scan_of_a_real_program_counts_its_length():
    def function(x):
        return jax.lax.scan(
            lambda total, _: (total + SUM(jnp.sin(total[0, 0]) * x), None),
            jnp.zeros((16, 16)),
            length=5,
        )[0]

    mesh = parallel.make_mesh({"data": 8, "fsdp": 1, "tensor": 1})
    where = NamedSharding(mesh, P("data"))
    text = jax.jit(function, in_shardings=where).lower(np.zeros((64, 16), np.float32)).compile()
    (one,) = [c for c in collectives.of(text.as_text()) if c.bytes == 16 * 16 * 4]
    assert (one.kind, one.count, one.axes(mesh.shape)) == ("all-reduce", 5, ("data",))


def test_a_text_without_a_program_is_refused():
    with pytest.raises(ValueError, match="ENTRY"):
        collectives.of("HloModule nothing")
