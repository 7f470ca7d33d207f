"""The blocks of Inception-v3 as the FID has it, for inference: NHWC in, NHWC out.

After Szegedy et al., arXiv 1512.00567, with the names of torchvision's parameters. Beside
torchvision's network two things differ, as in the TensorFlow graph of 2015-12-05: average pools
leave padding out of the mean, and the last block has a maximum pool in the place of one.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

EPSILON = 1e-3


class ConvNorm(nn.Module):
    """Convolution without a bias, batch normalisation by stored statistics, relu."""

    width: int
    window: tuple[int, int] = (1, 1)
    stride: int = 1
    padding: str = "SAME"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (*self.window, x.shape[-1], self.width)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape)
        vector = lambda name, fill: self.param(name, nn.initializers.constant(fill), (self.width,))
        scale, bias = vector("scale", 1), vector("bias", 0)
        mean, var = vector("mean", 0), vector("var", 1)
        layout = ("NHWC", "HWIO", "NHWC")
        strides = (self.stride, self.stride)
        # Highest precision: accelerators would round to bfloat16 or TF32, and the score with it.
        x = jax.lax.conv_general_dilated(
            x, kernel, strides, self.padding, dimension_numbers=layout, precision="highest"
        )
        return nn.relu((x - mean) * (scale * jax.lax.rsqrt(var + EPSILON)) + bias)


def average_pool(x: jax.Array) -> jax.Array:
    """The mean over 3 x 3 pixels; of those inside the image at its border."""
    return nn.avg_pool(x, (3, 3), padding="SAME", count_include_pad=False)


def max_pool(x: jax.Array) -> jax.Array:
    """The largest of 3 x 3 pixels, at every pixel."""
    return nn.max_pool(x, (3, 3), padding="SAME")


def shrink(x: jax.Array) -> jax.Array:
    """The largest of 3 x 3 pixels, at every second one."""
    return nn.max_pool(x, (3, 3), strides=(2, 2))


def _joined(*branches: jax.Array) -> jax.Array:
    return jnp.concatenate(branches, -1)


_down = functools.partial(ConvNorm, stride=2, padding="VALID")


class BlockA(nn.Module):
    """35 x 35: Mixed_5b to 5d."""

    pooled: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        one = ConvNorm(64, name="branch1x1")(x)
        five = ConvNorm(48, name="branch5x5_1")(x)
        five = ConvNorm(64, (5, 5), name="branch5x5_2")(five)
        three = ConvNorm(64, name="branch3x3dbl_1")(x)
        three = ConvNorm(96, (3, 3), name="branch3x3dbl_2")(three)
        three = ConvNorm(96, (3, 3), name="branch3x3dbl_3")(three)
        pool = ConvNorm(self.pooled, name="branch_pool")(average_pool(x))
        return _joined(one, five, three, pool)


class BlockB(nn.Module):
    """35 x 35 to 17 x 17: Mixed_6a."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        single = _down(384, (3, 3), name="branch3x3")(x)
        three = ConvNorm(64, name="branch3x3dbl_1")(x)
        three = ConvNorm(96, (3, 3), name="branch3x3dbl_2")(three)
        three = _down(96, (3, 3), name="branch3x3dbl_3")(three)
        return _joined(single, three, shrink(x))


class BlockC(nn.Module):
    """17 x 17: Mixed_6b to 6e."""

    width: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        one = ConvNorm(192, name="branch1x1")(x)
        seven = ConvNorm(self.width, name="branch7x7_1")(x)
        seven = ConvNorm(self.width, (1, 7), name="branch7x7_2")(seven)
        seven = ConvNorm(192, (7, 1), name="branch7x7_3")(seven)
        double = ConvNorm(self.width, name="branch7x7dbl_1")(x)
        double = ConvNorm(self.width, (7, 1), name="branch7x7dbl_2")(double)
        double = ConvNorm(self.width, (1, 7), name="branch7x7dbl_3")(double)
        double = ConvNorm(self.width, (7, 1), name="branch7x7dbl_4")(double)
        double = ConvNorm(192, (1, 7), name="branch7x7dbl_5")(double)
        pool = ConvNorm(192, name="branch_pool")(average_pool(x))
        return _joined(one, seven, double, pool)


class BlockD(nn.Module):
    """17 x 17 to 8 x 8: Mixed_7a."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        three = ConvNorm(192, name="branch3x3_1")(x)
        three = _down(320, (3, 3), name="branch3x3_2")(three)
        seven = ConvNorm(192, name="branch7x7x3_1")(x)
        seven = ConvNorm(192, (1, 7), name="branch7x7x3_2")(seven)
        seven = ConvNorm(192, (7, 1), name="branch7x7x3_3")(seven)
        seven = _down(192, (3, 3), name="branch7x7x3_4")(seven)
        return _joined(three, seven, shrink(x))


class BlockE(nn.Module):
    """8 x 8: Mixed_7b with an average pool and 7c with a maximum pool."""

    largest: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        one = ConvNorm(320, name="branch1x1")(x)
        three = self._split(ConvNorm(384, name="branch3x3_1")(x), "branch3x3_2")
        double = ConvNorm(448, name="branch3x3dbl_1")(x)
        double = ConvNorm(384, (3, 3), name="branch3x3dbl_2")(double)
        double = self._split(double, "branch3x3dbl_3")
        pool = ConvNorm(192, name="branch_pool")(max_pool(x) if self.largest else average_pool(x))
        return _joined(one, three, double, pool)

    def _split(self, x: jax.Array, name: str) -> jax.Array:
        row, column = ConvNorm(384, (1, 3), name=f"{name}a"), ConvNorm(384, (3, 1), name=f"{name}b")
        return _joined(row(x), column(x))
