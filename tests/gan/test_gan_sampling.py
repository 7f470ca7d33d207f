"""A trained generator's heads: given latents, and the way between two."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aigc_jax import core, schedules
from aigc_jax.gan import algorithm, losses, networks

SHAPE = (2, 3, 1)
KEY = jax.random.key(7)


def make(num_classes=0):
    batch = {"image": jax.ShapeDtypeStruct((4, *SHAPE), jnp.float32)}
    if num_classes:
        batch["label"] = jax.ShapeDtypeStruct((4,), jnp.int32)
    return algorithm.make(
        example=core.Example(batch, num_classes),
        tx={"generator": optax.sgd(0.1), "discriminator": optax.sgd(0.1)},
        generator=networks.MlpGenerator(SHAPE, num_classes, (16,)),
        discriminator=networks.MlpDiscriminator(num_classes, (16,)),
        loss=losses.hinge,
        latent_dim=5,
        penalties_schedule=schedules.constant,
        conditional=bool(num_classes),
    )


@pytest.mark.parametrize("num_classes", [0, 3])
def test_decoding_the_latents_of_keys_is_sampling(num_classes):
    made = make(num_classes)
    state, keys = jax.jit(made.init)(KEY), core.example_keys(KEY, 6)
    cond = {"label": jnp.arange(6) % 3} if num_classes else {}
    drawn = made.sample(state, keys, cond)["image"]
    latents = {"latent": core.normal(keys, (5,))}
    decoded = made.heads["decode"](state, latents | cond, jax.random.key(0))["image"]
    np.testing.assert_array_equal(decoded, drawn)
    assert decoded.shape == (6, *SHAPE)


def test_the_way_between_two_latents_ends_at_both_and_follows_the_arc():
    made = make()
    state, fractions = jax.jit(made.init)(KEY), jnp.linspace(0, 1, 5)
    way = made.heads["interpolate"](state, {"fraction": fractions}, KEY)["image"]
    start, end = core.normal(core.example_keys(KEY, 2), (5,))
    at = jnp.stack([start, (start + end) / np.sqrt(2), end])
    expected = made.heads["decode"](state, {"latent": at}, KEY)["image"]
    np.testing.assert_allclose(way[::2], expected, atol=1e-5)
    assert jnp.abs(way[0] - way[-1]).max() > 1e-2


def test_a_conditional_way_reads_the_labels():
    made = make(3)
    state, fractions = jax.jit(made.init)(KEY), jnp.zeros(2)
    batch = {"fraction": fractions, "label": jnp.array([0, 1])}
    one, other = made.heads["interpolate"](state, batch, KEY)["image"]
    assert jnp.abs(one - other).max() > 1e-3
