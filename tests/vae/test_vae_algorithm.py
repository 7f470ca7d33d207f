"""The whole autoencoder: its reductions, keys, heads, and that it learns."""

from functools import partial

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aigc_jax import core, schedules
from aigc_jax.vae import algorithm, likelihoods, networks, objectives

SIZE, BATCH, LATENT = 8, 12, 3
KEY = jax.random.key(7)


class Constant(nn.Module):
    """An encoder that always answers mu = 3 and the smallest variance, so z hardly varies."""

    dim: int

    @nn.compact
    def __call__(self, x, train):
        self.param("unused", nn.initializers.zeros, ())
        mu = jnp.full((x.shape[0], self.dim), 3.0)
        return jnp.concatenate([mu, -1e6 * mu], axis=-1)


class Copy(nn.Module):
    """A decoder that shows the latent itself, small enough not to be cut at -1 and 1."""

    @nn.compact
    def __call__(self, z, train):
        scale = self.param("scale", nn.initializers.constant(0.1), ())
        return (z * scale).reshape(-1, SIZE, SIZE, 1)


class Normalised(nn.Module):
    """An encoder of one's own, with statistics and no `latent_dim`."""

    @nn.compact
    def __call__(self, x, train):
        h = nn.Dense(2 * LATENT)(x.reshape(x.shape[0], -1))
        return nn.BatchNorm(use_running_average=not train)(h)


def batch_of(n=BATCH, shape=(SIZE, SIZE, 1)):
    grey = jax.random.uniform(jax.random.key(1), (n, *shape), minval=-1, maxval=1)
    return {"image": grey, "label": jnp.arange(n) % 3}


def make(shape=(SIZE, SIZE, 1), optimiser=None, **options):
    data = jax.eval_shape(lambda: batch_of(shape=shape))
    defaults = {
        "encoder": networks.MlpEncoder(hidden=(16,), num_classes=3),
        "decoder": networks.MlpDecoder(shape=shape, hidden=(16,), num_classes=3),
        "latent_dim": LATENT,
        "likelihood": likelihoods.bernoulli,
        "beta_schedule": schedules.constant,
    }
    tx = {"model": optimiser or optax.sgd(0.1)}
    example = core.Example(data, num_classes=3)
    return algorithm.make(example=example, tx=tx, **{**defaults, **options})


def gaussian(**options):
    law = partial(likelihoods.gaussian, **options)
    return {"likelihood": law, "binarize": "none"}


IWAE = {"objective": objectives.importance_weighted, "importance_samples": 4}


def started(vae, key=KEY):
    return jax.jit(vae.init)(key)


def test_step_reports_the_bound_and_sums_over_pixels():
    values = {}
    for width in (SIZE, 2 * SIZE):
        vae = make(shape=(width, width, 1))
        state = started(vae)
        # With zero logits each pixel costs log 2 whatever it is.
        state = state.replace(params=jax.tree.map(jnp.zeros_like, state.params))
        _, values[width] = jax.jit(vae.step)(state, batch_of(shape=(width, width, 1)), KEY)
    for width, metrics in values.items():
        np.testing.assert_allclose(metrics["distortion"], width**2 * np.log(2), rtol=3e-5)
        assert metrics["rate"] == 0
        np.testing.assert_allclose(metrics["loss"], -metrics["elbo"], rtol=3e-5)
    names = {"loss", "elbo", "rate", "distortion", "beta", "active_units", "grad_norm"}
    assert set(values[SIZE]) == names


def test_beta_follows_its_schedule_and_leaves_evaluation_alone():
    rising = partial(schedules.linear, steps=10)
    vae = make(beta=4.0, beta_schedule=rising)
    state = started(vae).replace(step=jnp.int32(5))
    _, metrics = jax.jit(vae.step)(state, batch_of(), KEY)
    assert metrics["beta"] == 2.0
    expected = metrics["distortion"] + 2 * metrics["rate"]
    np.testing.assert_allclose(metrics["loss"], expected, rtol=1e-6)
    plain = jax.jit(make().eval)(state, batch_of(), KEY)
    chex.assert_trees_all_equal(jax.jit(vae.eval)(state, batch_of(), KEY), plain)


def test_evaluation_is_by_example_and_equals_the_training_loss():
    vae = make()
    state = started(vae)
    values = jax.jit(vae.eval)(state, batch_of(), KEY)
    assert {name: v.shape for name, v in values.items()} == {
        name: (BATCH,) for name in ("elbo", "rate", "distortion")
    }
    np.testing.assert_allclose(values["elbo"], -(values["rate"] + values["distortion"]))
    _, metrics = jax.jit(vae.step)(state, batch_of(), KEY)
    np.testing.assert_allclose(metrics["elbo"], values["elbo"].mean(), rtol=1e-5)


