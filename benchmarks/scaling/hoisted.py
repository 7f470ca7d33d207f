"""All-reduces that XLA:GPU and XLA:TPU move behind their loop, which XLA:CPU leaves inside.

Where a loop only adds the result to what it carries, the sum of the sums is the sum of all: their
pass WhileLoopAllReduceCodeMotion reduces once, after the loop. Counting them as XLA:CPU compiles
would make the gradient of chunked logits dozens of times its size.
"""

from collections.abc import Sequence

from aigc_jax.compiled import hlo
from aigc_jax.compiled.collectives import Collective


def counted_once(text: str, found: Sequence[Collective]) -> list[Collective]:
    """The collectives of a program with those counted once that can be moved behind their loop."""
    module = hlo.parse(text)
    trips = {}
    for where, sites in hlo.call_sites(module).items():
        loops = [times for _, site, times in sites if site.opcode == "while"]
        if len(loops) == len(sites) == 1 and loops[0] > 1:
            trips |= {name: loops[0] for name in _movable(module, where)}
    return [c._replace(count=c.count // trips.get(c.name, 1)) for c in found]


def _movable(module: hlo.Module, body: str) -> list[str]:
    """The all-reduces of a loop's body of which all results are only added to the carry."""
    computation = module.computations[body]
    values = computation.instructions
    users = {name: [] for name in values}
    for value in values.values():
        for name in value.operands:
            users[name].append(value)

    def accumulated(name):
        """Whether a value is only added to an element of the carry, which is not used otherwise."""
        if len(users[name]) != 1 or not _is_sum(module, users[name][0]):
            return False
        total = users[name][0]
        carried = [other for other in total.operands if other != name]
        after = users[total.name]
        return (
            len(carried) == len(after) == 1
            and values[carried[0]].opcode == "get-tuple-element"
            and len(users[carried[0]]) == 1
            and after[0].name == computation.root
            and _place(values[carried[0]]) == after[0].operands.index(total.name)
        )

    def results(value):
        parts = [user for user in users[value.name] if user.opcode == "get-tuple-element"]
        return [part.name for part in parts] or [value.name]

    return [
        value.name
        for value in values.values()
        if value.opcode == "all-reduce" and all(map(accumulated, results(value)))
    ]


def _is_sum(module: hlo.Module, value: hlo.Instruction) -> bool:
    """Whether a value is the sum of its two operands, maybe in a fusion of its own."""
    if value.opcode != "fusion":
        return value.opcode == "add"
    ((called, _),) = hlo.calls(value)
    inside = module.computations[called].instructions
    return sorted(v.opcode for v in inside.values()) == ["add", "parameter", "parameter"]


def _place(value: hlo.Instruction) -> int:
    return int(value.attributes.split("index=")[1].split(",")[0])
