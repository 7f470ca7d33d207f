"""Overrides from the command line: --config.KEY=VALUE, each by the type that it has there."""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from aigc_jax import kinds
from aigc_jax.config import parse, unknown

# Sections whose keys are names of the user's choice.
FREE_FORM = ("penalties", "sampling")


def override(
    config: dict[str, Any],
    assignments: Iterable[tuple[str, str]],
    arguments: Callable[[dict[str, Any], list[str]], Mapping[str, Any]] = lambda config, path: {},
) -> dict[str, Any]:
    """The config with each ("algorithm.beta", "4") put in place, by the type it had.

    Another name ("algorithm.decoder") drops the arguments of the old one ("decoder_args"), see
    `dropped`. `arguments(config, ["algorithm", "decoder_args"])` is what is declared there.
    """
    config = copy.deepcopy(config)
    for dotted, text in sorted(assignments, key=lambda pair: pair[0]):
        *parents, name = dotted.split(".")
        section, path = config, "config"
        for parent in parents:
            path += f".{parent}"
            sections = [key for key in section if isinstance(section[key], dict)]
            if parent not in sections:
                raise ValueError(unknown(path, sections))
            section = section[parent]
        if name not in section and not (parents and _free_form(parents[-1])):
            raise ValueError(unknown(f"config.{dotted}", section))
        if f"{name}_args" in section and text != section[name]:
            section[f"{name}_args"] = {}
        declared = arguments(config, parents) if parents and parents[-1].endswith("_args") else {}
        if name in declared:
            kind = kinds.annotation_of(declared[name])
            section[name] = kinds.read(text, kind, f"config.{dotted}")
            continue
        default = {} if _free_form(name) else section.get(name)
        section[name] = parse(text, default, f"config.{dotted}")
    return config


def dropped(
    before: Mapping[str, Any], after: Mapping[str, Any], where: str = "config"
) -> Iterator[str]:
    """Lines on arguments that an override dropped with the name that they were for."""
    for key, old in before.items():
        named = key.removesuffix("_args")
        if named != key and old and before[named] != after[named]:
            names = ", ".join(old)
            line = f"{where}.{key}: {names} of {before[named]!r} dropped, not for {after[named]!r}"
            yield line
        elif isinstance(old, Mapping) and isinstance(after.get(key), Mapping):
            yield from dropped(old, after[key], f"{where}.{key}")


def _free_form(section: str) -> bool:
    return section.endswith("_args") or section in FREE_FORM
