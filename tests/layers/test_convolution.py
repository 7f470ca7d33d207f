"""The stride-1 forms have the values and gradients of the plain strided and transposed ones."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.layers.convolution import (
    StridedConv,
    TransposedConv,
    depth_to_space,
    space_to_depth,
    strided_conv,
    transposed_conv,
)

PAIRS = {"strided": (StridedConv, nn.Conv), "transposed": (TransposedConv, nn.ConvTranspose)}
SHAPES = [
    (3, 7, 1),
    (3, 14, 4),
    (4, 8, 3),
    (4, 9, 1),
    (5, 7, 4),
    (5, 8, 1),
    (5, 9, 3),
    (5, 28, 1),
]


def relative(a, b):
    return float(jnp.max(jnp.abs(a - b)) / (jnp.max(jnp.abs(b)) + 1e-12))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("width", "size", "channels"), SHAPES)
@pytest.mark.parametrize("kind", PAIRS)
def test_values_and_gradients_are_those_of_the_plain_form(kind, width, size, channels, stride):
    ours, plain = (
        module(6, kernel_size=(width, width), strides=(stride, stride)) for module in PAIRS[kind]
    )
    x = jax.random.normal(jax.random.key(0), (2, size, size, channels))
    params = plain.init(jax.random.key(1), x)
    params["params"]["bias"] = jnp.linspace(-1, 1, 6)
    direction = jax.random.normal(jax.random.key(2), plain.apply(params, x).shape)

    def value_and_gradients(module):
        scalar = lambda params, x: jnp.sum(jnp.tanh(module.apply(params, x)) * direction)
        return module.apply(params, x), *jax.grad(scalar, argnums=(0, 1))(params, x)

    got, want = (
        jax.tree.leaves(jax.jit(value_and_gradients, static_argnums=0)(m)) for m in (ours, plain)
    )
    assert max(map(relative, got, want)) < 1e-5


@pytest.mark.parametrize("kind", PAIRS)
def test_rectangular_kernels_strides_and_maps(kind):
    ours, plain = (module(3, kernel_size=(3, 5), strides=(2, 1)) for module in PAIRS[kind])
    x = jax.random.normal(jax.random.key(0), (2, 7, 10, 2))
    params = plain.init(jax.random.key(1), x)
    chex.assert_trees_all_close(ours.apply(params, x), plain.apply(params, x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("kind", PAIRS)
def test_parameters_have_the_names_and_values_of_the_plain_form(kind, use_bias):
    x = jnp.zeros((1, 9, 9, 3))
    got, want = (
        module(4, kernel_size=(5, 5), strides=(2, 2), use_bias=use_bias).init(jax.random.key(0), x)
        for module in PAIRS[kind]
    )
    chex.assert_trees_all_equal(got, want)


@pytest.mark.parametrize("kind", PAIRS)
def test_second_order_gradients_are_those_of_the_plain_form(kind):
    ours, plain = (module(4, kernel_size=(5, 5), strides=(2, 2)) for module in PAIRS[kind])
    x = jax.random.normal(jax.random.key(0), (2, 9, 9, 3))
    params = plain.init(jax.random.key(1), x)

    def penalty(params, module):
        gradient = jax.grad(lambda x: jnp.sum(jnp.tanh(module.apply(params, x))))(x)
        return jnp.sum(gradient**2)

    got, want = (
        jax.tree.leaves(jax.jit(jax.grad(penalty), static_argnums=1)(params, m))
        for m in (ours, plain)
    )
    assert max(map(relative, got, want)) < 1e-5


def test_no_strided_or_dilated_convolution_is_ever_taken():
    def value(params, x):
        x = StridedConv(64).apply(params["strided"], x)
        return jnp.sum(jnp.tanh(TransposedConv(32).apply(params["transposed"], x)))

    x = jnp.ones((2, 48, 48, 32))
    params = {
        "strided": StridedConv(64).init(jax.random.key(0), x),
        "transposed": TransposedConv(32).init(jax.random.key(0), jnp.ones((2, 24, 24, 64))),
    }
    text = jax.jit(jax.grad(value, argnums=(0, 1))).lower(params, x).as_text(dialect="hlo")
    windows = [line for line in text.splitlines() if " convolution(" in line]
    assert len(windows) == 6  # forward, input and kernel gradient of each layer
    assert not any(word in line for line in windows for word in ("stride=", "_dilate="))


@pytest.mark.parametrize(("width", "size", "channels"), SHAPES)
@pytest.mark.parametrize("stride", [1, 2])
def test_an_accelerator_gets_convolutions_of_equal_value(
    monkeypatch, width, size, channels, stride
):
    x = jax.random.normal(jax.random.key(0), (2, size, size, channels))
    kernel = jax.random.normal(jax.random.key(1), (width, width, channels, 6))
    on_cpu = [f(x, kernel, (stride, stride)) for f in (strided_conv, transposed_conv)]
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    elsewhere = [f(x, kernel, (stride, stride)) for f in (strided_conv, transposed_conv)]
    assert max(map(relative, on_cpu, elsewhere)) < 1e-5


def test_depth_to_space_is_the_inverse_of_space_to_depth():
    x = jax.random.normal(jax.random.key(0), (2, 6, 8, 3))
    deep = space_to_depth(x, (2, 4))
    assert deep.shape == (2, 3, 2, 24)
    np.testing.assert_array_equal(deep[1, 2, 1, :3], x[1, 4, 4])
    np.testing.assert_array_equal(depth_to_space(deep, (2, 4)), x)


def test_compute_dtype_leaves_the_parameters_in_float32():
    layer = StridedConv(4, dtype=jnp.bfloat16)
    y, params = layer.init_with_output(jax.random.key(0), jnp.ones((1, 8, 8, 3)))
    assert y.dtype == jnp.bfloat16
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))
