"""Reduction, beta and free bits of the objective, against hand-written values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.vae import objectives

DISTORTION = jnp.array([10.0, 20.0])
KL = jnp.array([[1.0, 0.1, 0.0], [3.0, 0.3, 0.0]])


def test_rate_is_summed_over_dimensions_and_averaged_over_the_batch():
    np.testing.assert_allclose(objectives.negative_elbo(DISTORTION, KL), 15 + 2.2, rtol=1e-6)
    np.testing.assert_allclose(
        objectives.negative_elbo(DISTORTION, KL, beta=4.0), 15 + 4 * 2.2, rtol=1e-6
    )


def test_without_beta_the_rate_has_no_gradient():
    slope = jax.grad(lambda kl: objectives.negative_elbo(DISTORTION, kl, beta=0.0))(KL)
    np.testing.assert_array_equal(slope, 0.0)


def test_free_bits_are_paid_for_only_above_them():
    value = objectives.negative_elbo(DISTORTION, KL, free_bits=0.5)
    np.testing.assert_allclose(value, 15 + 2.0 + 0.5 + 0.5, rtol=1e-6)
    slope = jax.grad(lambda kl: objectives.negative_elbo(DISTORTION, kl, free_bits=0.5))(KL)
    np.testing.assert_allclose(slope, [[0.5, 0, 0], [0.5, 0, 0]])


def test_free_bits_look_at_the_mean_over_the_batch():
    kl = jnp.array([[0.0], [1.2]])
    np.testing.assert_allclose(objectives.negative_elbo(jnp.zeros(2), kl, free_bits=0.5), 0.6)


def test_bound_is_the_evidence_lower_bound_by_example():
    values = objectives.bound(DISTORTION, KL.sum(-1))
    np.testing.assert_allclose(values["elbo"], [-11.1, -23.3], rtol=1e-6)
    np.testing.assert_allclose(values["elbo"], -(values["rate"] + values["distortion"]))


def test_free_bits_need_the_batch_in_one_piece():
    objectives.check_free_bits(0.0, accumulate=4, axis_name="data")
    objectives.check_free_bits(0.5, accumulate=1, axis_name=None)
    with pytest.raises(ValueError, match="accumulate=4"):
        objectives.check_free_bits(0.5, accumulate=4, axis_name=None)
    with pytest.raises(ValueError, match="pmap"):
        objectives.check_free_bits(0.5, accumulate=1, axis_name="data")
    with pytest.raises(ValueError, match="free_bits=-1"):
        objectives.check_free_bits(-1.0, accumulate=1, axis_name=None)
