"""Rule sets: over which axes of the mesh each array of a state is divided.

A rule is (path regex, spec). The regex is searched in the path of a parameter, such as
"model/blocks_0/ffn/in/kernel", and the first rule that matches counts. A spec names for every
dimension an axis of the mesh, several, or None; what it asks for must be possible. A function
(shape, mesh) -> PartitionSpec chooses what is. Optimiser slots and averages follow their parameter.
"""

import inspect
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import jax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from aigc_jax import names
from aigc_jax.core import PyTree, path_name

Rule = tuple[str, Sequence | Callable]
MIN_SIZE = 1024  # numbers below which dividing an array costs more than it saves


def fully_sharded(shape: Sequence[int], mesh: Mesh, taken: int | None = None) -> P:
    """FSDP for any array: its largest axis that divides by the mesh's "fsdp" axis is split.

    Arrays of less than `MIN_SIZE` numbers, or without such an axis, are held whole. `taken` is an
    axis that is split over "tensor" instead, if it divides.
    """
    entries: list[str | None] = [None] * len(shape)
    taken = None if taken is None or len(shape) < abs(taken) else taken % len(shape)
    if taken is not None and mesh.shape["tensor"] > 1 and not shape[taken] % mesh.shape["tensor"]:
        entries[taken] = "tensor"
    ways = mesh.shape["fsdp"]
    free = [(n, axis) for axis, n in enumerate(shape) if n % ways == 0 and not entries[axis]]
    if ways > 1 and math.prod(shape) >= MIN_SIZE and free:
        entries[max(free)[1]] = "fsdp"
    return P(*entries) if any(entries) else P()


def columns(shape: Sequence[int], mesh: Mesh) -> P:
    """The last axis over "tensor": a kernel [..., D, F] makes its share of the outputs."""
    return fully_sharded(shape, mesh, -1)


def rows(shape: Sequence[int], mesh: Mesh) -> P:
    """The axis before the last over "tensor": a kernel takes its share of the inputs."""
    return fully_sharded(shape, mesh, -2)


def whole(shape: Sequence[int], mesh: Mesh) -> P:
    """All of it on every device."""
    return P()


FULLY_SHARDED: tuple[Rule, ...] = ((".*", fully_sharded),)

# The transformer of `attention.transformer`, its layers apart or stacked. Two products in a row are
# split by columns and by rows, so that one sum over "tensor" follows the second. "tensor" should
# divide the numbers of heads and of key/value heads.
TENSOR_PARALLEL: tuple[Rule, ...] = (
    (r"\battention/qkv/(kernel|bias)$", columns),
    (r"\battention/out/kernel$", rows),
    (r"\bffn/in/(kernel|bias)$", columns),
    (r"\bffn/out/kernel$", rows),
    (r"\bembed/embedding$", rows),  # [V, D]: by vocabulary, for inputs and logits alike
    (r"\b(q_|k_)?norm\w*/(scale|bias)$", whole),
    *FULLY_SHARDED,
)
SETS = {"fully_sharded": FULLY_SHARDED, "tensor_parallel": TENSOR_PARALLEL}


def rules_of(config: Mapping[str, Any], trust: Collection[str] | None = None) -> tuple[Rule, ...]:
    """The rules of `config.sharding_rules`, then those of the set that `config.sharding` names.

    A set of one's own is a function without arguments, "module:function", that returns its rules.

    Raises:
      ValueError: for a set that does not exist, a regex that is none, or a spec that is no list.
    """
    chosen = config["sharding"]
    if chosen in SETS:
        found = SETS[chosen]
    elif ":" in chosen:
        function = names.find(chosen, (), "config.sharding", trust)
        try:
            inspect.signature(function).bind()
        except TypeError as error:
            raise ValueError(
                f"config.sharding = {chosen!r}: must take no arguments; {error}"
            ) from None
        found = function()
    else:
        known = ", ".join([*SETS, "module:function"])
        raise ValueError(f"config.sharding = {chosen!r}: must be one of {known}")
    rules = (*config["sharding_rules"], *found)
    for rule in rules:
        _check_form(rule)
    return tuple((pattern, spec) for pattern, spec in rules)


