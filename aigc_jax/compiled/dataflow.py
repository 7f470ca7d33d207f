"""Where the values of a compiled program come from and go to, through fusions, calls and loops."""

import collections
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from aigc_jax.compiled import hlo

# These hand on the numbers they get.
MOVES = ("get-tuple-element", "bitcast", "copy", "reshape", "transpose", "convert")
CUTS = ("slice", "dynamic-slice")  # hand on some of them
WITHIN = ("fusion", "call")  # run another computation on their operands, once


class Value(NamedTuple):
    """An instruction of a computation."""

    where: str
    name: str


class Use(NamedTuple):
    """What is done with a value: `by` None if the computation returns it."""

    where: str
    by: hlo.Instruction | None
    operand: str  # what `by` takes it for


class Program(NamedTuple):
    """A module with the users of every value and the callers of every computation."""

    module: hlo.Module
    users: Mapping[str, Mapping[str, list[hlo.Instruction]]]
    sites: Mapping[str, list[tuple[str, hlo.Instruction, int]]]


def program(module: hlo.Module) -> Program:
    """The module with its ways."""
    users = {where: _users(computation) for where, computation in module.computations.items()}
    return Program(module, users, hlo.call_sites(module))


def _users(computation: hlo.Computation) -> dict[str, list[hlo.Instruction]]:
    found = collections.defaultdict(list)
    for instruction in computation.instructions.values():
        for operand in dict.fromkeys(instruction.operands):
            found[operand].append(instruction)
    return found


def instruction(program: Program, value: Value) -> hlo.Instruction:
    """What computes a value."""
    return program.module.computations[value.where].instructions[value.name]


def index(value: hlo.Instruction) -> int:
    """The number of a get-tuple-element."""
    return int(re.search(r"index=(\d+)", value.attributes)[1])


def uses(program: Program, value: Value) -> Iterator[Use]:
    """What is computed from a value, wherever it is moved before."""
    where, name = value
    if name == program.module.computations[where].root:
        yield from _returned(program, value, None)
    for user in program.users[where].get(name, ()):
        if user.opcode in MOVES:
            yield from uses(program, Value(where, user.name))
        elif user.opcode in WITHIN:
            ((called, _),) = hlo.calls(user)
            for at, operand in enumerate(user.operands):
                if operand == name:
                    yield from uses(program, _parameter(program, called, at))
        elif user.opcode == "tuple" and user.name == program.module.computations[where].root:
            for at, operand in enumerate(user.operands):
                if operand == name:
                    yield from _returned(program, value, at)
        else:
            yield Use(where, user, name)


def _returned(program: Program, value: Value, at: int | None) -> Iterator[Use]:
    """The uses of what a fusion or call returns: all of it, or its element `at`."""
    sites = [(caller, site) for caller, site, _ in program.sites.get(value.where, ())]
    if not sites or any(site.opcode not in WITHIN for _, site in sites):
        yield Use(value.where, None, value.name)
        return
    for caller, site in sites:
        if at is None:
            yield from uses(program, Value(caller, site.name))
        for user in program.users[caller].get(site.name, ()) if at is not None else ():
            if user.opcode == "get-tuple-element" and index(user) == at:
                yield from uses(program, Value(caller, user.name))


def _parameter(program: Program, where: str, number: int) -> Value:
    for value in program.module.computations[where].instructions.values():
        if value.opcode == "parameter" and int(value.inside) == number:
            return Value(where, value.name)
    raise ValueError(f"computation {where} has no parameter {number}")


def results(program: Program, where: str, reduction: hlo.Instruction) -> list[list[Value]]:
    """For each operand of an all-reduce the values that hold its sum."""
    result = reduction
    if reduction.opcode.endswith("-start"):
        (result,) = program.users[where][reduction.name]
    if len(reduction.operands) == 1:
        return [[Value(where, result.name)]]
    elements: list[list[Value]] = [[] for _ in reduction.operands]
    for user in program.users[where].get(result.name, ()):
        if user.opcode == "get-tuple-element":
            elements[index(user)].append(Value(where, user.name))
    return elements


