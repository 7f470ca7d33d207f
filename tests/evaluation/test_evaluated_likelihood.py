"""A VAE's evaluation: the same however it is cut and wherever it runs, and what it reports."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_runs

from aigc_jax import core
from aigc_jax.evaluation import likelihood, weights
from aigc_jax.metrics import likelihood as bounds

SILENT = lambda text: None


@pytest.fixture(scope="module")
def trained():
    """A tiny run on one device, a few steps on, and its data."""
    session = tiny_runs.Session(tiny_runs.VAE)
    session.train(3)
    return session


def found_of(session, **options):
    options = {"iw_samples": 7, "seed": 0, "say": SILENT} | options
    return likelihood.findings(session.run, session.state, session.data, **options)


@pytest.fixture(scope="module")
def found(trained):
    return found_of(trained)


@pytest.fixture(scope="module")
def whole(trained):
    return weighed(trained, 32, 7)


def weighed(session, rows, draws):
    return weights.weigh(session.run, session.state, session.data, 7, None, 0, SILENT, rows, draws)


@pytest.mark.parametrize(("rows", "draws"), [(5, 3), (21, 1)])
def test_every_cut_gives_the_same(trained, whole, rows, draws):
    for one, other in zip(weighed(trained, rows, draws), whole, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_eight_devices_give_the_same(found):
    session = tiny_runs.Session(tiny_runs.VAE, {"data": 8})
    session.train(3)
    piece = next(weights.pieces(session.run, session.state, session.data, None, 5))
    assert len(piece.batch["image"].sharding.device_set) == 8
    assert piece.batch["image"].shape[0] == 8
    other = found_of(session)
    assert set(other.metrics) == set(found.metrics)
    for name, metric in found.metrics.items():
        np.testing.assert_allclose(other.metrics[name].value, metric.value, rtol=1e-4, err_msg=name)


def test_values_are_those_of_the_head(trained, found):
    run, batch = trained.run, weights.pieces(trained.run, trained.state, trained.data, None, 21)
    batch = next(batch).batch | {"draw": np.arange(7, dtype=np.int32)}
    values = run.algorithm.heads["log_weights"](trained.state, batch, core.stream(0, core.SAMPLE))
    bound = bounds.importance_weighted_bound(values["log_weight"]).mean()
    value = {name: metric.value for name, metric in found.metrics.items()}
    np.testing.assert_allclose(value["iw_bound"], -bound, rtol=1e-5)
    np.testing.assert_allclose(value["rate"], values["kl"].sum(1).mean(), rtol=1e-4)
    np.testing.assert_allclose(value["distortion"], values["distortion"].mean(), rtol=1e-5)
    np.testing.assert_allclose(value["negative_elbo"], value["rate"] + value["distortion"])
    np.testing.assert_allclose(value["bits_per_dim"], -bound / 64 / np.log(2), rtol=1e-5)
    assert value["active_units"] == (np.var(values["latent"], 0) > 0.01).sum()
    assert value["iw_bound"] < value["negative_elbo"]
    made = run.algorithm.heads["reconstruct"](trained.state, batch, core.stream(0, core.SAMPLE))
    error = np.square(np.asarray(made["image"]) - batch["image"])[:21].mean((1, 2, 3))
    np.testing.assert_allclose(value["reconstruction_mse"], error.mean(), rtol=1e-5)
    np.testing.assert_allclose(
        value["reconstruction_psnr"], 10 * np.log10(4 / error).mean(), rtol=1e-5
    )


def test_the_bound_agrees_with_the_evaluation_during_training(trained, found):
    # One draw per image there and seven here, of images binarised anew: equal up to noise.
    elbo = trained.evaluate()["elbo"]
    assert abs(found.metrics["negative_elbo"].value + elbo) < 0.05 * abs(elbo)


def test_everything_is_reported_with_its_protocol(found):
    names = {"iw_bound", "negative_elbo", "rate", "distortion", "active_units", "bits_per_dim"}
    assert set(found.metrics) == names | {"reconstruction_mse", "reconstruction_psnr"}
    assert "11" in found.refused["reconstruction_ssim"]  # of 8 x 8 pixels the window is too large
    assert all(metric.samples == 21 for metric in found.metrics.values())
    assert "7 importance weights" in found.metrics["iw_bound"].protocol
    assert "dynamic binarisation, one draw" in found.metrics["iw_bound"].protocol
    assert found.metrics["iw_bound"].better == "lower"
    assert [figure.name for figure in found.figures] == ["reconstructions", "traversals", "paths"]
    assert all(figure.pixels.dtype == np.uint8 for figure in found.figures)


def changed(**algorithm):
    raw = {**tiny_runs.VAE, "algorithm": {**tiny_runs.VAE["algorithm"], **algorithm}}
    return tiny_runs.Session(raw)


def own(session, log_weights, law="", **heads):
    """The session's run with heads of one's own, as an algorithm of a user has them."""
    algorithm = session.run.algorithm._replace(heads={"log_weights": log_weights, **heads}, law=law)
    return session.run._replace(algorithm=algorithm)


def of_gaussian(mean, sigma):
    """A head: the log-density of independent normal pixels, with no latent at all."""

    def log_weights(state, batch, key):
        error = (batch["image"] - mean) / sigma
        nats = -(0.5 * error**2 + np.log(sigma) + 0.5 * np.log(2 * np.pi)).sum((1, 2, 3))
        return {"log_weight": jnp.tile(nats[:, None], (1, len(batch["draw"])))}

    return log_weights


def bits_of(session, run, data):
    found = likelihood.findings(run, session.state, data, iw_samples=2, seed=0, say=SILENT)
    return found.metrics["bits_per_dim"], found


def test_bits_of_a_density_bound_those_of_the_levels(trained):
    """A density sharp at a level has less than no bits where images are not dequantised."""
    level, sigma = 100, 0.002
    black = {**trained.data.eval.arrays, "image": np.full((21, 8, 8, 1), level, np.uint8)}
    data = trained.data._replace(eval=trained.data.eval._replace(arrays=black))
    run = own(trained, of_gaussian(level / 127.5 - 1, sigma), "density")
    bits, found = bits_of(trained, run, data)
    # E (u / 127.5)^2 = 1 / (12 127.5^2); the probability of the level itself is 0.95, 0.07 bits.
    nats = 1 / (24 * (127.5 * sigma) ** 2) + np.log(127.5 * sigma * np.sqrt(2 * np.pi))
    assert bits.value == pytest.approx(nats / np.log(2), abs=0.02)
    assert bits.value > 0.07
    assert "dequantised uniformly" in bits.protocol
    # Of what the head does not give, nothing is said.
    assert set(found.metrics) == {"iw_bound", "bits_per_dim"}
    # As it was, without noise:
    assert np.log(127.5 * sigma * np.sqrt(2 * np.pi)) / np.log(2) < 0


def test_the_noise_of_an_image_is_its_own(trained):
    run = own(trained, of_gaussian(0.0, 0.5), "density")
    bounds = [
        weights.weigh(run, trained.state, trained.data, 1, None, seed, SILENT, rows).bound
        for seed, rows in ((0, 5), (0, 21), (2**32 - 1, 21))
    ]
    np.testing.assert_allclose(bounds[0], bounds[1], rtol=1e-6)
    assert (bounds[1] != bounds[2]).all()


def test_an_algorithm_that_names_no_law_has_a_bound_but_no_bits(trained):
    found = likelihood.findings(
        own(trained, of_gaussian(0.0, 1.0)), trained.state, trained.data, seed=0, say=SILENT
    )
    assert set(found.metrics) == {"iw_bound"}
    assert "Algorithm.law, one of binarised, binary" in found.refused["bits_per_dim"]
    with pytest.raises(ValueError, match="Algorithm.law = 'densty': accepted are binarised"):
        likelihood.findings(
            own(trained, of_gaussian(0.0, 1.0), "densty"),
            *(trained.state, trained.data),
            seed=0,
            say=SILENT,
        )


def test_weights_that_are_not_numbers_cost_the_bounds_alone(trained):
    nothing = lambda state, batch, key: {"log_weight": batch["image"][:, 0, :1, 0] * np.nan}
    heads = {"reconstruct": trained.run.algorithm.heads["reconstruct"]}
    run = own(trained, nothing, "binarised", **heads)
    found = likelihood.findings(run, trained.state, trained.data, seed=0, say=SILENT)
    assert "21 of 21 images are NaN" in found.refused["iw_bound"]
    assert "reconstruction_mse" in found.metrics


def test_the_cross_entropy_of_grey_images_is_called_no_likelihood():
    session = changed(binarize="none")
    grey = found_of(session, limit=9)
    for name in ("iw_bound", "negative_elbo", "bits_per_dim"):
        assert "9 of 9 images are grey" in grey.refused[name]
    said = {name: metric.value for name, metric in grey.metrics.items()}
    assert {"distortion", *grey.refused}.isdisjoint(said)
    assert said["rate_and_cross_entropy"] == pytest.approx(said["rate"] + said["cross_entropy"])
    # Of images that are black or white it is one: a data set that is binarised already.
    arrays = {**session.data.eval.arrays}
    arrays["image"] = np.where(arrays["image"] > 127, 255, 0).astype(np.uint8)
    session.data = session.data._replace(eval=session.data.eval._replace(arrays=arrays))
    metrics = found_of(session, limit=9).metrics
    bits = metrics["iw_bound"].value / 64 / np.log(2)
    assert metrics["bits_per_dim"].value == pytest.approx(bits)
    assert "black-or-white images, not binarised" in metrics["iw_bound"].protocol


def test_a_gaussian_decoder_is_dequantised():
    density = found_of(changed(binarize="none", likelihood="gaussian")).metrics
    nats = density["iw_bound"].value
    expected = nats / 64 / np.log(2) + np.log2(127.5)
    np.testing.assert_allclose(density["bits_per_dim"].value, expected)
    assert "8-bit levels dequantised uniformly, one draw, p(x)" in density["iw_bound"].protocol


def test_conditional_models_are_given_labels():
    found = found_of(changed(conditional=True))
    assert len(found.figures) == 3
    assert "-log p(x | y)" in found.metrics["iw_bound"].protocol
    assert "p(x | y)" in found.metrics["negative_elbo"].protocol


def test_many_samples_are_announced(trained):
    said = []
    found_of(trained, iw_samples=101, limit=3, say=said.append)
    assert len(said) == 1
    assert "101 importance samples of 3 images: about" in said[0]


@pytest.mark.parametrize("option", ["iw_samples", "limit"])
def test_none_at_all_is_refused(trained, option):
    with pytest.raises(ValueError, match=f"{option}=0"):
        found_of(trained, **{option: 0})


def test_a_state_on_the_host_will_do(trained, found):
    trained = trained.run, jax.device_get(trained.state), trained.data
    other = likelihood.findings(*trained, iw_samples=7, seed=0, say=SILENT)
    value = other.metrics["iw_bound"].value
    np.testing.assert_allclose(value, found.metrics["iw_bound"].value, rtol=1e-5)
