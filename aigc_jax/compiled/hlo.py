"""A compiled program as text, read into computations: what runs how often, on how many bytes."""

import collections
import math
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

TYPE = re.compile(r"\b([a-z]\w*)\[([\d,<=]*)\]")
HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+)(?: \(.*)? \{$")
INSTRUCTION = re.compile(r"^\s+(ROOT )?%([\w.\-]+) = (.*)$")
CALLED = re.compile(r"\b(calls|to_apply|body|true_computation|false_computation)=%?([\w.\-]+)")
BRANCHES = re.compile(r"\bbranch_computations=\{([^}]*)\}")
TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')


class Instruction(NamedTuple):
    """One line of a computation."""

    name: str
    shape: str  # f32[64,32]{1,0}, or a tuple of such in parentheses
    opcode: str
    operands: tuple[str, ...]  # names
    inside: str  # what stands between the parentheses, e.g. the number of a parameter
    attributes: str


class Computation(NamedTuple):
    """A function of the program."""

    instructions: Mapping[str, Instruction]
    root: str


class Module(NamedTuple):
    """A program: computations by name, and how many devices it divides its arrays over."""

    computations: Mapping[str, Computation]
    entry: str
    partitions: int


def parse(text: str) -> Module:
    """The module of `compiled.as_text()`.

    Raises:
      ValueError: if there is no entry computation in it.
    """
    text = re.sub(r"/\*.*?\*/", "", text)
    found, entry, name, root, lines = {}, "", "", "", {}
    for line in text.splitlines():
        if match := HEADER.match(line):
            name, root, lines = match[2], "", {}
            entry = name if match[1] else entry
        elif match := INSTRUCTION.match(line):
            lines[match[2]] = _instruction(match[2], match[3])
            root = match[2] if match[1] else root
        elif line.startswith("}"):
            found[name] = Computation(lines, root)
    if not entry:
        raise ValueError("the text of a compiled program must have an ENTRY computation")
    partitions = re.search(r"\bnum_partitions=(\d+)", text)
    return Module(found, entry, int(partitions[1]) if partitions else 1)


def _instruction(name: str, text: str) -> Instruction:
    """The parts of `SHAPE opcode(operands), attributes`."""
    end = _closing(text, 0) if text.startswith("(") else text.index(" ")
    shape, rest = text[:end], text[end:].lstrip()
    start = rest.index("(")
    end = _closing(rest, start)
    inside = rest[start + 1 : end - 1]
    operands = tuple(re.findall(r"%([\w.\-]+)", inside))
    return Instruction(name, shape, rest[:start], operands, inside, rest[end:])


def _closing(text: str, start: int) -> int:
    """The place after the parenthesis that closes the one at `start`."""
    depth = 0
    for at in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        if depth == 0:
            return at + 1
    raise ValueError(f"a parenthesis is not closed: {text[start : start + 80]}")


def bytes_of(shape: str) -> int:
    """Bytes of an array, or of all arrays of a tuple, given its type as text."""
    return sum(_array_bytes(*match) for match in TYPE.findall(shape))


def _array_bytes(dtype: str, sizes: str) -> int:
    bits = 8 if dtype == "pred" else int((re.search(r"\d+", dtype) or ["0"])[0])
    return math.prod(int(size.strip("<=")) for size in sizes.split(",") if size) * bits // 8


def calls(instruction: Instruction) -> Iterator[tuple[str, int]]:
    """(computation, times) of what an instruction runs; the end of an asynchronous one none.

    A loop runs its body as often as the compiler knows, else once; a conditional every branch once.
    """
    if instruction.opcode.endswith(("-done", "-update")):
        return
    trips = TRIPS.search(instruction.attributes)
    times = int(trips[1]) if instruction.opcode == "while" and trips else 1
    for _, name in CALLED.findall(instruction.attributes):
        yield name, times
    for names in BRANCHES.findall(instruction.attributes):
        yield from ((name.strip(" %"), 1) for name in names.split(","))


def executions(module: Module) -> dict[str, int]:
    """{computation: how often one run of the program executes it}, loops multiplied out."""
    callers = call_sites(module)
    known = {module.entry: 1}

    def times(name):
        if name not in known:
            sites = callers.get(name, ())
            known[name] = sum(times(where) * number for where, _, number in sites)
        return known[name]

    return {name: times(name) for name in module.computations}


def call_sites(module: Module) -> dict[str, list[tuple[str, Instruction, int]]]:
    """{computation: [(the computation that calls it, by which instruction, how often), ...]}."""
    sites = collections.defaultdict(list)
    for where, computation in module.computations.items():
        for instruction in computation.instructions.values():
            for name, number in calls(instruction):
                sites[name].append((where, instruction, number))
    return dict(sites)
