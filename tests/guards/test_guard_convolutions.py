"""No convolution of the project takes many times longer than its operations need.

XLA computes some convolutions, and gradients of more, tens of times slower than others of the same
size. A new layer or a new compiler must not bring one of those in.
"""

import itertools

import jax
import jax.numpy as jnp
import pytest

from aigc_jax import launch
from aigc_jax.gan.networks import DcganDiscriminator, DcganGenerator
from aigc_jax.layers.convolution import strided_conv
from aigc_jax.vae.networks import ConvDecoder, ConvEncoder
from benchmarks.speed import cliffs

SMALLEST = 2e8  # operations: what takes less is no matter
FACTOR = 5


def of(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


MNIST, COLOUR = (28, 28, 1), (64, 64, 3)
NETWORKS = [
    (DcganGenerator(MNIST), of(128, 100)),
    (DcganDiscriminator(MNIST), of(128, *MNIST)),
    (ConvEncoder(), of(128, *MNIST)),
    (ConvDecoder(MNIST), of(128, 20)),
    (DcganGenerator(COLOUR), of(64, 100)),
    (DcganDiscriminator(COLOUR), of(64, *COLOUR)),
]


def of_networks():
    found = itertools.chain(*(cliffs.layers_of(network, x) for network, x in NETWORKS))
    return [layer for layer in dict.fromkeys(found) if cliffs.operations(layer) >= SMALLEST]


# A share of all pairs: what few, many and unequal channels do is what differs.
CHANNELS = [(1, 64), (3, 64), (64, 3), (64, 128), (256, 256)]
LARGEST = 1e9


def of_grid(size, width):
    """Layers of these sizes, in batches of 128 or as many as `LARGEST` operations allow."""
    for (c, o), stride, transposed in itertools.product(CHANNELS, (1, 2), (False, True)):
        kernel, strides = (width, width, c, o), (stride, stride)
        batches = (2**n for n in range(7, -1, -1))
        layers = [cliffs.Layer(transposed, (b, size, size, c), kernel, strides) for b in batches]
        small = (layer for layer in layers if cliffs.operations(layer) <= LARGEST)
        layer = next(small, layers[-1])
        if cliffs.operations(layer) >= SMALLEST:
            yield layer


@pytest.fixture(autouse=True)
def memory_and_compiler_as_in_a_run(optimised):
    launch.keep_freed_memory()


def assert_no_cliff(layers):
    cliffs_found = []
    for layer in layers:
        found = cliffs.ratios(layer)
        if max(found.values()) > FACTOR:  # perhaps other work came between: once more
            found = cliffs.ratios(layer)
        line = f"{layer}: " + ", ".join(f"{name} {ratio:.2f}" for name, ratio in found.items())
        print(line)
        if max(found.values()) > FACTOR:
            cliffs_found.append(line)
    assert not cliffs_found, "times of the matrix product:\n" + "\n".join(cliffs_found)


def test_no_convolution_of_the_networks_falls_off_a_cliff():
    layers = of_networks()
    assert len(layers) >= 8
    assert_no_cliff(layers)


@pytest.mark.slow
@pytest.mark.parametrize("width", [3, 4, 5, 7])
@pytest.mark.parametrize("size", [7, 14, 32, 64])
def test_no_convolution_of_any_shape_falls_off_a_cliff(size, width):
    assert_no_cliff(of_grid(size, width))


def test_a_slow_convolution_is_noticed(monkeypatch):
    def many_times(x, kernel, strides):
        return sum(strided_conv(x + i, kernel, strides) for i in range(20))

    monkeypatch.setattr(cliffs, "strided_conv", many_times)
    with pytest.raises(AssertionError, match="strided 3x3/1x1 64->64 of 32 maps 14x14"):
        assert_no_cliff([cliffs.Layer(False, (32, 14, 14, 64), (3, 3, 64, 64), (1, 1))])