@pytest.mark.parametrize("options", [{}, gaussian(sigma=0.5), IWAE])
def test_accumulated_gradients_equal_the_full_batch(options):
    steps = []
    for accumulate in (1, 3):
        vae = make(accumulate=accumulate, **options)
        steps.append(jax.jit(vae.step)(started(vae), batch_of(), KEY))
    (full, full_metrics), (cut, cut_metrics) = steps
    chex.assert_trees_all_close(full.params, cut.params, atol=1e-5)
    # A count over the batch, not a mean over examples: microbatches have a count of their own.
    for metrics in (full_metrics, cut_metrics):
        metrics.pop("active_units")
    chex.assert_trees_all_close(full_metrics, cut_metrics, rtol=1e-5)


def test_the_importance_weighted_loss_is_below_the_negative_elbo_of_the_same_draws():
    state = started(make())
    _, iwae = jax.jit(make(**IWAE).step)(state, batch_of(), KEY)
    _, vae = jax.jit(make(importance_samples=4).step)(state, batch_of(), KEY)
    for name in ("elbo", "rate", "distortion"):
        np.testing.assert_allclose(iwae[name], vae[name], rtol=1e-5)
    np.testing.assert_allclose(vae["loss"], -vae["elbo"], rtol=1e-5)
    assert iwae["loss"] < vae["loss"]


def test_an_objective_of_ones_own_gets_the_terms_and_beta():
    def worst(terms, *, beta):
        return (terms.distortion + beta * terms.log_ratio).max(1).mean()

    state = started(make())
    _, metrics = jax.jit(make(objective=worst, importance_samples=4).step)(state, batch_of(), KEY)
    assert metrics["loss"] > -metrics["elbo"]


def test_active_units_are_the_latents_whose_mean_varies():
    vae = make(encoder=Constant(LATENT))
    assert jax.jit(vae.step)(started(vae), batch_of(), KEY)[1]["active_units"] == 0
    mu = jnp.array([[0.0, 0.0, 5.0], [0.19, 0.21, 5.0]])  # variances 0.0090, 0.0110 and 0
    assert algorithm.active_units(mu) == 1


def test_free_bits_leave_an_unused_latent_free():
    state = started(make())
    steps = [make(**options) for options in ({"free_bits": 100.0}, {"beta": 0.0}, {})]
    metrics, zero, paid = (jax.jit(vae.step)(state, batch_of(), KEY)[1] for vae in steps)
    np.testing.assert_allclose(metrics["loss"], metrics["distortion"] + 100 * LATENT, rtol=1e-5)
    np.testing.assert_allclose(metrics["grad_norm"], zero["grad_norm"], rtol=1e-5)
    assert abs(paid["grad_norm"] - zero["grad_norm"]) > 1e-3


def test_dynamic_binarisation_is_new_every_step_and_reproducible():
    vae = make(encoder=Constant(LATENT))
    state = started(vae)
    step = jax.jit(core.advance(vae, lambda key, raw: raw))
    first = step(state, batch_of(), KEY)[1]["distortion"]
    second = step(state.replace(step=jnp.int32(1)), batch_of(), KEY)[1]["distortion"]
    assert step(state, batch_of(), KEY)[1]["distortion"] == first
    # Far more than the hardly varying z can do.
    assert abs(first - second) > 0.1


def test_binarised_distortion_is_the_grey_one_on_average():
    # The Bernoulli log-probability is linear in the pixels, so their mean may go inside.
    image = {"image": jnp.broadcast_to(batch_of(1)["image"], (4000, SIZE, SIZE, 1))}
    dynamic, grey = make(encoder=Constant(LATENT)), make(encoder=Constant(LATENT), binarize="none")
    state = started(dynamic)
    drawn = np.asarray(dynamic.eval(state, image, KEY)["distortion"])
    mean = np.asarray(grey.eval(state, image, KEY)["distortion"]).mean()
    assert drawn.std() > 0.1
    assert abs(drawn.mean() - mean) < 4 * drawn.std() / np.sqrt(len(drawn))


@pytest.mark.parametrize("options", [{}, gaussian()])
def test_samples_are_images_and_do_not_depend_on_their_number(options):
    vae = make(**options)
    state = started(vae)
    many = vae.sample(state, core.example_keys(KEY, 9), {})["image"]
    few = vae.sample(state, core.example_keys(KEY, 2, start=3), {})["image"]
    assert many.shape == (9, SIZE, SIZE, 1)
    assert float(jnp.abs(many).max()) <= 1
    np.testing.assert_allclose(few, many[3:5], atol=1e-5)
    assert not np.allclose(many[0], many[1])


@pytest.mark.parametrize("options", [{}, gaussian()])
def test_reconstruction_is_decoding_of_the_encoding(options):
    vae = make(**options)
    state, heads = started(vae), vae.heads
    latent = heads["encode"](state, batch_of(), KEY)
    assert latent["latent"].shape == latent["logvar"].shape == (BATCH, LATENT)
    decoded = heads["decode"](state, {"latent": latent["latent"]}, KEY)["image"]
    image = heads["reconstruct"](state, batch_of(), jax.random.key(0))["image"]
    np.testing.assert_allclose(image, decoded, atol=1e-6)
    assert image.shape == (BATCH, SIZE, SIZE, 1)
    assert float(jnp.abs(image).max()) <= 1


