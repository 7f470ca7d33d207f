"""Convolutions with stride, plain and transposed: one set of parameters and values, several forms.

`StridedConv` and `TransposedConv` hold the parameters, and give the values, of `nn.Conv` and
`nn.ConvTranspose` with padding "SAME". On an accelerator they are XLA's own convolutions. On a CPU,
where XLA's gradients of strided, lhs-dilated and implicitly padded convolutions are several to many
times slower than those of a plain one, the stride moves into channels and `unit_stride` picks the
form of the rest. The sub-pixel form is Shi et al., arXiv 1609.05158 and 1609.07009. Reverse-mode
derivatives of every order are defined; forward-mode ones are not, on a CPU.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from aigc_jax.layers import unit_stride
from aigc_jax.layers.broadcast import broadcast
from aigc_jax.layers.unit_stride import LAYOUT

Pad = tuple[int, int]


def space_to_depth(x: jax.Array, block: tuple[int, int]) -> jax.Array:
    """[B, bh H, bw W, C] -> [B, H, W, bh bw C]: each bh x bw patch becomes channels."""
    (bh, bw), (b, h, w, c) = block, x.shape
    # Rows are joined, not transposed, so that what moves is contiguous.
    x = x.reshape(b, h // bh, bh, w // bw, bw * c)
    return jnp.concatenate([x[:, :, row] for row in range(bh)], axis=-1)


def depth_to_space(x: jax.Array, block: tuple[int, int]) -> jax.Array:
    """[B, H, W, bh bw C] -> [B, bh H, bw W, C], the inverse of `space_to_depth`."""
    (bh, bw), (b, h, w, c) = block, x.shape
    rows = jnp.stack(jnp.split(x, bh, axis=-1), axis=2)  # [B, H, bh, W, bw C]
    return rows.reshape(b, h * bh, w * bw, c // (bh * bw))


def _rearranged() -> bool:
    """Whether the forms for XLA:CPU are used; divided over devices they move more than kernels."""
    alone = jax.sharding.get_abstract_mesh().size <= 1
    return alone and jax.default_backend() == "cpu"


def strided_conv(x: jax.Array, kernel: jax.Array, strides: tuple[int, int]) -> jax.Array:
    """Convolution with padding "SAME", y_i = sum_a w_a x_(s i + a - before).

    Args:
      x: [B, H, W, C].
      kernel: [kh, kw, C, O].
      strides: (sh, sw).

    Returns:
      [B, ceil(H / sh), ceil(W / sw), O].
    """
    if _rearranged():
        return strided_by_depth(x, kernel, strides)
    return jax.lax.conv_general_dilated(x, kernel, strides, "SAME", dimension_numbers=LAYOUT)


def transposed_conv(x: jax.Array, kernel: jax.Array, strides: tuple[int, int]) -> jax.Array:
    """Transposed convolution with padding "SAME", the values of `jax.lax.conv_transpose`.

    Args:
      x: [B, H, W, C].
      kernel: [kh, kw, C, O].
      strides: (sh, sw).

    Returns:
      [B, sh H, sw W, O].
    """
    if _rearranged():
        return transposed_by_phases(x, kernel, strides)
    return jax.lax.conv_transpose(x, kernel, strides, "SAME", dimension_numbers=LAYOUT)


def strided_by_depth(x: jax.Array, kernel: jax.Array, strides: tuple[int, int]) -> jax.Array:
    """`strided_conv` as a convolution without stride.

    With a = s p + q it runs over p on the input whose s phases q lie in the channels; zeros fill
    the kernel up to a multiple of s.
    """
    geometry = map(_strided_geometry, x.shape[1:3], kernel.shape[:2], strides)
    kernel_pads, fine, deep = zip(*geometry, strict=True)
    x = space_to_depth(jnp.pad(x, ((0, 0), *fine, (0, 0))), strides)
    kernel = _kernel_to_depth(jnp.pad(kernel, (*kernel_pads, (0, 0), (0, 0))), strides)
    return unit_stride.convolve(x, kernel, deep)


def transposed_by_phases(x: jax.Array, kernel: jax.Array, strides: tuple[int, int]) -> jax.Array:
    """`transposed_conv` as a convolution without stride.

    The output y_(s i + r) of phase r reads only every s-th tap of the kernel, so all phases are the
    channels of one convolution, w'_(d, r) = w_(s d - r + before), then interleaved.
    """
    geometry = map(_transposed_geometry, kernel.shape[:2], strides)
    kernel_pads, pads = zip(*geometry, strict=True)
    kernel = _kernel_to_phases(jnp.pad(kernel, (*kernel_pads, (0, 0), (0, 0))), strides)
    return depth_to_space(unit_stride.convolve(x, kernel, pads), strides)


class StridedConv(nn.Module):
    """`nn.Conv` with padding "SAME": [B, H, W, C] -> [B, ceil(H / sh), ceil(W / sw), features]."""

    features: int
    kernel_size: tuple[int, int] = (5, 5)
    strides: tuple[int, int] = (2, 2)
    use_bias: bool = True
    dtype: Any = jnp.float32
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Convolves x [B, H, W, C]."""
        return _layer(self, strided_conv, x)


