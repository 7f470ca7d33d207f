"""The config of a stored run as it would be written today, and the digest that outlives options."""

import functools
from collections.abc import Collection, Mapping
from types import UnionType
from typing import Any

from aigc_jax import build, refusals, renamed
from aigc_jax.identity import digest, flatten


def as_of_today(
    raw: Mapping[str, Any], trust: Collection[str] | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(the config of a stored run as it would be written today, {option: value} of what it lacks).

    What it lacks are options that came later; they get what the run did without them.
    """
    moved = renamed.config(raw)
    with refusals.only_said():
        completed = build.complete(moved, trust)
    there, lacking = flatten(moved), {}
    lacking = {option: v for option, v in flatten(completed).items() if option not in there}
    for option, value in renamed.before(raw).items():
        if option in lacking:
            *sections, name = option.split(".")
            functools.reduce(dict.__getitem__, sections, completed)[name] = value
            lacking[option] = value
    return completed, lacking


def digest_of(config: Mapping[str, Any]) -> str:
    """The digest of a completed config."""
    defaults = flatten(build.schemas(config))
    known = {k: v for k, v in defaults.items() if not isinstance(v, type | UnionType)}
    optional = {k: None for k, v in defaults.items() if isinstance(v, UnionType)}
    return digest(config, known | optional | renamed.before(config))
