"""The types of options: read from signatures, held against values, and given to text."""

import ast
import collections
import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

SEQUENCES = (tuple, list, Sequence)
OPENING, CLOSING = "([{", ")]}"


def parameters(function: Callable) -> dict[str, inspect.Parameter]:
    """What a function or a network class takes by name; each annotation is read if it can be."""
    declared = dict(inspect.signature(function).parameters)
    # Of a network class `eval_str=True` evaluates none, and of others all or none.
    texts = {k: p for k, p in declared.items() if isinstance(p.annotation, str)}
    names = _names_of(function) if texts else {}
    return declared | {
        k: p.replace(annotation=_read(p.annotation, names)) for k, p in texts.items()
    }


def _names_of(function: Callable) -> dict[str, Any]:
    """What the annotations of a function, a partial one, or a class may name."""
    while isinstance(function, functools.partial):
        function = function.func
    function = inspect.unwrap(function)
    if hasattr(function, "__globals__"):
        return function.__globals__
    bases = (function if inspect.isclass(function) else type(function)).__mro__
    modules = (sys.modules.get(base.__module__) for base in bases)
    return dict(collections.ChainMap(*(vars(module) for module in modules if module)))


def _read(annotation: str, names: Mapping[str, Any]) -> Any:
    try:
        alone = lambda: None  # inspect reads all annotations of a function, or none
        alone.__annotations__ = {"one": annotation}
        return inspect.get_annotations(alone, globals=dict(names), eval_str=True)["one"]
    except Exception:  # what only type checkers know, or an expression that raises anything
        return Any


def annotation_of(parameter: inspect.Parameter) -> Any:
    """The type that a parameter is declared with; without one, what its default suggests."""
    declared, default = parameter.annotation, parameter.default
    if isinstance(declared, str):
        return Any
    if declared is not parameter.empty:
        return get_args(declared)[0] if get_origin(declared) is Annotated else declared
    if isinstance(default, int | float) and not isinstance(default, bool):
        return type(default) | float  # who writes margin=1 may well take 0.5, and n=1 needs 2
    return type(default) if type(default) in (bool, str, tuple, list) else Any


def members(kind: Any) -> tuple[Any, ...]:
    """The alternatives of a union, else the type alone."""
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def fits(value: Any, kind: Any) -> bool:
    """Whether a value is of a type; an int may stand for a float, a list for a tuple.

    Only types that a config can hold are looked at: what else a function takes, it alone knows.
    """
    if len(members(kind)) > 1:
        return any(fits(value, member) for member in members(kind))
    origin = get_origin(kind) or kind
    if origin is Literal:
        return value in get_args(kind)
    if origin in SEQUENCES:
        return isinstance(value, list | tuple) and _elements_fit(value, get_args(kind))
    if origin in (dict, Mapping):
        inside = get_args(kind)[1:]
        return isinstance(value, Mapping) and all(
            fits(v, k) for k in inside for v in value.values()
        )
    plain = {bool: bool, int: int, float: int | float, str: str, NoneType: NoneType, None: NoneType}
    if origin not in plain:
        return True
    return isinstance(value, plain[origin]) and (origin is bool or not isinstance(value, bool))


def _elements_fit(value: Sequence, inside: tuple[Any, ...]) -> bool:
    if not inside:
        return True
    if len(inside) == 1 or inside[-1] is Ellipsis:
        return all(fits(element, inside[0]) for element in value)
    return len(value) == len(inside) and all(map(fits, value, inside))


def shown(kind: Any) -> str:
    """A type in words: "of type int | None", "of type tuple[int, ...]", "'a' or 'b'"."""
    if get_origin(kind) is Literal:
        return " or ".join(map(repr, get_args(kind)))
    return f"of type {_name(kind)}"


def _name(kind: Any) -> str:
    if len(members(kind)) > 1:
        return " | ".join(map(_name, members(kind)))
    origin, inside = get_origin(kind) or kind, get_args(kind)
    if origin is Literal:
        return " | ".join(map(repr, inside))
    if origin in SEQUENCES:
        names = ["..." if k is Ellipsis else _name(k) for k in inside]
        return f"tuple[{', '.join(names + ['...'] * (len(names) == 1))}]" if names else "tuple"
    if origin in (dict, Mapping):
        return f"dict of {_name(inside[1])}" if inside else "dict"
    return "None" if kind in (None, NoneType) else getattr(kind, "__name__", str(kind))


def numbers(value: Any) -> Iterator[float]:
    """The numbers in a value, those inside of tuples and dicts too."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for inside in value:
            yield from numbers(inside)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


def literal(text: str) -> Any:
    """What Python reads in a text, true and false in any case too; else the text itself."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def read(text: str, kind: Any, key: str) -> Any:
    """The value of a text as the type has it; one value may stand for a tuple of one.

    Raises:
      ValueError: if it is of another type.
    """
    alternatives, value = members(kind), literal(text)
    if value is None and (None in alternatives or NoneType in alternatives):
        return None
    if str in alternatives and not any(fits(value, k) for k in alternatives if k is not str):
        return text
    for one in alternatives:
        if (get_origin(one) or one) in SEQUENCES and not isinstance(value, list | tuple):
            element = (*get_args(one), Any)[0]
            value = tuple(read(part, element, key) for part in split(text))
    if not fits(value, kind):
        raise ValueError(f"{key} = {value!r}: must be {shown(kind)}")
    if float in alternatives and int not in alternatives and isinstance(value, int):
        return float(value)
    return tuple(value) if isinstance(value, list) else value


def split(text: str) -> list[str]:
    """The parts of a text between commas, but not those inside of brackets: "a{1,2}" is one."""
    parts, depth = [""], 0
    for before, character in zip(" " + text, text, strict=False):
        inside = before == "\\"
        depth += (character in OPENING and not inside) - (character in CLOSING and not inside)
        if character == "," and depth <= 0 and not inside:
            parts.append("")
        else:
            parts[-1] += character
    return [part for part in parts if part]