class TransposedConv(nn.Module):
    """`nn.ConvTranspose` with padding "SAME": [B, H, W, C] -> [B, sh H, sw W, features]."""

    features: int
    kernel_size: tuple[int, int] = (5, 5)
    strides: tuple[int, int] = (2, 2)
    use_bias: bool = True
    dtype: Any = jnp.float32
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Convolves x [B, H, W, C]."""
        return _layer(self, transposed_conv, x)


def _layer(module: StridedConv | TransposedConv, convolve, x: jax.Array) -> jax.Array:
    """The parameters of `module`, applied to x."""
    shape = (*module.kernel_size, x.shape[-1], module.features)
    kernel = module.param("kernel", module.kernel_init, shape)
    y = convolve(x.astype(module.dtype), kernel.astype(module.dtype), module.strides)
    if module.use_bias:
        bias = module.param("bias", nn.initializers.zeros_init(), (module.features,))
        y = y + broadcast(bias, y.shape, module.dtype)
    return y


def _strided_geometry(size: int, width: int, stride: int) -> tuple[Pad, Pad, Pad]:
    """Zeros (before, after) the kernel, the input, and the input's depth form, along one axis."""
    taps, out = -(-width // stride), -(-size // stride)
    before = max((out - 1) * stride + width - size, 0) // 2
    # The padding before the input must be whole blocks: what is missing goes before the kernel
    # where that has room, for then the map grows by nothing that gradients are computed for.
    lead, spare = -before % stride, taps * stride - width
    lead, fine = (lead, 0) if lead <= spare else (0, before % stride)
    first, blocks = (before + lead - fine) // stride, -(-(size + fine) // stride)
    deep = (first, out + taps - 1 - blocks - first)
    return (lead, spare - lead), (fine, blocks * stride - size - fine), deep


def _transposed_geometry(width: int, stride: int) -> tuple[Pad, Pad]:
    """Zeros (before, after) the kernel, and the input, along one axis."""
    total = width + stride - 2
    before = width - 1 if stride > width - 1 else -(-total // 2)  # as jax.lax.conv_transpose
    first, last = -(before // stride), (total - before) // stride
    lead = stride - 1 - before - stride * first
    return (lead, stride * (last - first + 1) - width - lead), (-first, last)


def _kernel_to_depth(kernel: jax.Array, strides: tuple[int, int]) -> jax.Array:
    """[mh sh, mw sw, C, O] -> [mh, mw, sh sw C, O], the channel order of `space_to_depth`."""
    (sh, sw), (kh, kw, c, o) = strides, kernel.shape
    kernel = kernel.reshape(kh // sh, sh, kw // sw, sw, c, o)
    return kernel.transpose(0, 2, 1, 3, 4, 5).reshape(kh // sh, kw // sw, sh * sw * c, o)


def _kernel_to_phases(kernel: jax.Array, strides: tuple[int, int]) -> jax.Array:
    """[mh sh, mw sw, C, O] -> [mh, mw, C, sh sw O], phases reversed, as `depth_to_space` reads."""
    (sh, sw), (kh, kw, c, o) = strides, kernel.shape
    kernel = kernel.reshape(kh // sh, sh, kw // sw, sw, c, o)[:, ::-1, :, ::-1]
    return kernel.transpose(0, 2, 4, 1, 3, 5).reshape(kh // sh, kw // sw, c, sh * sw * o)
