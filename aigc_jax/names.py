"""Names in configs -> functions and networks: of the project, or "module:name" of the user."""

import functools
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Collection, Mapping
from types import ModuleType
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from aigc_jax import kinds, ranges, refusals
from aigc_jax.config import unknown

# What networks are given from elsewhere, see `build.offered_by`.
ELSEWHERE = {
    "shape": "the data",
    "num_classes": "the data and config.algorithm.conditional",
    "dtype": "config.precision",
    "axis_name": "config.parallel",
}


def find(name: str, modules: Any, key: str, trust: Collection[str] | None = None) -> Any:
    """The object `name` of `modules`, or of the user's own module as "module:name".

    Args:
      trust: the modules outside the project that may be imported; None is all.

    Raises:
      ValueError: if there is no such object, or its module is not trusted.
    """
    if ":" in name:
        return _imported(name, key, trust)
    modules = modules if isinstance(modules, tuple) else (modules,)
    known = {n: getattr(m, n) for m in modules for n in _public(m)}
    if name not in known:
        raise ValueError(unknown(f"{key} = {name!r}", [*known, "module:name"]))
    return known[name]


def is_code(data: str) -> bool:
    """Whether the name of a data set is "module:function", not the path of something with a colon.

    A path that is there is data, whatever else it could mean.
    """
    module, colon, _ = data.partition(":")
    dotted = all(word.isidentifier() for word in module.split("."))
    return bool(colon) and dotted and not os.path.exists(data)


def _public(module: ModuleType) -> list[str]:
    """The functions and network classes that a module defines."""

    def listed(name, value):
        network = inspect.isclass(value) and issubclass(value, nn.Module)
        local = getattr(value, "__module__", None) == module.__name__
        return local and (network or inspect.isfunction(value)) and not name.startswith("_")

    return [name for name, value in vars(module).items() if listed(name, value)]


def _imported(name: str, key: str, trust: Collection[str] | None) -> Any:
    module_name, _, attribute = name.partition(":")
    # Modules of the project are no exception: with chosen arguments, config.load runs any file.
    if trust is not None and module_name not in trust:
        raise ValueError(
            f"{key} = {name!r}: the stored run names code of its own choice; read {module_name} "
            f"and repeat the command with --trust={module_name}"
        )
    if not all(map(str.isidentifier, (*module_name.split("."), attribute))):
        raise ValueError(f"{key} = {name!r}: must be an importable module and a name in it")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"{key} = {name!r}: {error}; must be an importable module and a name in it"
        ) from error
    if not callable(found):
        raise ValueError(f"{key} = {name!r}: is neither a function nor a class")
    return found


def resolve(
    section: Mapping[str, Any],
    names: Mapping[str, Any],
    offered: Mapping[str, Any],
    where: str,
    trust: Collection[str] | None = None,
) -> dict[str, Any]:
    """The options of a section with objects in place of names.

    A network class is constructed with `<option>_args` and those of `offered` that it declares as
    fields; a function is bound to its `<option>_args` and to what is offered of its parameters.
    """
    options = dict(section)
    for option, modules in names.items():
        key, arguments = f"{where}.{option}", options.pop(f"{option}_args", {})
        if isinstance(options[option], Mapping):
            named = options[option].items()
            options[option] = {find(name, modules, key, trust): value for name, value in named}
        elif isinstance(options[option], str):
            found = find(options[option], modules, key, trust)
            _check_kind(found, modules, key)
            _check_names(arguments_of(found, modules), arguments, key)
            options[option] = _construct(found, arguments, offered, key)
    return options


def check(
    section: Mapping[str, Any],
    names: Mapping[str, Any],
    others: Mapping[str, Any],
    where: str,
    trust: Collection[str] | None = None,
) -> None:
    """Holds the arguments of everything that a section names against its signature.

    Args:
      others: what rules may refer to beside the arguments, see `ranges.check`; of these a function
        is given the "steps" of the run.

    Raises:
      ValueError: for a name or an argument that does not exist or is missing, one that the section
        itself has an option for, or a value that breaks a rule.
    """
    for option, modules in names.items():
        if not isinstance(section[option], str):
            continue
        key, arguments = f"{where}.{option}", section.get(f"{option}_args", {})
        found = find(section[option], modules, key, trust)
        declared = arguments_of(found, modules)
        _check_kind(found, modules, key)
        _check_names(declared, arguments, key)
        for name, value in arguments.items():
            if place := ELSEWHERE.get(name, f"{where}.{name}" if name in section else None):
                refusals.refuse(f"{key}_args.{name} = {value!r}: comes from {place}; leave it out")
        ranges.check(found, arguments, f"{key}_args", others)
        if not _is_network(found):  # what a network needs, data may have
            _check_given(found, declared, {"steps", *arguments}, key)