def takes_share(program: Program, use: Use, share: int) -> bool:
    """Whether a use is a slice of `share` bytes, placed by the number of the partition."""
    if use.by is None or use.by.opcode != "dynamic-slice" or use.by.operands[0] != use.operand:
        return False
    fits = hlo.bytes_of(use.by.shape) == share
    return fits and any(_by_partition(program, Value(use.where, at)) for at in use.by.operands[1:])


def only_sliced(program: Program, value: Value, share: int) -> bool:
    """Whether all that is made of a value are slices that `takes_share` knows."""
    found = list(uses(program, value))
    return bool(found) and all(takes_share(program, use, share) for use in found)


def sums(program: Program, value: Value, share: int) -> frozenset[Value]:
    """The additions that end every way on which a value, or its share, is only added to others.

    Values of which these are equal could have been added before. Empty if anything else is done;
    another reduction, over other devices, may lie between.
    """
    ends: set[Value] = set()
    for use in uses(program, value):
        following = _linear(program, use, share)
        further = [sums(program, value, share) for value in following]
        if use.by is not None and use.by.opcode == "add":
            ends |= further[0] or set(following)
        elif following and all(further):
            ends = ends.union(*further)
        else:
            return frozenset()
    return frozenset(ends)


def _linear(program: Program, use: Use, share: int) -> list[Value]:
    """What a use that commutes with additions makes of a value."""
    if use.by is None:
        return []
    if use.by.opcode in ("all-reduce", "all-reduce-start"):
        made = results(program, use.where, use.by)
        return [
            v for at, vs in zip(use.by.operands, made, strict=True) if at == use.operand for v in vs
        ]
    if use.by.opcode == "add" or takes_share(program, use, share):
        return [Value(use.where, use.by.name)]
    return []


def moved_from(program: Program, value: Value) -> Value | None:
    """Where the numbers of a value, or more of them, are before: one step back, into a fusion too.

    None if they are computed, given to the program, or carried by a loop.
    """
    at = instruction(program, value)
    if at.opcode == "get-tuple-element":
        return _element(program, Value(value.where, at.operands[0]), index(at))
    if at.opcode in (*MOVES, *CUTS):
        return Value(value.where, at.operands[0])
    if at.opcode in WITHIN:
        ((called, _),) = hlo.calls(at)
        return Value(called, program.module.computations[called].root)
    sites = [(where, site) for where, site, _ in program.sites.get(value.where, ())]
    if at.opcode == "parameter" and len(sites) == 1 and sites[0][1].opcode in WITHIN:
        return Value(sites[0][0], sites[0][1].operands[int(at.inside)])
    return None


def _element(program: Program, source: Value, number: int) -> Value | None:
    """An element of a tuple that is made here or in a fusion."""
    at = instruction(program, source)
    while at.opcode in WITHIN:
        ((called, _),) = hlo.calls(at)
        source = Value(called, program.module.computations[called].root)
        at = instruction(program, source)
    return Value(source.where, at.operands[number]) if at.opcode == "tuple" else None


def _by_partition(program: Program, value: Value) -> bool:
    """Whether a value is computed from the number of the partition it is on."""
    seen, waiting = set(), [value]
    while waiting:
        value = waiting.pop()
        if value in seen:
            continue
        seen.add(value)
        if instruction(program, value).opcode == "partition-id":
            return True
        waiting += _sources(program, value)
    return False


def _sources(program: Program, value: Value) -> list[Value]:
    """What a value is computed from; of what a loop carries, what it began with."""
    where, at = value.where, instruction(program, value)
    sites = [(caller, site) for caller, site, _ in program.sites.get(where, ())]
    if at.opcode == "parameter":
        number = int(at.inside)
        return [Value(c, site.operands[number]) for c, site in sites if site.opcode in WITHIN]
    if at.opcode != "get-tuple-element":
        return [Value(where, operand) for operand in at.operands]
    source = instruction(program, Value(where, at.operands[0]))
    if source.opcode == "tuple":
        return [Value(where, source.operands[index(at)])]
    if source.opcode != "parameter":
        return [Value(where, source.name)]
    starts = [Value(c, site.operands[0]) for c, site in sites if site.opcode == "while"]
    tuples = [(start.where, instruction(program, start)) for start in starts]
    return [Value(c, first.operands[index(at)]) for c, first in tuples if first.opcode == "tuple"]
