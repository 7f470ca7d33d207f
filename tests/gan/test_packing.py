"""Packs: what the discriminator sees of them, and that nothing else changes."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny_runs

from aigc_jax import core, schedules
from aigc_jax.gan import algorithm, losses, networks, packing, penalties

SHAPE = (8, 8, 3)


def images_of(n, seed=1):
    return jax.random.uniform(jax.random.key(seed), (n, *SHAPE), minval=-1)


def make(pack, batch=8, discriminator=None, **options):
    example = core.Example({"image": jax.ShapeDtypeStruct((batch, *SHAPE), jnp.float32)})
    discriminator = discriminator or networks.MlpDiscriminator(widths=(16,), dropout=0.0)
    return algorithm.make(
        example=example,
        tx={"generator": optax.sgd(0.1), "discriminator": optax.sgd(0.1)},
        generator=networks.MlpGenerator(SHAPE, widths=(16,)),
        discriminator=discriminator,
        loss=losses.relativistic,
        latent_dim=4,
        penalties_schedule=schedules.constant,
        pack=pack,
        **options,
    )


@pytest.mark.parametrize("m", [1, 2, 4])
def test_a_pack_is_consecutive_images_along_the_channels(m):
    images = np.asarray(images_of(8))
    packed = packing.pack(m)(images)
    assert packed.shape == (8 // m, 8, 8, 3 * m)
    for i, image in enumerate(images):
        start = 3 * (i % m)
        np.testing.assert_array_equal(packed[i // m, :, :, start : start + 3], image)


def test_a_batch_of_another_size_is_refused_by_name():
    with pytest.raises(ValueError, match=r"config\.algorithm\.pack = 3: a batch of 8 .*multiples"):
        packing.pack(3)(images_of(8))
    with pytest.raises(ValueError, match=r"config\.algorithm\.pack = 3: config\.batch_size"):
        make(3)
    with pytest.raises(ValueError, match=r"pack = 4: .*config\.accumulate = 2 must"):
        make(4, accumulate=4)
    assert make(4, accumulate=2).batches_per_step == 1


def test_packs_of_one_are_the_images_and_the_network_as_it_is():
    discriminator = networks.DcganDiscriminator(SHAPE, widths=(4, 8))
    images = images_of(4)
    assert packing.pack(1)(images) is images
    assert packing.judging(discriminator, 1) is discriminator


def test_a_network_that_knows_its_shape_gets_that_of_packs():
    discriminator = networks.DcganDiscriminator(SHAPE, widths=(4, 8))
    assert packing.judging(discriminator, 2).shape == (8, 8, 6)
    made = make(2, discriminator=discriminator)
    params = core.shapes_of(made).params["discriminator"]
    assert params["StridedConv_0"]["kernel"].shape == (5, 5, 6, 4)
    dense = networks.MlpDiscriminator(widths=(4,))
    assert packing.judging(dense, 2) is dense


def test_the_logit_of_a_pack_depends_on_its_images_and_on_no_other():
    made = make(2)
    state, images, key = jax.jit(made.init)(jax.random.key(0)), images_of(6), jax.random.key(1)
    values = made.eval(state, {"image": images}, key)
    chex.assert_shape(list(values.values()), (6,))
    chex.assert_trees_all_equal(values["d_real"][::2], values["d_real"][1::2])
    for i in range(6):
        other = images.at[i].set(0.3)
        moved = made.eval(state, {"image": other}, key)["d_real"] != values["d_real"]
        np.testing.assert_array_equal(moved, np.arange(6) // 2 == i // 2)


def test_a_packed_step_is_the_game_on_packed_images_written_by_hand():
    made = make(2, penalties={penalties.r1: 0.5, penalties.wgan_gp: 0.1})
    state, images, key = jax.jit(made.init)(jax.random.key(0)), images_of(8), jax.random.key(1)
    _, metrics = jax.jit(made.step)(state, {"image": images}, key)
    network = networks.MlpDiscriminator(widths=(16,), dropout=0.0)
    judge = lambda x: network.apply({"params": state.params["discriminator"]}, x)
    packed = jnp.concatenate([images[0::2], images[1::2]], axis=-1)
    slopes = jax.grad(lambda x: judge(x).sum())(packed)
    r1 = 0.5 * jnp.sum(slopes**2, axis=(1, 2, 3)).mean()
    np.testing.assert_allclose(metrics["d_real"], judge(packed).mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["r1"], r1, rtol=1e-5)
    assert np.isfinite(list(metrics.values())).all()


def test_labels_are_refused_with_packs():
    example = core.Example(
        {
            "image": jax.ShapeDtypeStruct((8, *SHAPE), jnp.float32),
            "label": jax.ShapeDtypeStruct((8,), jnp.int32),
        },
        num_classes=3,
    )
    players = networks.MlpGenerator(SHAPE, 3), networks.MlpDiscriminator(3)
    with pytest.raises(ValueError, match="pack = 2.*conditional=False"):
        algorithm.make(
            example=example,
            tx={},
            generator=players[0],
            discriminator=players[1],
            loss=losses.hinge,
            conditional=True,
            pack=2,
        )


def packed_run(pack):
    return {**tiny_runs.GAN, "algorithm": {**tiny_runs.GAN["algorithm"], "pack": pack}}


def test_packs_of_a_batch_over_eight_devices_equal_those_on_one():
    one, eight = (tiny_runs.Session(packed_run(2), {"data": ways}) for ways in (1, 8))
    metrics, found = one.train(2), eight.train(2)
    for name, values in metrics.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-4, err_msg=name)
    assert tiny_runs.largest_difference(one.state.params, eight.state.params) < 1e-5


def test_under_pmap_a_device_holds_whole_packs():
    session = tiny_runs.Session(packed_run(2), {"data": 8}, parallel="pmap")
    assert all(np.isfinite(values).all() for values in session.train(1).values())
    with pytest.raises(ValueError, match=r"pack = 4: a batch of 2 images on a device"):
        tiny_runs.Session(packed_run(4), {"data": 8}, parallel="pmap").train(1)
