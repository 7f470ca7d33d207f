"""What XLA:CPU widens counts at the width at which it was traced, and nothing else does."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from aigc_jax.compiled import collectives
from benchmarks.scaling import measure, widened

PROGRAM = """HloModule program, num_partitions=4

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

%narrow_and_wide (p: bf16[8,4], q: f32[16]) -> (f32[4,8], f32[16]) {
  %p = bf16[8,4] parameter(0)
  %q = f32[16] parameter(1)
  %wide = f32[8,4] convert(%p)
  %turned = f32[4,8] transpose(%wide), dimensions={1,0}
  %twice = f32[16] multiply(%q, %q)
  ROOT %both = (f32[4,8], f32[16]) tuple(%turned, %twice)
}

%copied (c: f32[4,8]) -> f32[4,4] {
  %c = f32[4,8] parameter(0)
  ROOT %part = f32[4,4] slice(%c), slice={[0:4], [0:4]}
}

ENTRY %main (x: bf16[8,4], y: f32[16], z: f16[4,4]) -> f32[16,4] {
  %x = bf16[8,4] parameter(0)
  %y = f32[16] parameter(1)
  %z = f16[4,4] parameter(2)
  %pair = (f32[4,8], f32[16]) fusion(%x, %y), kind=kLoop, calls=%narrow_and_wide
  %first = f32[4,8] get-tuple-element(%pair), index=0
  %second = f32[16] get-tuple-element(%pair), index=1
  %joint = (f32[4,8], f32[16]) all-reduce(%first, %second), to_apply=%add
  %moved = f32[4,4] fusion(%first), kind=kLoop, calls=%copied
  %sent = f32[4,4] collective-permute(%moved), source_target_pairs={{0,1},{1,2},{2,3},{3,0}}
  %half = f32[4,4] convert(%z)
  %kept = f32[4,4] collective-permute(%half), source_target_pairs={{0,1},{1,2},{2,3},{3,0}}
  %shifted = f32[4,4] add(%sent, %kept)
  ROOT %whole = f32[16,4] all-gather(%shifted), dimensions={0}
}
"""


def test_operands_made_of_bfloat16_count_half_wherever_they_are_moved():
    found = {c.name: (c.bytes, then.bytes) for c, then in zip(*both(PROGRAM), strict=True)}
    assert found == {
        "joint": (4 * (32 + 16), 2 * 32 + 4 * 16),
        "sent": (4 * 16, 2 * 16),
        "kept": (4 * 16, 4 * 16),
        "whole": (4 * 64, 4 * 64),  # computed in float32, though from bfloat16
    }


def both(text):
    before = collectives.of(text)
    return before, widened.as_traced(text, before)


def compiled(function, dtype, specs, out):
    """The text of a function of two arrays [8, 8] over four devices."""
    mesh = jax.make_mesh((4,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
    place = lambda spec: NamedSharding(mesh, spec)
    jitted = jax.jit(function, in_shardings=tuple(map(place, specs)), out_shardings=place(out))
    array = jax.ShapeDtypeStruct((8, 8), dtype)
    return jitted.lower(array, array).compile(compiler_options=measure.OPTIONS).as_text()


@pytest.mark.parametrize(("dtype", "width"), [(jnp.bfloat16, 2), (jnp.float32, 4)])
@pytest.mark.parametrize(
    ("specs", "out"),
    [((P(None, "x"), P("x", None)), P()), ((P("x", None), P()), P())],
    ids=["sum", "gather"],
)
def test_a_product_sends_what_was_traced(dtype, width, specs, out):
    text = compiled(lambda a, b: jnp.tanh(a @ b), dtype, specs, out)
    (sent,) = both(text)[1]
    assert sent.bytes == width * 8 * 8


def test_a_sum_that_is_traced_in_float32_stays_so_though_it_is_rounded_next():
    def product(a, b):
        return jnp.matmul(a, b, preferred_element_type=jnp.float32).astype(jnp.bfloat16)

    (sent,) = both(compiled(product, jnp.bfloat16, (P(None, "x"), P("x", None)), P()))[1]
    assert sent.bytes == 4 * 8 * 8
