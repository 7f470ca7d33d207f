"""Sizes, conditioning and precision of the encoders and decoders."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.vae import networks

SIZES = [(8, 8), (9, 9), (28, 28), (31, 31), (32, 32), (64, 64), (8, 13)]
PAIRS = [
    (networks.MlpEncoder, networks.MlpDecoder, {"hidden": (8,)}),
    (networks.ConvEncoder, networks.ConvDecoder, {"hidden": 8, "features": (4, 2)}),
]


def forward(module, *inputs):
    made = partial(module.init_with_output, jax.random.key(0), train=False)
    return jax.jit(made)(*inputs)[0]


def out_shape(module, shape):
    return jax.eval_shape(lambda: forward(module, jnp.zeros(shape))).shape


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("encoder", "decoder", "args"), PAIRS)
def test_every_size_comes_out(encoder, decoder, args, size, channels):
    shape = (*size, channels)
    h = out_shape(encoder(latent_dim=5, **args), (2, *shape))
    image = out_shape(decoder(shape=shape, **args), (2, 5))
    assert (h, image) == ((2, 10), (2, *shape))


@pytest.mark.parametrize("size", [9, 31])
def test_every_pixel_of_a_cropped_image_depends_on_the_latent(size):
    decoder = networks.ConvDecoder(shape=(size, size, 1), hidden=8, features=(4, 2))
    image = forward(decoder, jax.random.normal(jax.random.key(1), (32, 5)))
    assert (np.std(image, axis=0) > 0).all()


@pytest.mark.parametrize("size", [(7, 7), (28, 4)])
def test_convolutions_refuse_small_images(size):
    with pytest.raises(ValueError, match=f"{size[0]}x{size[1]}.*at least 8x8"):
        forward(networks.ConvEncoder(), jnp.zeros((1, *size, 1)))
    with pytest.raises(ValueError, match=f"{size[0]}x{size[1]}.*at least 8x8"):
        forward(networks.ConvDecoder(shape=(*size, 1)), jnp.zeros((1, 5)))


@pytest.mark.parametrize(("encoder", "decoder", "args"), PAIRS)
def test_labels_change_both_networks(encoder, decoder, args):
    image, z = jnp.ones((3, 8, 8, 1)), jnp.ones((3, 5))
    for module, x in (
        (encoder(num_classes=3, **args), image),
        (decoder(shape=(8, 8, 1), num_classes=3, **args), z),
    ):
        out = forward(module, x, jnp.arange(3))
        assert not np.allclose(out[0], out[1])
        assert not np.allclose(out[0], out[2])


def test_labels_need_a_number_of_classes():
    with pytest.raises(ValueError, match="num_classes"):
        forward(networks.MlpEncoder(), jnp.zeros((1, 8, 8, 1)), jnp.zeros(1, jnp.int32))


@pytest.mark.parametrize(("encoder", "decoder", "args"), PAIRS)
def test_bfloat16_computes_low_and_keeps_parameters_high(encoder, decoder, args):
    for module, x in (
        (encoder(dtype=jnp.bfloat16, **args), jnp.zeros((1, 8, 8, 1))),
        (decoder(shape=(8, 8, 1), dtype=jnp.bfloat16, **args), jnp.zeros((1, 5))),
    ):
        out, variables = module.init_with_output(jax.random.key(0), x, train=False)
        assert out.dtype == jnp.bfloat16
        assert all(p.dtype == jnp.float32 for p in jax.tree.leaves(variables))


@pytest.mark.parametrize(("encoder", "decoder"), [(networks.MlpEncoder, networks.MlpDecoder)])
def test_the_activation_is_chosen_by_name(encoder, decoder):
    def all_saturated(module, x):
        _, variables = module.init_with_output(jax.random.key(0), x)
        variables["params"]["Dense_0"]["bias"] += 100.0  # tanh answers 1, relu much more
        out = module.apply(variables, x)
        changed = {**variables, "params": {**variables["params"]}}
        changed["params"]["Dense_0"] = {**variables["params"]["Dense_0"]}
        changed["params"]["Dense_0"]["bias"] += 100.0
        return bool((module.apply(changed, x) == out).all())

    image, z = jnp.ones((2, 8, 8, 1)), jnp.ones((2, 5))
    for name, saturates in (("tanh", True), ("relu", False)):
        assert all_saturated(encoder(hidden=(4,), activation=name), image) == saturates
        assert all_saturated(decoder((8, 8, 1), hidden=(4,), activation=name), z) == saturates
    with pytest.raises(ValueError, match="activation='thanh'"):
        forward(encoder(activation="thanh"), image)
