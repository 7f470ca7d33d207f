"""A VAE's evaluation: the same however it is cut and wherever it runs, and what it reports."""

import jax
import numpy as np
import pytest
import tiny_runs

from aigc_jax import core
from aigc_jax.evaluation import likelihood
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
    return likelihood.weigh(
        session.run, session.state, session.data, 7, None, 0, SILENT, rows, draws
    )


@pytest.mark.parametrize(("rows", "draws"), [(5, 3), (21, 1)])
def test_every_cut_gives_the_same(trained, whole, rows, draws):
    for one, other in zip(weighed(trained, rows, draws), whole, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_eight_devices_give_the_same(found):
    session = tiny_runs.Session(tiny_runs.VAE, {"data": 8})
    session.train(3)
    piece = next(likelihood.pieces(session.run, session.state, session.data, None, 5))
    assert len(piece.batch["image"].sharding.device_set) == 8
    assert piece.batch["image"].shape[0] == 8
    other = found_of(session)
    assert set(other.metrics) == set(found.metrics)
    for name, metric in found.metrics.items():
        np.testing.assert_allclose(other.metrics[name].value, metric.value, rtol=1e-4, err_msg=name)


def test_values_are_those_of_the_head(trained, found):
    run, batch = trained.run, likelihood.pieces(trained.run, trained.state, trained.data, None, 21)
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


def test_grey_images_are_named_so_and_have_bits_only_of_a_density():
    grey = found_of(changed(binarize="none"), limit=9)
    assert "grey images, not binarised" in grey.metrics["iw_bound"].protocol
    assert "bernoulli" in grey.refused["bits_per_dim"]
    assert grey.metrics["iw_bound"].samples == 9
    density = found_of(changed(binarize="none", likelihood="gaussian")).metrics
    nats = density["iw_bound"].value
    expected = nats / 64 / np.log(2) + np.log2(127.5)
    np.testing.assert_allclose(density["bits_per_dim"].value, expected)


def test_conditional_models_are_given_labels():
    assert len(found_of(changed(conditional=True)).figures) == 3


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
