"""Layers in bfloat16 against float64: what they add up, they add up in float32."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from aigc_jax.attention.transformer import Transformer
from aigc_jax.gan import networks
from aigc_jax.layers import unit_stride
from aigc_jax.layers.convolution import StridedConv, TransposedConv
from aigc_jax.layers.dense import Dense

ROUNDING = 2**-8  # of one bfloat16 number, relative
HALF = {"dtype": jnp.bfloat16}


def half(seed, shape):
    return jax.random.normal(jax.random.key(seed), shape).astype(jnp.bfloat16)


def error(found, expected):
    """Root-mean-square of the difference, relative to that of what is expected."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    return np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected**2))


def convolved(x, kernel, pads):
    """The definition, in float64."""
    x, kernel = np.asarray(x, np.float64), np.asarray(kernel, np.float64)
    x = np.pad(x, ((0, 0), *pads, (0, 0)))
    rows, columns = (n - k + 1 for n, k in zip(x.shape[1:3], kernel.shape[:2], strict=True))
    at = np.ndindex(kernel.shape[:2])
    return sum(x[:, i : i + rows, j : j + columns] @ kernel[i, j] for i, j in at)


@pytest.mark.parametrize(
    ("form", "size", "width", "channels", "out"),
    [("of_windows", 9, 3, 3, 8), ("to_windows", 9, 5, 16, 1), ("convolve", 7, 5, 64, 64)],
)
def test_convolutions_round_once(form, size, width, channels, out):
    x, kernel = half(0, (16, size, size, channels)), half(1, (width, width, channels, out))
    pads = ((width // 2, width // 2),) * 2
    assert unit_stride.form(x.shape, kernel.shape, pads).__name__ == form
    y, pull = jax.vjp(lambda x, w: unit_stride.convolve(x, w, pads), x, kernel)
    assert y.dtype == jnp.bfloat16
    assert error(y, convolved(x, kernel, pads)) < ROUNDING / 2
    dy = half(2, y.shape)
    dx, _ = pull(dy)
    flipped = np.asarray(kernel, np.float64)[::-1, ::-1].transpose(0, 1, 3, 2)
    assert error(dx, convolved(dy, flipped, pads)) < ROUNDING / 2


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (StridedConv(2, (2, 2), (2, 2), **HALF), (16, 32, 32, 1)),
        (TransposedConv(2, (2, 2), (2, 2), **HALF), (16, 16, 16, 1)),
        (Dense(2, **HALF), (60000, 1)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_gradients_of_biases_do_not_stop_growing(layer, shape):
    """A sum of thousands of ones in bfloat16 is 256, or a few times that if it is cut in pieces."""
    x = jnp.ones(shape)
    params = layer.init(jax.random.key(0), x)
    count = layer.apply(params, x).size / 2
    total = lambda params, x: layer.apply(params, x).astype(jnp.float32).sum()
    found = jax.jit(jax.grad(total))(params, x)["params"]["bias"]
    np.testing.assert_array_equal(found, [count, count])


def test_gradients_of_rows_that_are_looked_up_often_do_not_stop_growing():
    model = Transformer(4, 8, 8, 1, 2, periods=(2,), **HALF)
    places = jnp.arange(8)[None]
    given = jnp.zeros((600, 8), jnp.int32), places, places
    params = model.init(jax.random.key(0), given[0][:1])
    embedded = lambda params: model.apply(params, *given, method="_embedded")
    assert embedded(params).dtype == jnp.bfloat16
    found = jax.grad(lambda params: embedded(params).astype(jnp.float32).sum())(params)["params"]
    np.testing.assert_array_equal(found["embed"]["embedding"][:, 0], [4800, 0, 0, 0])
    np.testing.assert_array_equal(found["places"]["embedding"], 600)
    np.testing.assert_array_equal(found["phases_0"]["embedding"], 2400)


class Classes(nn.Module):
    """The labels of a generator, as its layers get them."""

    num_classes: int = 2
    label_features: int = 3
    dtype: object = jnp.bfloat16

    @nn.compact
    def __call__(self, z, label):
        return networks._with_label(self, z, label)


def test_gradients_of_classes_do_not_stop_growing():
    given = jnp.zeros((1000, 1)), jnp.zeros(1000, jnp.int32)
    params = Classes().init(jax.random.key(0), *given)
    total = lambda params: Classes().apply(params, *given).astype(jnp.float32).sum()
    found = jax.grad(total)(params)["params"]["Embed_0"]["embedding"]
    np.testing.assert_array_equal(found, [[1000] * 3, [0] * 3])
