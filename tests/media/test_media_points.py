"""Scatter plots show points where they are, and darker where there are more."""

import numpy as np
import pytest
from PIL import Image

from aigc_jax.media import images, points, provenance

MARK = provenance.mark(run="run", step=7, config_digest="abc", seed=1)


def darkest(picture):
    """(row, column) of the darkest pixel."""
    return np.unravel_index(picture.sum(-1).argmin(), picture.shape[:2])


@pytest.mark.parametrize(("x", "y"), [(0.0, 0.0), (0.5, -0.25), (-0.9, 0.9), (1.0, 1.0)])
def test_a_point_is_shown_at_its_place_with_y_upwards(x, y):
    picture = points.scatter(np.array([[x, y]]), size=300)
    assert (picture.shape, picture.dtype) == ((300, 300, 3), np.uint8)
    row, column = darkest(picture)
    reach = points.REACH
    assert abs(column - (x / reach + 1) / 2 * 299) <= 1
    assert abs(row - (1 - y / reach) / 2 * 299) <= 1


def test_the_plot_without_points_is_a_light_box_and_darkens_where_they_lie():
    empty = points.scatter(np.zeros((0, 2)))
    assert empty.shape == (480, 480, 3)
    assert np.median(empty) >= 245
    low, high = 18, 461  # +-1 on the axes
    frame = points.FRAME
    for line in (empty[low, 100], empty[high, 100], empty[100, low], empty[100, high]):
        np.testing.assert_array_equal(line, frame)
    one, many = (points.scatter(np.tile([[0.4, 0.4]], (n, 1))) for n in (1, 9))
    assert (many <= one).all()
    assert many.sum() < one.sum() < empty.sum()


def test_points_far_outside_are_left_out_and_bad_ones_refused():
    empty = points.scatter(np.zeros((0, 2)))
    np.testing.assert_array_equal(points.scatter(np.array([[0.0, 5.0], [-5.0, 0.0]])), empty)
    with pytest.raises(ValueError, match=r"points of shape \(3,\): accepted are \[N, 2\]"):
        points.scatter(np.zeros(3))
    with pytest.raises(ValueError, match="not finite"):
        points.scatter(np.array([[0.0, np.nan]]))


def test_an_overview_is_a_scatter_plot_of_points_and_a_grid_of_others():
    drawn = np.random.default_rng(0).uniform(-1, 1, (9, 1, 1, 2))
    np.testing.assert_array_equal(points.overview(drawn), points.scatter(drawn.reshape(9, 2)))
    pictures = np.zeros((4, 8, 8, 1))
    np.testing.assert_array_equal(points.overview(pictures), images.grid(pictures))


@pytest.mark.parametrize("labels", [None, [2, 0, 1]])
def test_written_points_are_a_picture_and_their_coordinates_with_the_mark(tmp_path, labels):
    drawn = np.random.default_rng(0).uniform(-1, 1, (3, 1, 1, 2)).astype(np.float32)
    written = points.write(tmp_path, drawn, MARK, {} if labels is None else {"label": labels})
    assert [path.name for path in written] == ["grid.png", "samples.npz"]
    with Image.open(tmp_path / "grid.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), points.overview(drawn))
    with np.load(tmp_path / "samples.npz") as arrays:
        np.testing.assert_array_equal(arrays["points"], drawn.reshape(3, 2))
        assert ("label" in arrays) == (labels is not None)
        assert labels is None or arrays["label"].tolist() == labels
    assert all(provenance.read(path) == MARK for path in written)


def test_other_samples_are_written_as_images(tmp_path):
    pictures = np.zeros((2, 8, 8, 1))
    names = [path.name for path in points.write(tmp_path, pictures, MARK)]
    assert names == ["grid.png", "000.png", "001.png", "samples.npz"]
