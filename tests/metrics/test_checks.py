"""What metrics accept, and how they say no."""

import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.metrics import checks


def test_keeps_float64_and_pixels_and_makes_everything_else_float32():
    for kept in (np.float64, np.uint8):
        assert checks.features(np.zeros((2, 3), kept), "x", "m").dtype == kept
    for values in (jnp.zeros((2, 3), jnp.bfloat16), np.zeros((2, 3), np.int8), [[1, 2]]):
        assert checks.features(values, "x", "m").dtype == np.float32


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4), (0, 3), (3, 0)])
def test_refuses_what_is_not_samples_by_dimensions(shape):
    with pytest.raises(ValueError, match=r"x of shape .*: m needs \[samples, dimensions\]"):
        checks.features(np.zeros(shape), "x", "m")


def test_counts_the_values_that_are_not_finite():
    values = np.zeros((5, 4))
    values[1, :2], values[3, 0] = np.nan, np.inf
    with pytest.raises(ValueError, match="x: 3 of 20 values are NaN or infinite, in 2 of 5"):
        checks.features(values, "x", "m")


def test_refuses_different_dimensions():
    with pytest.raises(ValueError, match="x has 2 dimensions and y has 3"):
        checks.pair(np.zeros((4, 2)), np.zeros((4, 3)), ("x", "y"), "m")


def test_says_the_rule_of_the_least_number():
    checks.enough(np.zeros((3, 1)), "x", "m", 3, "so")
    with pytest.raises(ValueError, match="x of 3 samples: m needs at least 4, one more than k"):
        checks.enough(np.zeros((3, 1)), "x", "m", 4, "one more than k")
