"""Names in configs -> functions and networks: of the project, or "module:name" of the user."""

import dataclasses
import functools
import importlib
import inspect
import sys
from collections.abc import Collection, Mapping
from types import ModuleType
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from aigc_jax import kinds, ranges
from aigc_jax.config import unknown


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
      others: what rules may refer to beside the arguments, see `ranges.check`.

    Raises:
      ValueError: for a name or an argument that does not exist, or a value that breaks a rule.
    """
    for option, modules in names.items():
        if isinstance(section[option], str):
            key, arguments = f"{where}.{option}", section.get(f"{option}_args", {})
            found = find(section[option], modules, key, trust)
            check_names(found, arguments, key)
            ranges.check(found, arguments, f"{key}_args", others)


def _construct(found: Any, arguments: Mapping, offered: Mapping, key: str) -> Any:
    if inspect.isclass(found) and issubclass(found, nn.Module):
        declared = check_names(found, arguments, key)
        if offered.get("dtype") != jnp.float32 and "dtype" not in declared:
            raise ValueError(f"config.precision: {key} = {found.__name__} has no field dtype")
        given = {k: v for k, v in offered.items() if k in declared}
        given |= {k: _hashable(v) for k, v in arguments.items()}
        _check_given(found, given, key)
        return found(**given)
    declared = check_names(found, arguments, key)
    bound = {k: offered[k] for k in ("steps",) if k in declared and k in offered} | dict(arguments)
    return functools.partial(found, **bound) if bound else found


def _check_given(network: type, given: Mapping, key: str) -> None:
    for field in dataclasses.fields(network):
        required = field.default is field.default_factory is dataclasses.MISSING
        if required and field.name not in given:
            raise ValueError(
                f"{key} = {network.__name__!r}: needs {field.name}, which this data does not have; "
                f"choose other data or give {key}_args.{field.name}"
            )


def check_names(found: Any, arguments: Mapping, key: str) -> list[str]:
    """The names of the arguments that a network class or function takes.

    Raises:
      ValueError: for an argument that it does not take.
    """
    network = inspect.isclass(found) and issubclass(found, nn.Module)
    inner = ("parent", "name") if network else ()
    declared = [name for name in kinds.parameters(found) if name not in inner]
    for name in arguments:
        if name not in declared:
            raise ValueError(unknown(f"{key}_args.{name}", declared))
    return declared


def _hashable(value: Any) -> Any:
    return tuple(_hashable(v) for v in value) if isinstance(value, list | tuple) else value
