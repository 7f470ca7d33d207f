"""Collectives at the width at which they were traced, where XLA:CPU widens bfloat16 to float32.

A CPU adds no bfloat16, so XLA:CPU puts a conversion to float32 before a collective (its passes
all-reduce-promotion and float-normalization) and one back behind it. XLA:GPU and XLA:TPU send the
two bytes. What is float32 in the traced function, as weights that are gathered, stays that wide.
"""

from collections.abc import Sequence

from aigc_jax.compiled import dataflow, hlo
from aigc_jax.compiled.collectives import Collective
from aigc_jax.compiled.dataflow import Program, Value

# Else a conversion to bfloat16 and back, which rounds, is left out, and nothing tells of the width.
KEEP_ROUNDING = {"xla_allow_excess_precision": False}


def as_traced(text: str, found: Sequence[Collective]) -> list[Collective]:
    """The collectives of a program compiled with `KEEP_ROUNDING`, widened operands at half."""
    program = dataflow.program(hlo.parse(text))
    return [one._replace(bytes=_bytes(program, one)) for one in found]


def _bytes(program: Program, one: Collective) -> int:
    """`one.bytes` without the half of what is widened."""
    sizes = [hlo.bytes_of(dataflow.instruction(program, at).shape) for at in one.operands]
    pairs = zip(one.operands, sizes, strict=True)
    added = sum(size // 2 for at, size in pairs if _is_widened(program, at))
    return one.bytes - one.bytes * added // sum(sizes)


def _is_widened(program: Program, value: Value) -> bool:
    """Whether a value is made of bfloat16 by a conversion to float32 and is only moved since."""
    at: Value | None = value
    while at is not None:
        instruction = dataflow.instruction(program, at)
        if instruction.opcode == "convert":
            before = dataflow.instruction(program, Value(at.where, instruction.operands[0]))
            return instruction.shape.startswith("f32[") and before.shape.startswith("bf16[")
        at = dataflow.moved_from(program, at)
    return False
