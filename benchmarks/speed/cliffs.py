"""How long each pass of a convolution takes beside a matrix product of as many operations."""

import math
import time
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from aigc_jax.compiling import compiled_with_options
from aigc_jax.layers.convolution import StridedConv, TransposedConv, strided_conv, transposed_conv

REFERENCE, PASSES = "reference", ("forward", "input gradient", "kernel gradient")


class Layer(NamedTuple):
    """The shapes of one convolution with padding "SAME"."""

    transposed: bool
    image: tuple[int, int, int, int]  # [B, H, W, C]
    kernel: tuple[int, int, int, int]  # [kh, kw, C, O]
    strides: tuple[int, int]

    def __str__(self) -> str:
        (batch, height, width, c), (kh, kw, _, o) = self.image, self.kernel
        kind = "transposed" if self.transposed else "strided"
        strides = "x".join(map(str, self.strides))
        return f"{kind} {kh}x{kw}/{strides} {c}->{o} of {batch} maps {height}x{width}"


def layers_of(network: nn.Module, *args: jax.ShapeDtypeStruct) -> list[Layer]:
    """The convolutions that a call of `network` makes, in order; nothing is computed."""
    found = []

    def note(call, args, kwargs, context):
        layer = context.module
        if isinstance(layer, StridedConv | TransposedConv) and context.method_name == "__call__":
            (image,) = args
            kernel = (*layer.kernel_size, image.shape[-1], layer.features)
            transposed = isinstance(layer, TransposedConv)
            found.append(Layer(transposed, image.shape, kernel, layer.strides))
        return call(*args, **kwargs)

    with nn.intercept_methods(note):
        jax.eval_shape(network.init, jax.random.key(0), *args)
    return found


def product_shape(layer: Layer) -> tuple[int, int, int]:
    """(M, K, N) of a product of matrices [M, K] x [K, N] with the convolution's operations.

    Windows times kernel, with a row for each position of the smaller map. The windows are of the
    side with fewer channels, so this is the convolution or one of its gradients, whichever reads
    less: the other form would move up to kh kw times as much, and excuse what does too.
    """
    (batch, *size, c), (kh, kw, _, o) = layer.image, layer.kernel
    if not layer.transposed:
        size = [-(-s // stride) for s, stride in zip(size, layer.strides, strict=True)]
    return batch * math.prod(size), kh * kw * min(c, o), max(c, o)


def operations(layer: Layer) -> int:
    """Floating-point operations of any one pass: 2 M K N."""
    return 2 * math.prod(product_shape(layer))


def ratios(layer: Layer, rounds: int = 3) -> dict[str, float]:
    """{pass: its time / that of the matrix product and a copy of both operands and the result}.

    All are compiled as the program's own steps are and timed in turns; the best of `rounds` counts.
    """
    calls = _calls(layer)
    best = dict.fromkeys(calls, math.inf)
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            best[name] = min(best[name], time.perf_counter() - start)
    return {name: best[name] / best[REFERENCE] for name in PASSES}


def _calls(layer: Layer) -> dict[str, Callable[[], None]]:
    """The reference and the passes, compiled, on their operands; each waits for the device."""
    plain = transposed_conv if layer.transposed else strided_conv
    convolve = lambda x, kernel: plain(x, kernel, layer.strides)
    m, k, n = product_shape(layer)
    x, kernel, left, right = map(_noise, (layer.image, layer.kernel, (m, k), (k, n)))
    dy = _noise(jax.eval_shape(convolve, x, kernel).shape)
    by_input = lambda x, kernel, dy: jax.vjp(lambda x: convolve(x, kernel), x)[1](dy)
    by_kernel = lambda x, kernel, dy: jax.vjp(lambda w: convolve(x, w), kernel)[1](dy)
    return {
        REFERENCE: _compiled(_product_and_copy, left, right, x, kernel, dy),
        PASSES[0]: _compiled(convolve, x, kernel),
        PASSES[1]: _compiled(by_input, x, kernel, dy),
        PASSES[2]: _compiled(by_kernel, x, kernel, dy),
    }


def _product_and_copy(left, right, *moved):
    return jnp.matmul(left, right), *(jnp.copy(x) for x in moved)


def _noise(shape: tuple[int, ...]) -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).random(shape, np.float32))


def _compiled(function: Callable, *args: jax.Array) -> Callable[[], None]:
    program = compiled_with_options(jax.jit(function).lower(*args))
    return lambda: jax.block_until_ready(program(*args))
