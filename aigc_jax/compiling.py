"""Compiling with the options that suit the platform and the program."""

from collections.abc import Callable
from typing import Any

import jax

# XLA:CPU hands convolutions to YNNPACK, which takes about twice as long as its own (Eigen).
OWN_CONVOLUTIONS = {"xla_cpu_experimental_ynn_fusion_type": ""}


def compiled_once(jitted: Any) -> Callable:
    """`jitted`, traced and compiled at its first call; later calls need the same shapes.

    On a CPU a program with convolutions is compiled with `OWN_CONVOLUTIONS`, or without options
    where the compiler does not know them.
    """
    compiled = []

    def call(*args):
        if not compiled:
            compiled.append(_compile(jitted.trace(*args)))
        return compiled[0](*args)

    return call


def _compile(traced: Any) -> Callable:
    lowered = traced.lower()
    if jax.default_backend() == "cpu" and "conv_general_dilated" in str(traced.jaxpr):
        try:
            return lowered.compile(compiler_options=OWN_CONVOLUTIONS)
        except jax.errors.JaxRuntimeError:
            pass
    return lowered.compile()
