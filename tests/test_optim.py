"""Optimiser chains: what moves, what decays, what is clipped, and which step it is."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aigc_jax import core, optim, schedules
from aigc_jax.attention.blocks import FFNS
from aigc_jax.attention.rnn import RnnLanguageModel
from aigc_jax.attention.transformer import Transformer
from aigc_jax.gan import networks as gan
from aigc_jax.vae import networks as vae

PARAMS = {
    "encoder": {"kernel": jnp.full((2, 3), 0.5), "bias": jnp.full((3,), 0.5)},
    "decoder": {"kernel": jnp.full((3, 2), -0.5), "scale": jnp.full((2,), -0.5)},
}
GRADS = jax.tree.map(lambda x: jnp.full_like(x, 0.1), PARAMS)
ZEROS = jax.tree.map(jnp.zeros_like, PARAMS)


def stepped(tx, grads=GRADS, steps=3, params=PARAMS):
    state = tx.init(params)
    for _ in range(steps):
        params, state, _ = core.update(tx, grads, state, params)
    return params


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "lion"])
def test_every_rule_goes_down(name):
    after = stepped(optim.make(name=name, learning_rate=0.01))
    assert all(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a < b).all()), after, PARAMS)))


def test_frozen_parameters_keep_their_bits_under_weight_decay():
    decaying = optim.make(name="adamw", learning_rate=0.1, weight_decay=0.5, clip_norm=1.0)
    after = stepped(optim.frozen(decaying, ["^encoder/", "scale$"]))
    jax.tree.map(np.testing.assert_array_equal, after["encoder"], PARAMS["encoder"])
    np.testing.assert_array_equal(after["decoder"]["scale"], PARAMS["decoder"]["scale"])
    assert float(jnp.abs(after["decoder"]["kernel"] - PARAMS["decoder"]["kernel"]).min()) > 0.01


def test_frozen_parameters_have_no_part_in_the_clipping_norm():
    tx = optim.frozen(optim.make(name="sgd", learning_rate=1.0, clip_norm=0.01), ["^encoder/"])
    alone = optim.make(name="sgd", learning_rate=1.0, clip_norm=0.01)
    expected = stepped(alone, {"decoder": GRADS["decoder"]}, 1, {"decoder": PARAMS["decoder"]})
    found = stepped(tx, steps=1)["decoder"]
    jax.tree.map(np.testing.assert_array_equal, found, expected["decoder"])


def test_paths_are_those_of_the_state_for_the_optimiser_of_one_network():
    tx = optim.frozen(optim.make(), ["^generator/encoder"], prefix="generator/")
    after = stepped(tx)
    np.testing.assert_array_equal(after["encoder"]["kernel"], PARAMS["encoder"]["kernel"])
    assert (after["decoder"]["kernel"] != PARAMS["decoder"]["kernel"]).all()


def test_without_patterns_nothing_is_frozen():
    tx = optim.make()
    assert optim.frozen(tx, []) is tx


@pytest.mark.parametrize("name", ["adamw", "lion"])
def test_only_matrices_decay(name):
    after = stepped(optim.make(name=name, learning_rate=0.1, weight_decay=0.5), ZEROS, steps=1)
    np.testing.assert_allclose(after["encoder"]["kernel"], 0.5 * (1 - 0.1 * 0.5), rtol=1e-6)
    np.testing.assert_array_equal(after["encoder"]["bias"], PARAMS["encoder"]["bias"])
    np.testing.assert_array_equal(after["decoder"]["scale"], PARAMS["decoder"]["scale"])


NETWORKS = {
    **{f"transformer_{ffn}": Transformer(30, 8, 8, 2, 2, ffn=ffn, periods=(3,)) for ffn in FFNS},
    **{cell: RnnLanguageModel(30, 8, cell=cell) for cell in ("lstm", "gru")},
    "generator": gan.DcganGenerator((8, 8, 1), 3, (4, 4, 4)),
    "discriminator": gan.DcganDiscriminator((8, 8, 1), 3, (4,)),
    "mlp_generator": gan.MlpGenerator((8, 8, 1), 3, (4,)),
    "mlp_discriminator": gan.MlpDiscriminator(3, (4,)),
    "encoder": vae.ConvEncoder(2, (4,), 8, 3),
    "decoder": vae.ConvDecoder((8, 8, 1), (4,), 8, 3),
    "mlp_encoder": vae.MlpEncoder(2, (4,), num_classes=3),
    "mlp_decoder": vae.MlpDecoder((8, 8, 1), (4,), num_classes=3),
}


def shapes_of(network):
    """The parameters of a network in the abstract, by path."""
    if hasattr(network, "vocab"):
        given = (jnp.zeros((1, 4), jnp.int32),)
    else:
        maps = "discriminator" in type(network).__name__.lower() or hasattr(network, "latent_dim")
        given = (jnp.zeros((1, 8, 8, 1) if maps else (1, 2)), jnp.zeros(1, jnp.int32))
    params = jax.eval_shape(lambda: network.init(jax.random.key(0), *given, train=False))["params"]
    return {core.path_name(p): x for p, x in jax.tree_util.tree_leaves_with_path(params)}


@pytest.mark.parametrize("name", NETWORKS)
def test_of_unstacked_networks_what_has_two_dimensions_decays(name):
    shapes = shapes_of(NETWORKS[name])
    assert optim.decayed(shapes, "") == {path: x.ndim >= 2 for path, x in shapes.items()}


def test_stacked_layers_decay_as_those_apart():
    model = Transformer(30, 8, 8, 3, 2, qk_norm=True)
    apart = optim.decayed(shapes_of(model), "")
    stacked = optim.decayed(shapes_of(model.clone(scan_layers=True)), "")
    layers = {re.sub("blocks_[0-9]+", "blocks", path): decays for path, decays in apart.items()}
    assert layers == stacked
    assert not stacked["blocks/norm_1/scale"]
    assert stacked["blocks/ffn/in/kernel"]


def test_matrices_of_ones_own_decay_and_biases_of_any_shape_do_not():
    own = {"mix": jnp.zeros((2, 3)), "gain": jnp.zeros(3), "heads": {"bias": jnp.zeros((2, 4))}}
    assert optim.decayed(own, "") == {"mix": True, "gain": False, "heads": {"bias": False}}


def test_what_decays_can_be_named_by_path():
    tx = optim.make(name="adamw", weight_decay=0.5, weight_decay_paths="bias|decoder/kernel")
    after = stepped(tx, ZEROS, steps=1)
    changed = jax.tree.map(lambda a, b: bool((a != b).all()), after, PARAMS)
    assert changed["encoder"] == {"kernel": False, "bias": True}
    assert changed["decoder"] == {"kernel": True, "scale": False}


@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_updates_are_clipped_by_their_global_norm(scale):
    tx = optim.make(name="sgd", learning_rate=1.0, clip_norm=0.7)
    grads = jax.tree.map(lambda g: scale * g, GRADS)
    moved = jax.tree.map(jnp.subtract, PARAMS, stepped(tx, grads, steps=1))
    norm = float(optax.tree.norm(grads))
    np.testing.assert_allclose(optax.tree.norm(moved), min(norm, 0.7), rtol=1e-4)


@pytest.mark.parametrize("per_step", [1, 3])
def test_the_schedule_counts_steps_not_updates(per_step):
    course = lambda value: schedules.linear(value, steps=4, initial=1.0)
    tx = optim.make(
        name="sgd", learning_rate=5.0, learning_rate_schedule=course, updates_per_step=per_step
    )
    grads, params = {"w": jnp.ones(())}, {"w": jnp.zeros(())}
    state, rates = tx.init(params), []
    for _ in range(4 * per_step):
        updates, state = tx.update(grads, state, params)
        rates.append(-float(updates["w"]))
    assert rates == [1.0 + step for step in range(4) for _ in range(per_step)]


def test_averaged_over_takes_the_mean_of_the_devices_before_clipping():
    tx = optim.averaged_over("data", optim.make(name="sgd", learning_rate=1.0, clip_norm=1.0))
    grads = jnp.array([0.0, 2.0, 4.0, -5.0])  # its mean is 0.25, within the limit

    def one(grad):
        return tx.update({"w": grad}, tx.init({"w": grad}))[0]["w"]

    np.testing.assert_allclose(jax.vmap(one, axis_name="data")(grads), -0.25, rtol=1e-6)


def test_the_norm_is_that_of_the_gradient_averaged_over_the_devices():
    tx = optim.averaged_over("data", optim.make(name="sgd"))
    grads = jnp.array([3.0, -5.0])  # their mean is -1, and the mean of their norms 4

    def one(grad):
        return core.update(tx, {"w": grad}, tx.init({"w": grad}), {"w": grad})[2]

    np.testing.assert_array_equal(jax.vmap(one, axis_name="data")(grads), [1.0, 1.0])


def test_an_unknown_rule_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"'adamm'.*adam, adamw, sgd, lion"):
        optim.make(name="adamm")
