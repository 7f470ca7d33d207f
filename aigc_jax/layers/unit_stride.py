"""Stride-1 convolution for a CPU, in the form that is fastest there for its shape.

XLA:CPU's own convolutions are slow where a side has few channels, their gradients also where they
pad, and none takes fewer operations than the definition. The forms have equal values; reverse-mode
derivatives of every order are defined, forward-mode ones are not.
"""

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from aigc_jax.layers import fourier
from aigc_jax.layers.fourier import Pads

LAYOUT = ("NHWC", "HWIO", "NHWC")
# The most columns of a matrix of windows, of input or output, and taps of one of input: beyond them
# making the matrix costs more than it saves.
OF_WINDOWS, TO_WINDOWS, TAPS = 64, 160, 16
# How much cheaper than its definition, in operations, the transformed convolution must be.
SAVING = 1.5
# The operations that go by while one number of its kernel is written and read again.
MOVED = 32


def convolve(x: jax.Array, kernel: jax.Array, pads: Pads) -> jax.Array:
    """y_p = sum_a w_a x_(p + a - before): [B, H, W, C], [kh, kw, C, O] -> [B, H', W', O].

    `pads` are the zeros (before, after) along H and W, at most kh - 1 and kw - 1 each. Whatever a
    form adds up, in its gradients too, it adds up in float32 and rounds to the dtype of `x` once.
    """
    wide = jnp.promote_types(x.dtype, jnp.float32)
    fastest = form(x.shape, kernel.shape, pads)
    return fastest(x.astype(wide), kernel.astype(wide), pads).astype(x.dtype)


def form(shape: tuple[int, ...], kernel: tuple[int, ...], pads: Pads) -> Callable:
    """The function that convolves arrays of these shapes fastest."""
    batch, *size, c = shape
    taps, o = kernel[0] * kernel[1], kernel[3]
    if taps * c <= OF_WINDOWS and taps <= TAPS and c <= o:
        return of_windows
    if taps * o <= TO_WINDOWS and o < c:
        return to_windows
    positions = math.prod(fourier.output_size(size, kernel[:2], pads))
    direct = batch * positions * taps * c * o
    moved = MOVED * fourier.rank(tuple(size), kernel[:2], pads) * c * o
    if SAVING * fourier.operations(batch, tuple(size), kernel, pads) + moved < direct:
        return fourier.convolve
    return direct_form


def of_windows(x: jax.Array, kernel: jax.Array, pads: Pads) -> jax.Array:
    """All windows of x as rows of a matrix, times the kernel: for few input channels."""
    width, o = kernel.shape[:2], kernel.shape[3]
    rows = _windows(x, width, pads)
    return _matmul(rows, kernel.reshape(-1, o))


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def to_windows(x: jax.Array, kernel: jax.Array, pads: Pads) -> jax.Array:
    """What every input position adds to each output of its window: for few output channels."""
    kh, kw, c, o = kernel.shape
    height, width = fourier.output_size(x.shape[1:3], (kh, kw), pads)
    parts = _matmul(x, kernel.transpose(2, 0, 1, 3).reshape(c, -1))  # [B, H, W, kh kw O]
    parts = jnp.pad(parts, ((0, 0), *pads, (0, 0)))
    taps = ((i, j) for i in range(kh) for j in range(kw))
    return sum(
        parts[:, i : i + height, j : j + width, n * o : (n + 1) * o]
        for n, (i, j) in enumerate(taps)
    )


def _to_windows_forward(x, kernel, pads):
    return to_windows(x, kernel, pads), (x, kernel)


def _to_windows_backward(pads, residuals, dy):
    # Both gradients read the windows of dy, which has few channels.
    x, kernel = residuals
    kh, kw, c, o = kernel.shape
    rows = _windows(dy, (kh, kw), _opposite((kh, kw), pads))
    flipped = kernel[::-1, ::-1]
    dx = _matmul(rows, flipped.transpose(0, 1, 3, 2).reshape(-1, c))
    dkernel = jnp.matmul(rows.reshape(-1, kh * kw * o).T, x.reshape(-1, c))
    return dx, dkernel.reshape(kh, kw, o, c)[::-1, ::-1].transpose(0, 1, 3, 2)


to_windows.defvjp(_to_windows_forward, _to_windows_backward)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def direct_form(x: jax.Array, kernel: jax.Array, pads: Pads) -> jax.Array:
    """XLA's convolution, with gradients that are convolutions of padded arrays."""
    return _valid(_padded(x, pads), kernel)


def _direct_forward(x, kernel, pads):
    return direct_form(x, kernel, pads), (x, kernel)


def _direct_backward(pads, residuals, dy):
    # XLA's own gradient to x is a convolution that pads inside. Where the kernel is larger than the
    # map, and in its kernel gradient, which penalties ask for, that is ten times slower than this.
    x, kernel = residuals
    flipped = kernel[::-1, ::-1].transpose(0, 1, 3, 2)
    dx = convolve(dy, flipped, _opposite(kernel.shape[:2], pads))
    to_kernel = jax.linear_transpose(lambda w: _valid(_padded(x, pads), w), kernel)
    return dx, *to_kernel(dy)


direct_form.defvjp(_direct_forward, _direct_backward)


def _opposite(width, pads) -> Pads:
    """The zeros around dy with which its convolution with the flipped kernel has x's size."""
    return tuple((k - 1 - a, k - 1 - b) for k, (a, b) in zip(width, pads, strict=True))


def _windows(x: jax.Array, width: tuple[int, int], pads: Pads) -> jax.Array:
    """[B, H, W, C] -> [B, H', W', kh kw C], what a kernel of that width reads at each position."""
    kh, kw = width
    rows, columns = fourier.output_size(x.shape[1:3], width, pads)
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    pieces = [x[:, i : i + rows, j : j + columns] for i in range(kh) for j in range(kw)]
    return jnp.concatenate(pieces, axis=-1)


def _matmul(x: jax.Array, matrix: jax.Array) -> jax.Array:
    """[..., C] and [C, O] -> [..., O] by one product of matrices."""
    flat = jnp.matmul(x.reshape(-1, x.shape[-1]), matrix)
    return flat.reshape(*x.shape[:-1], matrix.shape[-1])


def _padded(x: jax.Array, pads: Pads) -> jax.Array:
    # The barrier keeps the compiler from folding the zeros back into the convolution.
    return jax.lax.optimization_barrier(jnp.pad(x, ((0, 0), *pads, (0, 0))))


def _valid(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=LAYOUT)
