"""Compiling with the options that suit the platform: the one place where they are kept.

Each was measured on the project's own steps (`benchmarks/`), one at a time, and is dropped where
the compiler does not know it.
"""

from collections.abc import Callable
from typing import Any

import jax

# XLA:CPU hands work to YNNPACK, which gains on single matrix products and on reductions but takes
# twice as long for convolutions and longer for elementwise work: it gets the former only.
CPU = {
    "xla_cpu_experimental_ynn_fusion_type": (
        "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE"
    )
}
OPTIONS = {"cpu": CPU}


def compiled_once(jitted: Any) -> Callable:
    """`jitted`, traced and compiled at its first call; later calls need the same shapes."""
    compiled = []

    def call(*args):
        if not compiled:
            compiled.append(compiled_with_options(jitted.lower(*args)))
        return compiled[0](*args)

    return call


def compiled_with_options(lowered: Any) -> Callable:
    """A lowered program, compiled with the `OPTIONS` of the platform or, if refused, without."""
    options = OPTIONS.get(jax.default_backend())
    if options:
        try:
            return lowered.compile(compiler_options=options)
        except jax.errors.JaxRuntimeError:
            pass
    return lowered.compile()
