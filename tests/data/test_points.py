"""Points of the plane: the mixtures the papers name, drawn the same every time, found by name."""

import inspect
import re
import subprocess
import sys

import numpy as np
import pytest

from aigc_jax import preprocess
from aigc_jax.data import load, points
from aigc_jax.metrics import modes

# The protocols' means in the complex plane, and deviations.
LINE = np.array([-4, -2, 0, 2, 4])
MIXTURES = {
    "ring": (2 * np.exp(2j * np.pi * np.arange(8) / 8), 0.01),
    "grid": ((LINE[:, None] + 1j * LINE).reshape(-1), 0.05),
}


@pytest.mark.parametrize("name", list(MIXTURES))
def test_the_points_are_of_the_mixture_that_is_counted(name):
    complex_means, deviation = MIXTURES[name]
    means = np.stack([complex_means.real, complex_means.imag], axis=-1)
    loaded, scale = load.load({"name": name}), points.SETS[name]().scale
    assert loaded.info == load.describe({"name": name})
    assert loaded.info.num_classes == len(means)
    for split, length in ((loaded.train, 100_000), (loaded.eval, 10_000)):
        image, label = split.arrays["image"], split.arrays["label"]
        assert (image.shape, image.dtype) == ((length, 1, 1, 2), np.float32)
        assert (label.shape, label.dtype) == ((length,), np.int32)
        assert np.abs(image).max() < 0.9
        offsets = scale * image.reshape(-1, 2) - means[label]
        np.testing.assert_allclose(offsets.std(axis=0), deviation, rtol=0.02)
        np.testing.assert_allclose(offsets.mean(axis=0), 0, atol=5 * deviation / length**0.5)
        shares = np.bincount(label) / length
        np.testing.assert_allclose(shares, 1 / len(means), atol=4 / (length * len(means)) ** 0.5)
    held_out = scale * loaded.eval.arrays["image"].reshape(-1, 2)
    found = modes.gaussian_modes(held_out, means, deviation)
    assert found.found == len(means)
    assert found.high_quality > 0.98
    assert found.reverse_kl < 0.01


def test_every_draw_is_the_same_and_the_splits_share_no_point():
    one, other = load.load({"name": "grid"}), load.load({"name": "grid", "limit": 70})
    np.testing.assert_array_equal(one.train.arrays["image"][:70], other.train.arrays["image"])
    assert other.info.sizes == {"train": 70, "test": 10_000}
    assert other.train.length == 70
    seen, held_out = ({p.tobytes() for p in s.arrays["image"]} for s in (one.train, one.eval))
    assert not seen & held_out


def test_a_batch_reaches_the_players_as_it_is():
    loaded = load.load({"name": "ring"})
    raw = loaded.train.gather(loaded.train.arrays, np.array([3, 0]))
    batch = preprocess.normalise(raw)
    np.testing.assert_array_equal(batch["image"], loaded.train.arrays["image"][[3, 0]])
    np.testing.assert_array_equal(batch["label"], loaded.train.arrays["label"][[3, 0]])


@pytest.mark.parametrize(("key", "value"), [("image_size", 8), ("channels", 1)])
def test_points_have_no_size_and_no_colour(key, value):
    message = re.escape(f"config.data.{key} = {value}: does nothing with data.name = 'grid'")
    with pytest.raises(ValueError, match=message):
        load.describe({"name": "grid", key: value})


def test_nothing_is_prepared_or_imported_for_them(tmp_path):
    code = inspect.cleandoc("""
        import sys
        for name in ("tensorflow_datasets", "grain", "sklearn", "PIL", "jax"):
            sys.modules[name] = None
        from aigc_jax.data import load
        assert load.load({"name": "ring", "limit": 5}).train.length == 5
    """)
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(ValueError, match="did you mean 'grid'"):
        load.describe({"name": "gird", "data_dir": str(tmp_path)})
    assert not list(tmp_path.iterdir())
