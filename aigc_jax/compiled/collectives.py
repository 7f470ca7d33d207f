"""What the devices say to each other in a compiled program: read from its HLO text."""

import collections
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from aigc_jax.compiled import dataflow, hlo, replica_groups
from aigc_jax.compiled.dataflow import Program, Value

KINDS = (
    *("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute"),
    *("collective-broadcast", "ragged-all-to-all"),
)


class Collective(NamedTuple):
    """One communication of a program, among `groups` groups of `group_size` devices each."""

    kind: str  # one of KINDS
    count: int  # how often one run of the program executes it
    bytes: int  # of one execution in one group: see `of`
    group_size: int
    groups: int
    name: str  # in the program
    op_name: str  # where it comes from in the traced function
    members: replica_groups.Groups  # partition numbers, row-major places in the mesh
    operands: tuple[Value, ...] = ()  # that `bytes` counts

    @property
    def sent(self) -> float:
        """Bytes that one device sends in one run, by the ring algorithms.

        count * bytes * f, f = 2 (g - 1) / g for an all-reduce, 1 for a permutation or broadcast,
        else (g - 1) / g.
        """
        ring = (self.group_size - 1) / self.group_size
        once = self.kind in ("collective-permute", "collective-broadcast")
        return self.count * self.bytes * (1 if once else ring * (1 + (self.kind == "all-reduce")))

    def axes(self, mesh: Mapping[str, int]) -> tuple[str, ...]:
        """The axes of the mesh, {"data": 2, ...} in order, along which it communicates."""
        return replica_groups.axes(self.members, mesh)


class _Part(NamedTuple):
    """One operand of a collective instruction."""

    kind: str
    where: str
    instruction: hlo.Instruction
    operand: str
    bytes: int
    members: replica_groups.Groups
    sums: frozenset[Value]  # of an all-reduce, where it ends in additions alone


def of(hlo_text: str) -> list[Collective]:
    """The collectives of `compiled.as_text()`, in the order of the text; groups of one left out.

    `bytes` is the payload in one group: what an all-reduce or reduce-scatter takes from each device
    and what an all-gather gives to each, so whole arrays; what an all-to-all, permutation or
    broadcast takes from each device. `count` multiplies the trip counts of the loops around it;
    a loop whose length the compiler does not know counts once. The start and end of an asynchronous
    one are one.

    XLA:CPU leaves two things undone that XLA for accelerators does, and they are counted as done:
    an all-reduce of which every device only takes its own share is a reduce-scatter, and sums over
    devices that are only added to each other are one. An instruction that is both an all-reduce and
    a reduce-scatter, for different operands, is listed as two.
    """
    module = hlo.parse(hlo_text)
    times, program = hlo.executions(module), dataflow.program(module)
    groups = _folded(_parts(program))
    return [_collective(group, times[group[0].where]) for group in groups if times[group[0].where]]


def _collective(group: list[_Part], count: int) -> Collective:
    """One of operands of one kind of one instruction."""
    part, size = group[0], sum(part.bytes for part in group)
    members, name = part.members, part.instruction.name
    shape = max(map(len, members)), len(members)
    operands = tuple(Value(part.where, part.operand) for part in group)
    op_name = _op_name(part.instruction)
    return Collective(part.kind, count, size, *shape, name, op_name, members, operands)


def _op_name(instruction: hlo.Instruction) -> str:
    found = re.search(r'op_name="([^"]*)"', instruction.attributes)
    return found[1] if found else ""


def _folded(parts: Iterable[_Part]) -> list[list[_Part]]:
    """Operands by instruction and kind, one of those that could have been added before."""
    groups, seen = collections.defaultdict(list), set()
    for part in parts:
        same = (part.kind, part.members, part.bytes, part.sums)
        if part.sums and same in seen:
            continue
        seen.add(same)
        groups[part.where, part.instruction.name, part.kind].append(part)
    return list(groups.values())


def _parts(program: Program) -> Iterator[_Part]:
    for where, computation in program.module.computations.items():
        for instruction in computation.instructions.values():
            kind = instruction.opcode.removesuffix("-start")
            if kind in KINDS:
                members = replica_groups.of(instruction.attributes, program.module.partitions)
                if max(map(len, members), default=1) > 1:
                    yield from _operands(program, kind, where, instruction, members)


def _operands(
    program: Program,
    kind: str,
    where: str,
    instruction: hlo.Instruction,
    members: replica_groups.Groups,
) -> Iterator[_Part]:
    values = program.module.computations[where].instructions
    payloads = [hlo.bytes_of(values[operand].shape) for operand in instruction.operands]
    size = max(map(len, members))
    if kind != "all-reduce":
        for operand, payload in zip(instruction.operands, payloads, strict=True):
            whole = payload * (size if kind == "all-gather" else 1)
            yield _Part(kind, where, instruction, operand, whole, members, frozenset())
        return
    made = dataflow.results(program, where, instruction)
    for operand, payload, results in zip(instruction.operands, payloads, made, strict=True):
        share = payload // size
        taken = [dataflow.only_sliced(program, result, share) for result in results]
        found = "reduce-scatter" if taken and all(taken) else kind
        ends = [dataflow.sums(program, result, share) for result in results]
        sums = frozenset().union(*ends) if all(ends) else frozenset()
        yield _Part(found, where, instruction, operand, payload, members, sums)
