"""Any of our workloads, compiled with other options than those the project uses."""

import importlib
from collections.abc import Mapping
from typing import Any

import jax

from aigc_jax import compiling
from benchmarks.speed.timed import Timed


def build(
    *, builder: str, options: Mapping[str, Any], compiler_options: Mapping[str, Any], **_: Any
) -> Timed:
    """The workload of `builder(**options)` with `compiler_options` on this platform."""
    compiling.OPTIONS[jax.default_backend()] = dict(compiler_options)
    module, _, function = builder.partition(":")
    return getattr(importlib.import_module(f"benchmarks.speed.ours.{module}"), function)(**options)
