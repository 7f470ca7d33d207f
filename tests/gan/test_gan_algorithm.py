"""The two-player step: what each player sees, what it changes, and what it must not."""

from functools import partial

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aigc_jax import core, schedules
from aigc_jax.gan import algorithm, losses, networks, penalties

SHAPE = (8, 8, 1)
SGD = optax.sgd(0.1)
METRICS = {"d_loss", "g_loss", "d_real", "d_fake", "d_grad_norm", "g_grad_norm"}
METRICS |= {"d_real_sign", "d_fake_sign", "fake_distance"}


class Painting(nn.Module):
    """A generator without noise: all images are one parameter, plain or plus its own norm."""

    norm: bool = False

    @nn.compact
    def __call__(self, z, label=None, train=False):
        image = self.param("image", nn.initializers.constant(0.5), SHAPE)
        images = jnp.broadcast_to(image, (z.shape[0], *SHAPE))
        return images + nn.BatchNorm(not train, momentum=0.9)(images) if self.norm else images


class Quadratic(nn.Module):
    """A discriminator without dropout, spectrally normalised or not."""

    spectral: bool = False

    @nn.compact
    def __call__(self, x, label=None, train=False):
        x = x.reshape(x.shape[0], -1)
        if self.spectral:
            x = nn.SpectralNorm(nn.Dense(8))(x, update_stats=train)
        else:
            x = nn.Dense(8)(x)
        return jnp.mean(x**2, axis=-1)


def example(num_classes=0):
    batch = {"image": jax.ShapeDtypeStruct((4, *SHAPE), jnp.float32)}
    if num_classes:
        batch["label"] = jax.ShapeDtypeStruct((4,), jnp.int32)
    return core.Example(batch, num_classes)


def mlp(num_classes=0):
    made = networks.MlpGenerator(SHAPE, num_classes, (16,))
    return made, networks.MlpDiscriminator(num_classes, (16,), dropout=0.0)


def dcgan(num_classes=0, **fields):
    made = networks.DcganGenerator(SHAPE, num_classes, (8, 4, 4), **fields)
    return made, networks.DcganDiscriminator(SHAPE, num_classes, (4, 8), **fields)


def make(players, num_classes=0, optimiser=SGD, **options):
    options = {"loss": losses.non_saturating, "latent_dim": 6} | options
    return algorithm.make(
        example=example(num_classes),
        tx={"generator": optimiser, "discriminator": optimiser},
        generator=players[0],
        discriminator=players[1],
        penalties_schedule=options.pop("penalties_schedule", schedules.constant),
        **options,
    )


def batch_of(n, num_classes=0, seed=1):
    batch = {"image": jax.random.uniform(jax.random.key(seed), (n, *SHAPE), minval=-1)}
    return batch | ({"label": jnp.arange(n) % num_classes} if num_classes else {})


def initial(made):
    return jax.jit(made.init)(jax.random.key(0))


def drawn(made):
    """A state drawn by NumPy: compiling what initialises DCGAN costs more than its use."""
    rng = np.random.default_rng(0)
    draw = lambda x: jnp.asarray(rng.uniform(0, 0.3, x.shape) - 0.1 * (x.ndim > 1), x.dtype)
    return jax.tree.map(draw, jax.eval_shape(made.init, jax.random.key(0)))


def stepped(made, batch):
    """One step from the initial state, as one compiled call."""
    return jax.jit(lambda key: made.step(made.init(key), batch, key))(jax.random.key(0))


@pytest.mark.parametrize("penalty", [(), (penalties.r1,), (penalties.r2,), (penalties.wgan_gp,)])
@pytest.mark.parametrize(
    "loss",
    [
        *(losses.non_saturating, losses.least_squares, losses.hinge, losses.wasserstein),
        losses.relativistic,
    ],
)
def test_every_loss_with_every_penalty_takes_a_finite_step(loss, penalty):
    state, metrics = stepped(
        make(mlp(), loss=loss, penalties=dict.fromkeys(penalty, 10.0)), batch_of(4)
    )
    assert set(metrics) == METRICS | {p.__name__ for p in penalty}
    chex.assert_tree_all_finite((state, metrics))
    chex.assert_shape(list(metrics.values()), ())