def arguments_of(found: Any, modules: Any) -> dict[str, inspect.Parameter]:
    """What `<option>_args` may hold: a network's fields, or what a function is not called with.

    Functions of an option are called with as many values as those of the project's `modules` take
    by position.
    """
    parameters = kinds.parameters(found)
    if _is_network(found):
        return {k: p for k, p in parameters.items() if k not in ("parent", "name")}
    modules = modules if isinstance(modules, tuple) else (modules,)
    known = [getattr(m, n) for m in modules for n in _public(m)]
    counts = [len(_by_position(f)) for f in known if not _is_network(f)]
    called_with = _by_position(found)[: min(counts, default=None)]
    return {k: p for k, p in parameters.items() if k not in called_with}


def _check_kind(found: Any, modules: Any, key: str) -> None:
    """Where the project has networks, one is needed, and where it has functions, a function."""
    modules = modules if isinstance(modules, tuple) else (modules,)
    ours = [m for m in modules if m.__name__.startswith("aigc_jax.")]
    networks = any(_is_network(getattr(m, name)) for m in ours for name in _public(m))
    if ours and networks != _is_network(found):
        kind = "a flax.linen network class" if networks else "a function"
        raise ValueError(f"{key} = {getattr(found, '__name__', found)!r}: must be {kind}")


def _is_network(found: Any) -> bool:
    return inspect.isclass(found) and issubclass(found, nn.Module)


def _by_position(function: Callable) -> list[str]:
    parameters = kinds.parameters(function).values()
    kind = inspect.Parameter
    return [
        p.name for p in parameters if p.kind in (kind.POSITIONAL_ONLY, kind.POSITIONAL_OR_KEYWORD)
    ]


def _construct(found: Any, arguments: Mapping, offered: Mapping, key: str) -> Any:
    declared = kinds.parameters(found)
    if not _is_network(found):
        bound = {k: offered[k] for k in ("steps",) if k in declared and k in offered}
        bound |= arguments
        return functools.partial(found, **bound) if bound else found
    if offered.get("dtype") != jnp.float32 and "dtype" not in declared:
        raise ValueError(f"config.precision: {key} = {found.__name__} has no field dtype")
    if "vocab" in arguments and arguments["vocab"] < offered.get("vocab", 0):
        refusals.refuse(
            f"{key}_args.vocab = {arguments['vocab']!r}: must be at least the {offered['vocab']} "
            "of the data"
        )
    given = {k: v for k, v in offered.items() if k in declared}
    given |= {k: _hashable(v) for k, v in arguments.items()}
    _check_given(found, declared, given, key)
    try:
        return found(**given)
    except ValueError as error:
        raise ValueError(f"{key} = {found.__name__!r}: {error}") from error


def _check_given(found: Any, declared: Mapping, given: Collection[str], key: str) -> None:
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    required = {k for k, p in declared.items() if p.default is p.empty and p.kind not in variadic}
    data = "which this data does not have; choose other data or " if _is_network(found) else ""
    for name in required - set(given):
        raise ValueError(
            f"{key} = {getattr(found, '__name__', found)!r}: needs {name}, {data}give "
            f"{key}_args.{name}"
        )


def _check_names(declared: Mapping, arguments: Mapping, key: str) -> None:
    if any(p.kind is p.VAR_KEYWORD for p in declared.values()):
        return
    for name in arguments:
        if name not in declared:
            settable = [k for k in declared if k not in ELSEWHERE]
            raise ValueError(unknown(f"{key}_args.{name}", settable))


def _hashable(value: Any) -> Any:
    return tuple(_hashable(v) for v in value) if isinstance(value, list | tuple) else value
