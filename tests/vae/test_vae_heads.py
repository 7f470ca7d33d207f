"""Importance weights, against a linear-Gaussian model whose log-likelihood is exact."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats

from aigc_jax import core, schedules
from aigc_jax.vae import algorithm, likelihoods, model, networks

SIGMA, COUNT, KEY = 0.6, 12, jax.random.key(3)
# x [4] = W z [2] + sigma noise; W has columns at right angles, so that the posterior is diagonal.
W = np.array([[1.0, 1.0], [1.0, -1.0], [0.5, 0.0], [0.0, 0.0]])
PRECISION = 1 + (W**2).sum(0) / SIGMA**2


class Linear(nn.Module):
    """The generator's mean W z as an image of 2 x 2."""

    @nn.compact
    def __call__(self, z, train):
        self.param("unused", nn.initializers.zeros, ())
        return (z @ W.T).reshape(-1, 2, 2, 1)


class Inverse(nn.Module):
    """The posterior's mean and log-variance, moved by `shift` and `widen` from the true one."""

    shift: float = 0.0
    widen: float = 0.0

    @nn.compact
    def __call__(self, x, train):
        self.param("unused", nn.initializers.zeros, ())
        mu = x.reshape(len(x), -1) @ (W / SIGMA**2 / PRECISION) + self.shift
        logvar = 10 * np.arctanh((self.widen - np.log(PRECISION)) / 10)
        return jnp.concatenate([mu, jnp.broadcast_to(logvar, mu.shape)], -1)


def images(n=COUNT):
    draw = np.random.default_rng(1)
    x = draw.standard_normal((n, 2)) @ W.T + SIGMA * draw.standard_normal((n, 4))
    return x.astype(np.float32).reshape(n, 2, 2, 1)


def vae(encoder, decoder=None, shape=(2, 2, 1), binary=False, **options):
    example = core.Example({"image": jax.ShapeDtypeStruct((COUNT, *shape), jnp.float32)})
    gaussian = partial(likelihoods.gaussian, sigma=SIGMA, learned=False)
    return algorithm.make(
        example=example,
        tx={"model": optax.sgd(0.1)},
        encoder=encoder,
        decoder=decoder or Linear(),
        latent_dim=2,
        likelihood=likelihoods.bernoulli if binary else gaussian,
        binarize="dynamic" if binary else "none",
        beta_schedule=schedules.constant,
        **options,
    )


def weights(made, image, draws, **more):
    state = made.init(jax.random.key(0))
    batch = {"image": image, "draw": jnp.arange(draws, dtype=jnp.int32), **more}
    return jax.jit(made.heads["log_weights"])(state, batch, KEY)


def exact(image):
    law = scipy.stats.multivariate_normal(np.zeros(4), W @ W.T + SIGMA**2 * np.eye(4))
    return law.logpdf(image.reshape(len(image), -1))


def bound(found):
    return np.logaddexp.reduce(np.float64(found["log_weight"]), 1) - np.log(
        found["log_weight"].shape[1]
    )


def test_with_the_true_posterior_every_weight_is_the_likelihood():
    found = weights(vae(Inverse()), images(), 3)
    assert {name: v.shape for name, v in found.items()} == {
        "log_weight": (COUNT, 3),
        "distortion": (COUNT, 3),
        "kl": (COUNT, 2),
        "latent": (COUNT, 2),
    }
    expected = np.repeat(exact(images())[:, None], 3, 1)
    np.testing.assert_allclose(found["log_weight"], expected, rtol=1e-4, atol=1e-4)
    assert np.std(found["distortion"], 1).min() > 0.01  # though the draws differ


def test_with_a_wrong_posterior_more_draws_come_closer_from_below():
    made, truth = vae(Inverse(shift=0.3, widen=0.5)), exact(images(400)).mean()
    found = [bound(weights(made, images(400), k)).mean() for k in (1, 10, 100, 1000)]
    assert (np.diff(found) > 0).all()
    assert truth - found[0] > 0.2
    assert abs(truth - found[-1]) < 0.01


def test_weights_split_into_distortion_and_rate():
    found = weights(vae(Inverse(shift=0.3)), images(), 4000)
    ratio = np.float64(-found["log_weight"] - found["distortion"])
    error = ratio.std(1) / np.sqrt(4000)
    assert (np.abs(ratio.mean(1) - found["kl"].sum(-1)) < 4.5 * error).all()


BINARY = {
    "encoder": networks.MlpEncoder(hidden=(16,)),
    "decoder": networks.MlpDecoder((8, 8, 1), hidden=(16,)),
    "shape": (8, 8, 1),
    "binary": True,
}
GREY = np.random.default_rng(0).uniform(-1, 1, (COUNT, 8, 8, 1)).astype(np.float32)


def test_draws_depend_on_image_and_number_alone():
    made = vae(**BINARY)
    whole = weights(made, GREY, 6)
    rows, draws = np.array([7, 2]), jnp.array([4, 1, 5])
    part = weights(made, GREY[rows], 0, index=rows, draw=draws)
    expected = np.asarray(whole["log_weight"])[rows][:, draws]
    np.testing.assert_allclose(part["log_weight"], expected, rtol=1e-5)
    np.testing.assert_allclose(part["latent"], whole["latent"][rows], rtol=1e-4, atol=1e-5)
    assert len(np.unique(whole["log_weight"])) == COUNT * 6


def test_an_image_is_binarised_once_for_all_its_draws():
    class Same(nn.Module):
        """A decoder to which z is nothing: the distortion tells binarised images apart."""

        @nn.compact
        def __call__(self, z, train):
            logits = self.param("logits", nn.initializers.normal(), (64,))
            return jnp.broadcast_to(logits, (len(z), 64)).reshape(-1, 8, 8, 1)

    same = np.broadcast_to(GREY[:1], GREY.shape)
    found = weights(vae(**BINARY | {"decoder": Same()}), same, 3)["distortion"]
    assert (np.ptp(found, 1) < 1e-3).all()
    assert len(np.unique(np.round(found[:, 0], 2))) > COUNT // 2


def test_a_training_batch_has_as_many_draws_as_asked_for():
    law = likelihoods.gaussian(sigma=SIGMA, learned=False)
    parts = model.Model(Inverse(), Linear(), law, 2, binarize=False, conditional=False)
    made = vae(Inverse(), importance_samples=3)
    state, batch = made.init(KEY), {"image": jnp.asarray(images())}
    keys = core.example_keys(KEY, COUNT)
    terms, _, _ = model.autoencode(
        parts, state.params, state.mutable, batch, keys, draws=3, train=True
    )
    assert terms.distortion.shape == terms.log_ratio.shape == (COUNT, 3)
    assert np.std(terms.distortion, 1).min() > 0.01
    _, metrics = jax.jit(made.step)(state, batch, KEY)
    np.testing.assert_allclose(metrics["distortion"], terms.distortion.mean(), rtol=1e-5)


@pytest.mark.parametrize("objective", ["negative_elbo", "importance_weighted"])
def test_a_step_cut_into_microbatches_is_the_whole_one(objective):
    function = getattr(algorithm.objectives, objective)
    losses = []
    for accumulate in (1, 4):
        made = vae(**BINARY, objective=function, importance_samples=3, accumulate=accumulate)
        state, _ = jax.jit(made.step)(made.init(KEY), {"image": jnp.asarray(GREY)}, KEY)
        losses.append(state.params["decoder"]["Dense_1"]["kernel"])
    np.testing.assert_allclose(*losses, atol=1e-5)