@pytest.mark.parametrize("n_critic", [1, 3])
def test_a_step_is_the_critic_updates_and_then_the_generator_update_driven_by_hand(n_critic):
    generator, discriminator = players = Painting(), Quadratic()
    made = make(players, n_critic=n_critic, penalties={penalties.r1: 0.7})
    batch = batch_of(4 * n_critic)
    start = initial(made).params
    g, d = start["generator"], start["discriminator"]
    judge = lambda params, x: discriminator.apply({"params": params}, x)
    fakes = lambda params: generator.apply({"params": params}, jnp.zeros((4, 6)))
    descend = lambda loss, params: jax.tree.map(
        lambda p, slope: p - 0.1 * slope, params, jax.jit(jax.grad(loss))(params)
    )

    def d_loss(params, real):
        slopes = jax.grad(lambda x: judge(params, x).sum())(real)
        penalty = 0.5 * jnp.mean(jnp.sum(slopes**2, axis=(1, 2, 3)))
        value, _ = losses.non_saturating(judge(params, real), judge(params, fakes(g)))
        return value + 0.7 * penalty

    for j in range(n_critic):
        d = descend(partial(d_loss, real=batch["image"][j::n_critic]), d)
    g = descend(lambda params: -jnp.mean(jax.nn.log_sigmoid(judge(d, fakes(params)))), g)
    state, _ = stepped(made, batch)
    assert made.batches_per_step == n_critic
    chex.assert_trees_all_close(
        state.params, {"generator": g, "discriminator": d}, rtol=1e-5, atol=1e-6
    )


def test_accumulated_microbatches_take_the_step_of_the_full_batch():
    whole, parts = (
        stepped(make(mlp(), accumulate=a, penalties={penalties.wgan_gp: 1.0}), batch_of(8))
        for a in (1, 2)
    )
    # The distances of the images of a microbatch are not those of the images of the batch.
    distances = [metrics.pop("fake_distance") for _, metrics in (whole, parts)]
    chex.assert_trees_all_close(whole, parts, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(*distances, rtol=0.1)


@pytest.mark.parametrize("n_critic", [1, 3])
def test_the_statistics_of_the_generator_are_updated_once_per_step(n_critic):
    made = make((Painting(norm=True), Quadratic()), n_critic=n_critic)
    state, _ = stepped(made, batch_of(4 * n_critic))
    # The batch has no variance at first: the average decays from 1 by one update's momentum.
    variance = state.mutable["generator"]["batch_stats"]["BatchNorm_0"]["var"]
    np.testing.assert_allclose(variance, 0.9, rtol=1e-6)


def test_each_player_moves_alone():
    made = make((Painting(norm=True), Quadratic(spectral=True)))
    state, batch = initial(made), batch_of(4)
    by_d, by_g = (
        jax.jit(partial(play, made.step.args[0]))(state, batch, jax.random.key(1))[0]
        for play in (algorithm.discriminator_step, algorithm.generator_step)
    )
    for after, still, moved in (
        (by_d, "generator", "discriminator"),
        (by_g, "discriminator", "generator"),
    ):
        part = lambda state, name: (state.params[name], state.mutable[name], state.opt_state[name])
        chex.assert_trees_all_equal(part(state, still), part(after, still))
        for old, new in zip(part(state, moved)[:2], part(after, moved)[:2], strict=True):
            with pytest.raises(AssertionError):
                chex.assert_trees_all_close(old, new)


def test_the_players_draw_noise_of_their_own():
    class Latent(nn.Module):
        @nn.compact
        def __call__(self, z, label=None, train=False):
            return self.param("scale", nn.initializers.ones, ()) * z.reshape(-1, *SHAPE)

    class Sum(nn.Module):
        @nn.compact
        def __call__(self, x, label=None, train=False):
            return self.param("scale", nn.initializers.ones, ()) * x.sum((1, 2, 3))

    made = make((Latent(), Sum()), loss=losses.wasserstein, latent_dim=64)
    _, first = stepped(made, batch_of(4))
    assert abs(first["d_fake"] + first["g_loss"]) > 1e-3  # g_loss = -mean logit of G's own noise


def test_both_players_get_both_logits():
    made = make(mlp(), loss=losses.relativistic)
    state, play = initial(made), jax.jit(partial(algorithm.generator_step, made.step.args[0]))
    one, first = play(state, batch_of(4, seed=1), jax.random.key(1))
    other, second = play(state, batch_of(4, seed=2), jax.random.key(1))
    assert abs(first["g_loss"] - second["g_loss"]) > 1e-6
    with pytest.raises(AssertionError):
        chex.assert_trees_all_close(one.params["generator"], other.params["generator"])


def test_the_penalty_weight_follows_its_schedule():
    grows = lambda weight: lambda step: weight * step.astype(jnp.float32)
    made = make(mlp(), penalties={penalties.r1: 10.0}, penalties_schedule=grows)
    state, step = initial(made), jax.jit(made.step)
    rest = batch_of(4), jax.random.key(1)
    plain, _ = jax.jit(make(mlp()).step)(state, *rest)
    at_zero, _ = step(state, *rest)
    later, _ = step(state.replace(step=state.step + 1), *rest)
    chex.assert_trees_all_close(at_zero.params, plain.params, rtol=1e-6)
    with pytest.raises(AssertionError):
        chex.assert_trees_all_close(later.params, plain.params, rtol=1e-3)


@pytest.mark.parametrize("num_classes", [0, 3])
def test_a_sample_depends_on_its_own_key_and_label_alone(num_classes):
    made = make(dcgan(num_classes), num_classes, conditional=bool(num_classes))
    state, sample = drawn(made), jax.jit(made.sample)
    keys, labels = core.example_keys(jax.random.key(5), 9), jnp.arange(9) % 3
    many = sample(state, keys, {"label": labels})
    few = sample(state, keys[3:5], {"label": labels[3:5]})
    assert set(many) == ({"image", "label"} if num_classes else {"image"})
    assert made.conditions == (("label",) if num_classes else ())
    np.testing.assert_allclose(many["image"][3:5], few["image"], atol=1e-5)
    assert jnp.abs(many["image"][0] - many["image"][3]).max() > 1e-3
    if num_classes:
        other = sample(state, keys[3:5], {"label": labels[3:5] + 1})["image"]
        assert jnp.abs(few["image"] - other).max() > 1e-3


def test_truncation_scales_the_latents_towards_their_mean():
    made = make(mlp())
    state, keys = initial(made), core.example_keys(jax.random.key(5), 4)
    image = lambda truncation: made.sample(state, keys, {}, truncation=truncation)["image"]
    z = 0.5 * core.normal(keys, (6,))
    half = mlp()[0].apply({"params": state.params["generator"]}, z)
    np.testing.assert_allclose(image(0.5), half, atol=1e-6)
    assert jnp.ptp(image(0.0), axis=0).max() < 1e-6


def test_evaluation_judges_every_example_by_statistics_that_are_stored():
    made = make(dcgan())
    state, judge = drawn(made), jax.jit(made.eval)
    batch, key = batch_of(6), jax.random.key(3)
    values = judge(state, batch, key)
    chex.assert_shape([values["d_real"], values["d_fake"]], (6,))
    fewer = judge(state, {"image": batch["image"][:2]}, key)
    chex.assert_trees_all_close(fewer, jax.tree.map(lambda v: v[:2], values), atol=1e-5)


def test_dcgan_takes_a_finite_step_in_bfloat16_and_keeps_the_state_as_it_was():
    made = make(dcgan(3, dtype=jnp.bfloat16), 3, conditional=True)
    before = drawn(made)
    state, metrics = jax.jit(made.step)(before, batch_of(4, 3), jax.random.key(0))
    chex.assert_tree_all_finite((state, metrics))
    chex.assert_trees_all_equal_shapes_and_dtypes(state, before)
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype("float32")}


