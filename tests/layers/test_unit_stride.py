"""Every form of a stride-1 convolution has its values and derivatives; the cheapest is taken."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest

from aigc_jax import flops
from aigc_jax.layers import fourier, unit_stride

FORMS = [
    unit_stride.of_windows,
    unit_stride.to_windows,
    unit_stride.direct_form,
    fourier.convolve,
]
# size, kernel, pads, input and output channels
GEOMETRIES = [
    ((7, 7), (5, 5), ((2, 2), (2, 2)), 3, 2),
    ((7, 7), (3, 3), ((1, 1), (1, 1)), 2, 5),
    ((8, 6), (3, 4), ((1, 1), (2, 1)), 1, 3),
    ((5, 9), (2, 1), ((0, 0), (0, 0)), 4, 1),
    ((3, 3), (5, 5), ((2, 2), (2, 2)), 2, 2),
    ((6, 6), (3, 3), ((2, 0), (0, 2)), 2, 2),
]


def plain(x, kernel, pads):
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), pads, dimension_numbers=layout)


def relative(a, b):
    return float(jnp.max(jnp.abs(a - b)) / (jnp.max(jnp.abs(b)) + 1e-12))


def arrays(size, width, channels, out):
    x = jax.random.normal(jax.random.key(0), (2, *size, channels))
    return x, jax.random.normal(jax.random.key(1), (*width, channels, out))


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
@pytest.mark.parametrize(("size", "width", "pads", "channels", "out"), GEOMETRIES)
def test_values_and_derivatives_of_two_orders(form, size, width, pads, channels, out):
    x, kernel = arrays(size, width, channels, out)

    def everything(convolve, x, kernel):
        scalar = lambda x, kernel: jnp.sum(jnp.sin(convolve(x, kernel, pads)))
        penalty = lambda *args: jnp.sum(jax.grad(scalar)(*args) ** 2)
        both = (0, 1)
        first = jax.grad(scalar, both)(x, kernel)
        return convolve(x, kernel, pads), first, jax.grad(penalty, both)(x, kernel)

    got, want = (
        jax.tree.leaves(jax.jit(partial(everything, convolve))(x, kernel))
        for convolve in (form, plain)
    )
    assert max(map(relative, got, want)) < 1e-5


@pytest.mark.parametrize(("size", "width", "pads", "channels", "out"), GEOMETRIES)
def test_operations_of_the_transformed_form_are_counted_right(size, width, pads, channels, out):
    x, kernel = arrays(size, width, channels, out)
    counted = flops.of(partial(fourier.convolve, pads=pads), x, kernel).matmul
    assert counted == 2 * fourier.operations(2, size, kernel.shape, pads)


@pytest.mark.parametrize(
    ("shape", "kernel", "pad", "form"),
    [
        ((128, 7, 7, 128), (5, 5, 128, 128), 2, fourier.convolve),
        ((128, 7, 7, 256), (3, 3, 256, 128), 1, fourier.convolve),
        ((128, 14, 14, 4), (3, 3, 4, 64), 1, unit_stride.of_windows),
        ((128, 14, 14, 64), (3, 3, 64, 4), 1, unit_stride.to_windows),
        ((128, 32, 32, 64), (3, 3, 64, 64), 1, unit_stride.direct_form),
        ((8, 7, 7, 256), (3, 3, 256, 1024), 1, unit_stride.direct_form),  # moving the kernel
        ((1, 7, 7, 128), (5, 5, 128, 128), 2, unit_stride.direct_form),
    ],
)
def test_the_form_follows_the_shape(shape, kernel, pad, form):
    assert unit_stride.form(shape, kernel, ((pad, pad), (pad, pad))) is form


def test_a_transform_is_built_once_per_geometry():
    geometry = ((7, 7), (5, 5), ((2, 2), (2, 2)))
    assert fourier.transforms(*geometry) is fourier.transforms(*geometry)
    assert [m.shape for m in fourier.transforms(*geometry)] == [(49, 121), (121, 25), (121, 49)]
