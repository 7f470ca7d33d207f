"""The law of binarised pixels, and whose key they depend on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax import core
from aigc_jax.vae import binarization


def test_binarized_pixels_are_white_as_often_as_they_are_bright():
    grey = np.linspace(-1, 1, 5, dtype=np.float32).reshape(1, 5, 1, 1)
    n = 20_000
    keys = core.example_keys(jax.random.key(0), n)
    drawn = np.asarray(binarization.binarize(keys, jnp.broadcast_to(grey, (n, 5, 1, 1))))
    assert set(np.unique(drawn)) == {-1.0, 1.0}
    p = (grey[0] + 1) / 2
    error = np.sqrt(p * (1 - p) / n)
    assert (np.abs((drawn.mean(0) + 1) / 2 - p) <= 4 * error).all()


def test_binarisation_depends_on_an_examples_own_key_only():
    keys, image = core.example_keys(jax.random.key(0), 5), np.zeros((5, 4, 3, 2), np.float32)
    whole = binarization.binarize(keys, image)
    np.testing.assert_array_equal(binarization.binarize(keys[2:], image[2:]), whole[2:])
    assert (whole[0] != whole[1]).any()


def test_binarize_option():
    assert binarization.is_dynamic("dynamic", binary=True)
    assert not binarization.is_dynamic("none", binary=False)
    with pytest.raises(ValueError, match='"none" and "dynamic"'):
        binarization.is_dynamic("static", binary=True)
    with pytest.raises(ValueError, match="binary pixels"):
        binarization.is_dynamic("dynamic", binary=False)