def test_the_discriminator_learns_to_tell_data_from_a_generator_that_stands_still():
    made = make(mlp())
    state, play = initial(made), jax.jit(partial(algorithm.discriminator_step, made.step.args[0]))
    for i in range(60):
        state, metrics = play(state, batch_of(32), jax.random.key(i))
    assert metrics["d_real"] > 1 > -1 > metrics["d_fake"]


def test_the_generator_moves_to_the_data():
    adam = optax.adam(3e-3, b1=0.5)
    made = make(mlp(), optimiser=adam, penalties={penalties.r1: 1.0})
    left = jnp.where(jnp.arange(8) < 4, 0.8, -0.8)  # bright columns on the left, in every image
    data = {"image": jnp.broadcast_to(left[:, None], (32, *SHAPE))}
    state, step = initial(made), jax.jit(made.step)
    for i in range(300):
        state, _ = step(state, data, jax.random.key(i))
    images = made.sample(state, core.example_keys(jax.random.key(1), 64), {})["image"]
    np.testing.assert_allclose(images.mean(0), data["image"][0], atol=0.25)


def test_a_game_that_does_not_fit_is_refused_when_it_is_made():
    class Normed(nn.Module):
        @nn.compact
        def __call__(self, x, label=None, train=False):
            return nn.BatchNorm(not train)(x).sum((1, 2, 3))

    with pytest.raises(ValueError, match="r1.*Normed has batch normalisation"):
        make((Painting(), Normed()), penalties={penalties.r1: 1.0})
    with pytest.raises(ValueError, match="conditional=True.*no labels"):
        make(mlp(), conditional=True)
    assert make((Painting(), Normed())).batches_per_step == 1