def test_interpolation_goes_from_sample_to_sample_and_keeps_the_priors_variance():
    vae = make(decoder=Copy(), latent_dim=SIZE**2, **gaussian())
    state = started(vae)
    path = vae.heads["interpolate"](state, {"fraction": jnp.linspace(0, 1, 3)}, KEY)["image"]
    start, end = vae.sample(state, core.example_keys(KEY, 2), {})["image"]
    np.testing.assert_allclose(path[0], start, atol=1e-6)
    np.testing.assert_allclose(path[2], end, atol=1e-6)
    np.testing.assert_allclose(path[1], (start + end) / np.sqrt(2), atol=1e-6)


def test_conditional_samples_follow_their_labels():
    vae = make(conditional=True)
    assert vae.conditions == ("label",)
    state = started(vae)
    key = core.example_keys(KEY, 1)[jnp.zeros(3, jnp.int32)]
    image = vae.sample(state, key, {"label": jnp.array([0, 1, 0])})["image"]
    np.testing.assert_allclose(image[0], image[2], atol=1e-6)
    assert not np.allclose(image[0], image[1])
    new, metrics = jax.jit(vae.step)(state, batch_of(), KEY)
    assert np.isfinite(metrics["loss"])
    both = {"fraction": jnp.array([0.5]), "label": jnp.array([1])}
    assert vae.heads["interpolate"](new, both, KEY)["image"].shape == (1, SIZE, SIZE, 1)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_statistics_of_a_network_of_ones_own_are_carried(accumulate):
    vae = make(encoder=Normalised(), accumulate=accumulate)
    state = started(vae)
    new, _ = jax.jit(vae.step)(state, batch_of(), KEY)
    chex.assert_trees_all_equal_structs(new.mutable, state.mutable)
    mean = lambda s: s.mutable["encoder"]["batch_stats"]["BatchNorm_0"]["mean"]
    assert (mean(new) != mean(state)).any()
    assert set(state.mutable) == {"encoder"}


@pytest.mark.parametrize(
    "networks_of",
    [
        lambda s: {},
        lambda s: {
            "encoder": networks.ConvEncoder(features=(8, 16), hidden=32),
            "decoder": networks.ConvDecoder(shape=s, features=(16, 8), hidden=32),
        },
    ],
)
def test_overfits_one_batch(networks_of):
    shape = (9, 9, 1)
    vae = make(shape, optax.adam(1e-2), latent_dim=8, **networks_of(shape))
    # Black-or-white images: at grey pixels even a perfect model pays for the draw.
    batch = {"image": jnp.sign(batch_of(8, shape)["image"])}
    state, step = started(vae), jax.jit(vae.step)
    for i in range(150):
        state, metrics = step(state, batch, jax.random.key(i))
    assert metrics["distortion"] < 0.1 * 81 * np.log(2)
    image = vae.heads["reconstruct"](state, batch, KEY)["image"]
    assert (jnp.sign(image) == batch["image"]).mean() > 0.99


def test_learned_sigma_recovers_the_noise_of_the_data():
    vae = make(optimiser=optax.adam(2e-2), **gaussian())
    noise = 0.2 * jax.random.normal(jax.random.key(2), (512, SIZE, SIZE, 1))
    state, step = started(vae), jax.jit(vae.step)
    for i in range(300):
        at = (i * 64) % 512
        state, _ = step(state, {"image": 0.3 + noise[at : at + 64]}, jax.random.key(i))
    log_sigma = state.params["likelihood"]["log_sigma"]
    np.testing.assert_allclose(jnp.exp(log_sigma), 0.2, rtol=0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"free_bits": 0.1, **IWAE}, "free_bits=0.1 with objective=importance_weighted"),
        ({"binarize": "static"}, "binarize='static'"),
        ({"likelihood": likelihoods.gaussian}, "binary pixels"),
        ({"free_bits": 0.1, "accumulate": 2}, "accumulate=2"),
        ({"free_bits": 0.1, "axis_name": "data"}, "pmap"),
        ({"encoder": Constant(2)}, r"encoder=Constant"),
        ({"decoder": networks.MlpDecoder(shape=(9, 9, 1))}, r"decoder=MlpDecoder.*\(1, 9, 9, 1\)"),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_data_without_images_or_labels_is_refused():
    options = {"tx": {}, "encoder": None, "decoder": None}
    text = core.Example({"tokens": jax.ShapeDtypeStruct((2, 9), jnp.int32)}, vocab=5)
    with pytest.raises(ValueError, match="tokens"):
        algorithm.make(example=text, **options)
    unlabelled = core.Example({"image": jax.ShapeDtypeStruct((2, 8, 8, 1), jnp.float32)})
    with pytest.raises(ValueError, match="no labels"):
        algorithm.make(example=unlabelled, conditional=True, **options)