def _check_form(rule: Any) -> None:
    accepted = 'a pair like ("ffn/in/kernel$", (None, "tensor"))'
    pair = isinstance(rule, Sequence) and len(rule) == 2 and isinstance(rule[0], str)
    if not pair or not (callable(rule[1]) or _is_spec(rule[1])):
        raise ValueError(f"config.sharding_rules: {rule!r} must be {accepted}")
    try:
        re.compile(rule[0])
    except re.error as error:
        reason = f"{rule[0]!r} is not a regular expression ({error})"
        raise ValueError(f"config.sharding_rules: {reason}") from None


def _is_spec(spec: Any) -> bool:
    return isinstance(spec, P) or (isinstance(spec, Sequence) and not isinstance(spec, str))


def parameter_specs(params: PyTree, mesh: Mesh, rules: Sequence[Rule]) -> dict[str, P]:
    """{path: how that parameter is divided}, by the first rule that matches.

    Raises:
      ValueError: naming the rule and the path, for a parameter without a rule, a spec that is not
        possible, and a spec whose regex matches no parameter.
    """
    leaves = jax.tree_util.tree_leaves_with_path(params)
    shapes = {path_name(path): leaf.shape for path, leaf in leaves}
    for pattern, spec in rules:
        # Functions are for any network; but who writes a spec means a parameter of this one.
        if not callable(spec) and not any(re.search(pattern, path) for path in shapes):
            raise ValueError(
                f"config.sharding_rules: {pattern!r} matches no parameter. There are: "
                f"{', '.join(shapes)}"
            )
    return {path: _spec(path, shape, mesh, rules) for path, shape in shapes.items()}


def unsplit(params: PyTree, mesh: Mesh, rules: Sequence[Rule]) -> list[str]:
    """The paths that `columns` or `rows` would split over "tensor" if their sizes let them."""
    if mesh.shape["tensor"] == 1:
        return []
    specs = parameter_specs(params, mesh, rules)
    rule_of = lambda path: next(spec for pattern, spec in rules if re.search(pattern, path))
    meant = [path for path in specs if rule_of(path) in (columns, rows)]
    return [path for path in meant if "tensor" not in specs[path]]


def _spec(path: str, shape: Sequence[int], mesh: Mesh, rules: Sequence[Rule]) -> P:
    rule = next((rule for rule in rules if re.search(rule[0], path)), None)
    if rule is None:
        raise ValueError(
            f"config.sharding: no rule matches the parameter {path!r}; end the rules with "
            '(".*", ()) to hold the others whole'
        )
    if callable(rule[1]):
        return rule[1](shape, mesh)
    _check_spec(rule, path, shape, mesh)
    return P(*(tuple(entry) if isinstance(entry, list) else entry for entry in rule[1]))


def _check_spec(rule: Rule, path: str, shape: Sequence[int], mesh: Mesh) -> None:
    pattern, spec = rule
    where = f"config.sharding_rules: {pattern!r} -> {list(spec)} on {path} {list(shape)}"
    axes = [() if e is None else (e,) if isinstance(e, str) else tuple(e) for e in spec]
    named = [axis for entry in axes for axis in entry]
    if len(spec) > len(shape):
        raise ValueError(f"{where}: has {len(spec)} entries for {len(shape)} dimensions")
    for axis in named:
        if axis not in mesh.shape:
            raise ValueError(f"{where}: {axis!r} is no axis of the mesh; {list(mesh.shape)} are")
        if named.count(axis) > 1:
            raise ValueError(f"{where}: {axis!r} can divide one dimension only")
    for size, entry in zip(shape, axes, strict=False):
        ways = math.prod(mesh.shape[axis] for axis in entry)
        if size % ways:
            raise ValueError(f"{where}: {size} is not divisible by {'*'.join(entry)} = {ways}")
