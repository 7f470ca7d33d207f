"""Floating-point operations of a function, counted from its jaxpr: nothing is compiled or run.

XLA's own cost analysis counts the body of a loop once; here a scan counts as often as it runs.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn
from jax.interpreters import partial_eval

# These move or relabel numbers and compute none.
MOVES = {
    *("broadcast_in_dim", "concatenate", "copy", "copy_p", "expand_dims", "iota", "pad", "reshape"),
    *("rev", "slice", "split", "squeeze", "transpose"),
    *("dynamic_slice", "dynamic_update_slice", "gather", "scatter"),
    *("bitcast_convert_type", "convert_element_type", "random_wrap", "random_unwrap"),
    *("device_put", "optimization_barrier", "pcast", "pvary", "sharding_constraint"),
}


class Flops(NamedTuple):
    """Operations of matrix products and convolutions, of everything else, and what is unknown."""

    matmul: int = 0
    other: int = 0
    open_loops: int = 0  # while loops, whose trip count no one knows: their bodies count once

    @property
    def total(self) -> int:
        """All operations."""
        return self.matmul + self.other


def of(function: Callable, *args: Any) -> Flops:
    """The operations of `function(*args)`; the arguments may be `ShapeDtypeStruct`s.

    What its outputs do not need is left out, as the compiler does. Then:

    - a product or convolution takes two per multiply-add; padding and the holes of dilated inputs
      take none, so that a gradient counts like the forward pass it belongs to;
    - anything else takes one per element of its largest argument or result: elementwise functions,
      transcendental ones and random bits among them, reductions, cumulative sums, sorting;
    - moving, indexing and converting take none, scatter-add one per number added;
    - a scan takes `length` times its body, a conditional its most expensive branch, a while loop
      its body once, which `open_loops` tells.
    """
    jaxpr = jax.make_jaxpr(function)(*args).jaxpr
    needed, _ = partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    return _jaxpr(needed)


def _jaxpr(jaxpr: Jaxpr | ClosedJaxpr) -> Flops:
    """The sum over all equations."""
    return _sum(map(_equation, jaxpr.eqns))


def _equation(eqn: JaxprEqn) -> Flops:
    name = eqn.primitive.name
    if name in PRODUCTS:
        return Flops(matmul=2 * PRODUCTS[name](eqn))
    if name in MOVES:
        return Flops()
    if name == "scan":
        matmul, other, open_loops = _jaxpr(eqn.params["jaxpr"])
        return Flops(matmul * eqn.params["length"], other * eqn.params["length"], open_loops)
    if name == "while":
        body = _sum(map(_jaxpr, _inner(eqn)))
        return body._replace(open_loops=body.open_loops + 1)
    if name == "cond":
        return max(map(_jaxpr, eqn.params["branches"]), key=lambda flops: flops.total)
    if name.startswith("scatter"):
        return Flops(other=math.prod(eqn.invars[2].aval.shape))
    if "window_dimensions" in eqn.params:
        return Flops(other=_largest(eqn.outvars) * math.prod(eqn.params["window_dimensions"]))
    # Reductions hold the jaxpr of one addition, which stands for all of them.
    inner = [] if name.startswith("reduce") else list(_inner(eqn))
    if inner:
        return _sum(map(_jaxpr, inner))
    return Flops(other=_largest([*eqn.invars, *eqn.outvars]))


def _sum(parts: Iterator[Flops]) -> Flops:
    return Flops(*(sum(column) for column in zip(Flops(), *parts, strict=True)))


def _inner(eqn: JaxprEqn) -> Iterator[Jaxpr | ClosedJaxpr]:
    """The jaxprs that an equation calls: of jit, custom derivatives, remat and the like."""
    return (value for value in eqn.params.values() if isinstance(value, Jaxpr | ClosedJaxpr))


def _largest(variables: list) -> int:
    return max((math.prod(getattr(v.aval, "shape", ())) for v in variables), default=0)


def _dot_general(eqn: JaxprEqn) -> int:
    """Multiply-adds: one per output element and element of the contracted axes."""
    (contracted, _), _ = eqn.params["dimension_numbers"]
    lhs, out = eqn.invars[0].aval.shape, eqn.outvars[0].aval.shape
    return math.prod(out) * math.prod(lhs[axis] for axis in contracted)


def _convolution(eqn: JaxprEqn) -> int:
    """Multiply-adds with real inputs: B x C_out x (C_in / groups) x pairs along every axis."""
    layout = eqn.params["dimension_numbers"]
    lhs, rhs = (v.aval.shape for v in eqn.invars)
    out = eqn.outvars[0].aval.shape
    count = out[layout.out_spec[0]] * out[layout.out_spec[1]] * rhs[layout.rhs_spec[1]]
    for axis, window in enumerate(eqn.params["window_strides"]):
        count *= pairs(
            *(lhs[layout.lhs_spec[axis + 2]], rhs[layout.rhs_spec[axis + 2]]),
            *(out[layout.out_spec[axis + 2]], window, eqn.params["padding"][axis][0]),
            *(eqn.params["lhs_dilation"][axis], eqn.params["rhs_dilation"][axis]),
        )
    return count


def pairs(
    size: int, kernel: int, out: int, stride: int, padding: int, lhs_dilation: int, dilation: int
) -> int:
    """Pairs (output position, kernel position) along one axis that meet a real input."""
    at = np.arange(out)[:, None] * stride + np.arange(kernel) * dilation - padding
    inside = (at >= 0) & (at <= (size - 1) * lhs_dilation)
    return int((inside & (at % lhs_dilation == 0)).sum())


def _attention(products: int) -> Callable[[JaxprEqn], int]:
    """Multiply-adds of a fused attention kernel: `products` matrices of [T, S] for every head.

    Causal attention counts in full, as it does without the kernel.
    """

    def count(eqn: JaxprEqn) -> int:
        (batch, queries, heads, width), (_, keys, *_) = (v.aval.shape for v in eqn.invars[:2])
        return products * batch * heads * queries * keys * width

    return count


PRODUCTS = {
    "dot_general": _dot_general,
    "conv_general_dilated": _convolution,
    "dot_product_attention_fwd_wrapper": _attention(2),
    "dot_product_attention_bwd_wrapper": _attention(4),
}
