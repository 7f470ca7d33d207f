"""What one device computes and moves in a compiled program: read from its HLO text.

XLA's own cost analysis counts the body of a loop once; here it counts as often as it runs.
"""

import collections
import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from aigc_jax.compiled import hlo
from aigc_jax.flops import pairs

# These move nothing, or what they move is counted where it is used.
FREE = (
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "iota", "partition-id"),
    *("while", "conditional", "call", "after-all", "opt-barrier"),
)
SLICES = ("dynamic-slice", "slice", "gather")


class Cost(NamedTuple):
    """Work of one device in one run of the program."""

    flops: float  # of products and convolutions, two per multiply-add with real inputs
    product_elements: float  # that these read and write
    state_bytes: float  # arguments and results of the program
    moved_bytes: float  # operands and results of every fusion, as compiled


def of(text: str) -> Cost:
    """The cost of `compiled.as_text()`, loops multiplied out."""
    module = hlo.parse(text)
    times = hlo.executions(module)
    flops, elements = 0.0, 0.0
    for where, computation in module.computations.items():
        shapes = {name: value.shape for name, value in computation.instructions.items()}
        for value in computation.instructions.values():
            if value.opcode in COUNTS and times[where]:
                inputs = [_sizes(shapes[name]) for name in value.operands[:2]]
                out = _sizes(value.shape)
                flops += 2.0 * times[where] * COUNTS[value.opcode](*inputs, out, value.attributes)
                elements += times[where] * sum(map(math.prod, (*inputs, out)))
    moved = sum(times[name] * _moved(module, name) for name in _outside_fusions(module))
    return Cost(flops, elements, _state_bytes(module), moved)


def _sizes(shape: str) -> tuple[int, ...]:
    """(64, 32) of "f32[64,32]{1,0}"."""
    return tuple(int(size) for size in hlo.TYPE.search(shape)[2].split(",") if size)


def _state_bytes(module: hlo.Module) -> int:
    entry = module.computations[module.entry]
    parameters = [v for v in entry.instructions.values() if v.opcode == "parameter"]
    return sum(hlo.bytes_of(v.shape) for v in (*parameters, entry.instructions[entry.root]))


def _dot(lhs: Sequence[int], rhs: Sequence[int], out: Sequence[int], attributes: str) -> int:
    """Multiply-adds of a product: one per output element and element of the contracted axes."""
    contracted = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", attributes)
    return math.prod(out) * math.prod(lhs[int(axis)] for axis in contracted[1].split(",") if axis)


def _convolution(
    lhs: Sequence[int], rhs: Sequence[int], out: Sequence[int], attributes: str
) -> int:
    """Multiply-adds with real inputs: B x C_out x (C_in / groups) x pairs along every axis."""
    layouts = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", attributes).groups()
    window = dict(re.findall(r"(\w+)=([\dx_\-]+)", re.search(r"window=\{(.*?)\}", attributes)[1]))
    at = [{label: axis for axis, label in enumerate(layout)} for layout in layouts]
    count = out[at[2]["b"]] * out[at[2]["f"]] * rhs[at[1]["i"]]
    axes = sorted(label for label in at[0] if label.isdigit())
    for number, label in enumerate(axes):
        of_axis = lambda name, default: window.get(name, "").split("x")[number:][:1] or [default]
        low = int(of_axis("pad", "0_0")[0].split("_")[0] or 0)
        one = {name: int(of_axis(name, 1)[0] or 1) for name in ("stride", "lhs_dilate")}
        dilation = int(of_axis("rhs_dilate", 1)[0] or 1)
        sizes = (shape[place[label]] for shape, place in zip((lhs, rhs, out), at, strict=True))
        count *= pairs(*sizes, one["stride"], low, one["lhs_dilate"], dilation)
    return count


COUNTS = {"dot": _dot, "convolution": _convolution}


def _outside_fusions(module: hlo.Module) -> list[str]:
    """The computations whose values are buffers: the entry, bodies of loops, branches, calls."""
    found, waiting = [], [module.entry]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.append(name)
        for value in module.computations[name].instructions.values():
            if value.opcode in ("while", "conditional", "call"):
                waiting += [called for called, _ in hlo.calls(value)]
    return found


def _moved(module: hlo.Module, where: str) -> int:
    """Bytes read and written by one execution of a computation."""
    values = module.computations[where].instructions
    total = 0
    for value in values.values():
        if value.opcode in FREE or value.opcode.endswith("-done"):
            continue
        shapes = [values[name].shape for name in value.operands]
        if value.opcode == "fusion":
            ((called, _),) = hlo.calls(value)
            total += _fusion(module.computations[called], shapes)
        else:
            total += _one(value, shapes)
    return total


def _one(value: hlo.Instruction, shapes: Sequence[str]) -> int:
    """Bytes of one instruction; of an array that is sliced or updated in place, the slice."""
    out = hlo.bytes_of(value.shape)
    if value.opcode in SLICES:
        return 2 * out
    if value.opcode == "dynamic-update-slice":
        return 2 * hlo.bytes_of(shapes[1])
    return out + sum(map(hlo.bytes_of, shapes))


def _fusion(inside: hlo.Computation, shapes: Sequence[str]) -> int:
    """Bytes that a fusion reads and writes."""
    users = collections.defaultdict(list)
    for value in inside.instructions.values():
        for name in value.operands:
            users[name].append(value)
    parameters = [v for v in inside.instructions.values() if v.opcode == "parameter"]
    read = sum(
        min(_read(inside, users, v), hlo.bytes_of(shapes[int(v.inside)])) for v in parameters
    )
    return read + _written(inside, inside.instructions[inside.root])


def _read(
    inside: hlo.Computation, users: Mapping[str, Sequence[hlo.Instruction]], value: hlo.Instruction
) -> int:
    """Bytes of a value that its users look at: of slices only these, of updates nothing."""
    total = 0
    for user in users[value.name]:
        if user.opcode in SLICES and user.operands[0] == value.name:
            total += hlo.bytes_of(user.shape)
        elif user.opcode == "bitcast":
            total += _read(inside, users, user)
        elif user.opcode != "dynamic-update-slice" or user.operands[0] != value.name:
            return hlo.bytes_of(value.shape)
    return total


def _written(inside: hlo.Computation, value: hlo.Instruction) -> int:
    """Bytes that a fusion's result takes: of an update in place, what is new."""
    if value.opcode == "tuple":
        return sum(_written(inside, inside.instructions[name]) for name in value.operands)
    if value.opcode == "bitcast":
        return _written(inside, inside.instructions[value.operands[0]])
    if value.opcode == "dynamic-update-slice":
        return hlo.bytes_of(inside.instructions[value.operands[1]].shape)
    return hlo.bytes_of(value.shape)
