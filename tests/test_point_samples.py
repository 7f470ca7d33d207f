"""Runs on points of the plane show and write them as scatter plots and coordinates."""

import commands
import numpy as np
import pytest
from PIL import Image

from aigc_jax.media import points


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "grid"
    assert commands.train(folder, "gan_grid.py:test", "steps=2") == 0
    return folder


def test_an_evaluation_shows_a_scatter_plot(run):
    with Image.open(run / "samples" / "step_0000002.png") as picture:
        assert picture.size == (480, 480)
        assert np.median(np.asarray(picture)) >= 245


@pytest.mark.parametrize(("options", "count"), [(("--num=7",), 7), (("--interpolate=3",), 3)])
def test_samples_are_coordinates(run, tmp_path, options, count):
    assert commands.sample(run, tmp_path, *options) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["grid.png", "samples.npz"]
    with np.load(tmp_path / "samples.npz") as arrays:
        drawn = arrays["points"]
    assert (drawn.shape, drawn.dtype) == ((count, 2), np.float32)
    assert np.abs(drawn).max() <= 1
    with Image.open(tmp_path / "grid.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), points.scatter(drawn))


def test_a_vae_of_points_trains_and_has_no_pictures_to_rebuild(tmp_path, capsys):
    vae = ("algorithm.likelihood=gaussian", "algorithm.binarize=none", "data.name=ring")
    assert commands.train(tmp_path / "run", "vae_digits.py:test", *vae) == 0
    assert not (tmp_path / "run" / "reconstructions").exists()
    assert commands.sample(tmp_path / "run", tmp_path / "out", "--reconstruct=a.png") == 2
    assert "--reconstruct: the run is about points" in capsys.readouterr().err
