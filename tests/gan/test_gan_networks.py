"""The networks make every size they promise, and condition on labels as they say."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.gan import networks

SIZES = [(8, 1), (9, 3), (28, 1), (31, 4), (32, 3), (64, 4)]
SMALL = {"Generator": (8, 6, 4), "Discriminator": (4, 8)}


def dcgan(shape, num_classes=0, **fields):
    made = networks.DcganGenerator(shape, num_classes, SMALL["Generator"], **fields)
    return made, networks.DcganDiscriminator(shape, num_classes, SMALL["Discriminator"])


def mlp(shape, num_classes=0):
    made = networks.MlpGenerator(shape, num_classes, (16, 16))
    return made, networks.MlpDiscriminator(num_classes, (16, 16))


def variables_of(network, *args):
    """Variables drawn by NumPy: compiling what initialises a network costs more than its use."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(network.init, jax.random.key(0), *args)
    parameters = jax.tree.map(lambda x: rng.normal(0.05, 0.3, x.shape), shapes.pop("params"))
    statistics = jax.tree.map(lambda x: rng.uniform(0.05, 0.15, x.shape), shapes)
    drawn = {"params": parameters, **statistics}
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), drawn)


def output_of(network, *args):
    return jax.jit(network.apply)(variables_of(network, *args), *args)


@pytest.mark.parametrize(("size", "channels"), SIZES)
def test_dcgan_makes_and_judges_images_of_every_size(size, channels):
    generator, discriminator = dcgan((size, size, channels))
    z = jax.random.normal(jax.random.key(1), (3, 10))
    images = output_of(generator, z)
    logits = output_of(discriminator, images)
    assert images.shape == (3, size, size, channels)
    assert logits.shape == (3,)
    assert images.dtype == logits.dtype == jnp.float32
    assert jnp.abs(images).max() <= 1


@pytest.mark.parametrize("players", [dcgan, mlp])
def test_images_need_not_be_square(players):
    generator, discriminator = players((9, 14, 2))
    z = jnp.ones((2, 10))
    images = output_of(generator, z)
    assert images.shape == (2, 9, 14, 2)
    assert output_of(discriminator, images).shape == (2,)


@pytest.mark.parametrize("shape", [(7, 7, 1), (28, 4, 3)])
@pytest.mark.parametrize("network", [networks.DcganGenerator, networks.DcganDiscriminator])
def test_dcgan_refuses_small_images_when_constructed(network, shape):
    with pytest.raises(ValueError, match=rf"{shape[0]}x{shape[1]}.*at least 8.*Mlp"):
        network(shape)


def test_the_default_networks_are_those_of_the_introductory_articles():
    generator = networks.DcganGenerator((28, 28, 1))
    discriminator = networks.DcganDiscriminator((28, 28, 1))
    shapes = lambda *args: {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf.shape
        for path, leaf in jax.tree_util.tree_leaves_with_path(
            jax.eval_shape(args[0].init, jax.random.key(0), args[1])["params"]
        )
    }
    made = shapes(generator, jnp.zeros((1, 100)))
    assert made["Dense_0/kernel"] == (100, 7 * 7 * 128)
    assert made["TransposedConv_0/kernel"] == (5, 5, 128, 128)
    assert made["TransposedConv_1/kernel"] == (5, 5, 128, 64)
    assert made["TransposedConv_2/kernel"] == (5, 5, 64, 1)
    judged = shapes(discriminator, jnp.zeros((1, 28, 28, 1)))
    assert judged["StridedConv_0/kernel"] == (5, 5, 1, 64)
    assert judged["StridedConv_1/kernel"] == (5, 5, 64, 128)
    assert judged["Dense_0/kernel"] == (7 * 7 * 128, 1)


@pytest.mark.parametrize("players", [dcgan, mlp])
def test_labels_change_what_is_made_and_how_it_is_judged(players):
    generator, discriminator = players((8, 8, 1), 3)
    z, label = jnp.ones((3, 10)), jnp.arange(3)
    images = output_of(generator, z, label)
    assert jnp.abs(images[0] - images[1]).max() > 1e-3
    same = jnp.ones((3, 8, 8, 1))
    logits = output_of(discriminator, same, label)
    assert jnp.ptp(logits) > 1e-3


@pytest.mark.parametrize("players", [dcgan, mlp])
def test_conditional_logits_add_the_projection_of_the_features_on_the_label(players):
    _, discriminator = players((8, 8, 1), 2)
    x = jax.random.normal(jax.random.key(1), (4, 8, 8, 1))
    label = jnp.array([0, 1, 0, 1])
    variables = variables_of(discriminator, x, label)
    table = variables["params"]["Embed_0"]["embedding"]
    swapped = {"params": {**variables["params"], "Embed_0": {"embedding": table[::-1]}}}
    judge = jax.jit(discriminator.apply)
    got = judge(variables, x, label)
    np.testing.assert_allclose(got, judge(swapped, x, 1 - label), rtol=1e-5)
    without = {"params": {**variables["params"], "Embed_0": {"embedding": 0 * table}}}
    plain = judge(without, x, label)
    np.testing.assert_allclose(plain, judge(variables, x), rtol=1e-5)
    assert jnp.abs(got - plain).max() > 1e-3


def test_batch_statistics_are_those_of_the_batch_and_stay_float32():
    generator, _ = dcgan((8, 8, 1), dtype=jnp.bfloat16)
    z = jax.random.normal(jax.random.key(1), (64, 10))
    variables = variables_of(generator, z)
    trained = jax.jit(partial(generator.apply, train=True, mutable=["batch_stats"]))
    images, new = trained(variables, z)
    assert images.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves((variables, new))} == {jnp.dtype("float32")}
    dense = z @ variables["params"]["Dense_0"]["kernel"]
    before = variables["batch_stats"]["BatchNorm_0"]["mean"]
    want = 0.9 * before + 0.1 * dense.reshape(-1, 8).mean(0)
    np.testing.assert_allclose(new["batch_stats"]["BatchNorm_0"]["mean"], want, atol=1e-3)


def test_batch_statistics_are_shared_over_the_named_axis():
    generator, _ = dcgan((8, 8, 1), axis_name="data")
    whole, _ = dcgan((8, 8, 1))
    z = jax.random.normal(jax.random.key(1), (16, 10))
    variables = variables_of(whole, z)
    apply = lambda network, z: network.apply(variables, z, train=True, mutable=["batch_stats"])[0]
    split = jax.vmap(partial(apply, generator), axis_name="data")
    got = jax.jit(split)(z.reshape(4, 4, 10)).reshape(16, 8, 8, 1)
    np.testing.assert_allclose(got, jax.jit(partial(apply, whole))(z), atol=1e-5)


def test_dropout_is_drawn_in_training_only():
    _, discriminator = dcgan((8, 8, 1))
    x = jnp.ones((2, 8, 8, 1))
    variables = variables_of(discriminator, x)
    draw = jax.jit(
        lambda train, seed: discriminator.apply(
            variables, x, train=train, rngs={"dropout": jax.random.key(seed)}
        ),
        static_argnums=0,
    )
    assert jnp.abs(draw(True, 0) - draw(True, 1)).max() > 1e-4
    np.testing.assert_array_equal(draw(False, 0), draw(False, 1))
