"""The kinds of algorithms: the module of each, and what it says about itself beside `make`."""

import importlib
import sys
from collections.abc import Callable, Collection, Mapping
from types import ModuleType

from aigc_jax import schedules
from aigc_jax.config import unknown
from aigc_jax.names import find

FAMILIES = ("gan", "vae", "attention")
RATES = {"learning_rate_schedule": schedules}  # what an optimiser's section names


def family(name: str, trust: Collection[str] | None = None) -> tuple[ModuleType, Callable]:
    """The module and the `make` function of `config.algorithm.name`."""
    if not isinstance(name, str):
        raise ValueError(f"config.algorithm.name = {name!r}: must be of type str")
    if ":" in name:
        make = find(name, (), "config.algorithm.name", trust)
        return sys.modules[make.__module__], make
    if name not in FAMILIES:
        raise ValueError(unknown(f"config.algorithm.name = {name!r}", [*FAMILIES, "module:make"]))
    module = importlib.import_module(f"aigc_jax.{name}.algorithm")
    return module, module.make


def optimizers_of(module: ModuleType) -> Mapping[str, str]:
    """{optimiser name: the option that says how many updates it takes per step, or ""}."""
    return getattr(module, "OPTIMIZERS", {"model": ""})


def direction_of(module: ModuleType, metric: str) -> str:
    """Whether the "min" or the "max" of a metric is best, "" where its module does not say."""
    return getattr(module, "DIRECTIONS", {}).get(metric, "")
