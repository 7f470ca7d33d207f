"""Convolution by the discrete Fourier transform, in three matrix products.

A convolution is bilinear, y = A ((G w) * (B x)), and the transform gives A, G and B with few rows:
121 products per pair of channels in place of 841 for 5x5 kernels on 7x7 maps. It is exact up to
rounding. Worth it where matrix products are fast, convolutions are not, and maps are small.
"""

import functools
import itertools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Pads = tuple[tuple[int, int], tuple[int, int]]


class Transforms(NamedTuple):
    """The constants of one geometry: R products, P output, K kernel and X input positions."""

    output: np.ndarray  # A f32 [P, R]
    kernel: np.ndarray  # G f32 [R, K]
    input: np.ndarray  # B f32 [R, X]


def convolve(x: jax.Array, kernel: jax.Array, pads: Pads) -> jax.Array:
    """y_p = sum_a w_a x_(p + a - before), with zeros outside of x.

    Positions come before the batch inside, so that every transform is one plain product.

    Args:
      x: [B, H, W, C].
      kernel: [kh, kw, C, O].
      pads: zeros (before, after) along H and W.

    Returns:
      [B, H', W', O] with H' = H + before + after - kh + 1.
    """
    (batch, *size, c), (kh, kw, _, o) = x.shape, kernel.shape
    out = output_size(size, (kh, kw), pads)
    a, g, b = transforms(tuple(size), (kh, kw), pads)
    positions_first = x.transpose(1, 2, 0, 3).reshape(-1, batch * c)
    xs = jnp.matmul(b.astype(x.dtype), positions_first).reshape(-1, batch, c)
    ws = jnp.matmul(g.astype(x.dtype), kernel.reshape(kh * kw, c * o)).reshape(-1, c, o)
    ys = jnp.matmul(xs, ws).reshape(-1, batch * o)  # R products of [B, C] and [C, O]
    return jnp.matmul(a.astype(x.dtype), ys).reshape(*out, batch, o).transpose(2, 0, 1, 3)


def operations(
    batch: int, size: tuple[int, int], kernel: tuple[int, int, int, int], pads: Pads
) -> int:
    """Multiply-adds of `convolve` for x [batch, *size, C] and a kernel of that shape."""
    *width, c, o = kernel
    around = math.prod(size) * c + math.prod(output_size(size, width, pads)) * o
    each = batch * (around + c * o) + math.prod(width) * c * o
    return rank(size, width, pads) * each


def rank(size: tuple[int, int], width: tuple[int, int], pads: Pads) -> int:
    """R, the products per pair of channels: one for a real frequency, three for two conjugates."""
    points = math.prod(_lengths(size, width, pads))
    return points + (points - _real_points(size, width, pads)) // 2


def output_size(size, width, pads) -> tuple[int, ...]:
    """(H', W') of a map [H, W] under a kernel [kh, kw]."""
    return tuple(s + sum(pad) - k + 1 for s, k, pad in zip(size, width, pads, strict=True))


@functools.cache
def transforms(size: tuple[int, int], width: tuple[int, int], pads: Pads) -> Transforms:
    """A, G and B: the real form of a cyclic correlation that is long enough not to wrap.

    With X = F x, W = conj(F) w and Y = X W, a frequency and its negative are conjugate, so one of
    them is kept. Of its complex product (p + iq)(r + is) three real ones are made (Gauss):
    r (p + q), p (s - r) and q (r + s).
    """
    lengths = _lengths(size, width, pads)
    out = output_size(size, width, pads)
    rows: list[list[np.ndarray]] = [[], [], []]
    for frequency in itertools.product(*map(range, lengths)):
        twin = tuple(-f % n for f, n in zip(frequency, lengths, strict=True))
        if twin < frequency:
            continue
        wave = functools.partial(_wave, frequency, lengths)
        x, w = wave((0, 0), size).conj(), wave((0, 0), width)
        y = wave((-pads[0][0], -pads[1][0]), out) / math.prod(lengths)
        if twin == frequency:
            new = [y.real], [w.real], [x.real]
        else:
            re, im = 2 * y.real, -2 * y.imag
            new = (
                [re + im, im, -re],
                [w.real, w.imag - w.real, w.real + w.imag],
                [x.real + x.imag, x.real, x.imag],
            )
        for kept, more in zip(rows, new, strict=True):
            kept += more
    output, kernel, image = (np.stack(kept).astype(np.float32) for kept in rows)
    return Transforms(output.T.copy(), kernel, image)


def _wave(frequency, lengths, first, count) -> np.ndarray:
    """exp(2 pi i <f / n, t>) for t from `first` on, `count` positions along each axis; flat."""
    axes = [
        np.exp(2j * np.pi * f / n * (start + np.arange(steps)))
        for f, n, start, steps in zip(frequency, lengths, first, count, strict=True)
    ]
    return np.outer(*axes).ravel()


def _lengths(size, width, pads) -> list[int]:
    """Lengths of the cyclic correlation along both axes."""
    return [_length(*axis) for axis in zip(size, width, pads, strict=True)]


def _length(size: int, width: int, pad: tuple[int, int]) -> int:
    """The least n at which no lag that exists wraps onto one that is asked for.

    Lags -(width - 1) .. size - 1 exist, and -before .. size + after - width are asked for.
    """
    before, after = pad
    last = size + after - width
    return max(size, width, last + width, size + before)


def _real_points(size, width, pads) -> int:
    """Frequencies that are their own negative, whose product is real."""
    return math.prod(2 - n % 2 for n in _lengths(size, width, pads))
