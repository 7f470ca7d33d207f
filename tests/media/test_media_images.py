"""Pictures keep their pixels, place and bytes."""

import time

import numpy as np
import pytest
from PIL import Image

from aigc_jax.media import images as media
from aigc_jax.media import provenance

MARK = provenance.mark(run="runs/é", step=7, config_digest="abc", seed=1)


def levels(shape, seed=0):
    """Random uint8 pixels, and the same in [-1, 1]."""
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    return pixels, pixels.astype(np.float32) / 127.5 - 1


def test_every_level_survives_and_values_outside_are_clipped():
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    np.testing.assert_array_equal(media.to_uint8(ramp.astype(np.float32) / 127.5 - 1), ramp)
    outside = np.array([-3.0, -1, 0, 1, 3]).reshape(1, 1, 5, 1)
    np.testing.assert_array_equal(media.to_uint8(outside).ravel(), [0, 0, 128, 255, 255])


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(("size", "factor"), [(8, 8), (28, 3), (32, 2), (64, 1), (70, 1)])
def test_grid_shows_picture_i_in_row_major_place(size, factor, channels):
    slope = np.linspace(-0.5, 0.5, size)[:, None, None] * np.ones((size, size, channels))
    images = np.stack([slope + 0.1 * i for i in range(5)])
    canvas = media.grid(images, columns=3)
    tile = size * factor
    assert tile >= 64
    assert canvas.shape == (2 * (tile + 2) + 2, 3 * (tile + 2) + 2, channels)
    for i in range(5):
        top, left = 2 + i // 3 * (tile + 2), 2 + i % 3 * (tile + 2)
        shown = canvas[top : top + tile, left : left + tile].astype(float)
        blocks = shown.reshape(size, factor, size, factor, channels).mean((1, 3))
        np.testing.assert_allclose(blocks, media.to_uint8(images[i : i + 1])[0], atol=4)
    assert (canvas[-tile:, -tile:] == 255).all()  # the sixth place is empty
    assert (canvas[:2] == 255).all()


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (2, 2), (4, 2), (5, 3), (64, 8), (65, 9)])
def test_grid_is_by_default_no_taller_than_wide(count, columns):
    canvas = media.grid(np.zeros((count, 64, 64, 1)))
    assert canvas.shape[1] == columns * 66 + 2
    assert canvas.shape[0] == -(-count // columns) * 66 + 2


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_written_pictures_hold_the_pixels_and_the_mark(tmp_path, channels):
    pixels, images = levels((3, 9, 8, channels))
    written = media.write_images(tmp_path, images, MARK, {"label": [4, 5, 6]})
    names = ["grid.png", "000.png", "001.png", "002.png", "samples.npz"]
    assert [path.name for path in written] == names
    for i in range(3):
        with Image.open(tmp_path / f"00{i}.png") as picture:
            np.testing.assert_array_equal(np.asarray(picture).reshape(9, 8, channels), pixels[i])
        assert provenance.read(tmp_path / f"00{i}.png") == {**MARK, "index": i, "label": 4 + i}
    with np.load(tmp_path / "samples.npz", allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["images"], pixels)
        np.testing.assert_array_equal(arrays["label"], [4, 5, 6])
    assert provenance.read(tmp_path / "grid.png") == MARK
    assert provenance.read(tmp_path / "samples.npz") == MARK


def test_the_same_call_writes_the_same_bytes_at_another_time(tmp_path, monkeypatch):
    _, images = levels((2, 8, 8, 3))
    first = media.write_images(tmp_path / "a", images, MARK)
    later = time.time() + 10**7
    monkeypatch.setattr(time, "time", lambda: later)
    second = media.write_images(tmp_path / "b", images, dict(reversed(MARK.items())))
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_picture_i_has_the_same_bytes_whatever_follows_it(tmp_path):
    _, images = levels((4, 8, 8, 1))
    media.write_images(tmp_path / "four", images, MARK)
    media.write_images(tmp_path / "two", images[:2], MARK)
    for name in ("000.png", "001.png"):
        assert (tmp_path / "four" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize("shape", [(8, 8, 1), (2, 8, 8, 0), (2, 8, 8)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"accepted are \[N, H, W, C\]"):
        media.to_uint8(np.zeros(shape))


@pytest.mark.parametrize("channels", [2, 5])
def test_channels_that_are_no_colours_stand_beside_each_other(tmp_path, channels):
    pixels, images = levels((3, 9, 8, channels))
    media.write_images(tmp_path, images, MARK)
    with Image.open(tmp_path / "001.png") as picture:
        shown = np.asarray(picture)
    for c in range(channels):
        np.testing.assert_array_equal(shown[:, 8 * c : 8 * c + 8], pixels[1, ..., c])
    with np.load(tmp_path / "samples.npz") as stored:
        np.testing.assert_array_equal(stored["images"], pixels)
    assert media.grid(images).shape[-1] == 1


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="not finite"):
        media.to_uint8(np.full((1, 8, 8, 1), np.nan))
