"""Adversarial losses against values written out by hand."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.gan import losses

REAL = np.array([2.0, -1.0, 0.5, 0.0])
FAKE = np.array([-3.0, 1.5, 0.25, -0.5])


def log_sigmoid(x):
    return -np.log1p(np.exp(-x))


BY_HAND = {
    "non_saturating": (
        -np.mean(log_sigmoid(REAL)) - np.mean(np.log(1 - 1 / (1 + np.exp(-FAKE)))),
        -np.mean(log_sigmoid(FAKE)),
    ),
    # ((1 + 4 + 1/4 + 1) + (9 + 9/4 + 1/16 + 1/4)) / 8 and (16 + 1/4 + 9/16 + 9/4) / 8
    "least_squares": ((6.25 + 11.5625) / 8, 19.0625 / 8),
    # (0 + 2 + 1/2 + 1) / 4 + (0 + 5/2 + 5/4 + 1/2) / 4
    "hinge": (3.5 / 4 + 4.25 / 4, 1.75 / 4),
    "relativistic": (-np.mean(log_sigmoid(REAL - FAKE)), -np.mean(log_sigmoid(FAKE - REAL))),
    "wasserstein": (-1.75 / 4 - 1.5 / 4, 1.75 / 4),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_losses_equal_the_values_written_by_hand(name):
    got = getattr(losses, name)(jnp.array(REAL), jnp.array(FAKE))
    np.testing.assert_allclose(got, BY_HAND[name], rtol=1e-5)


@pytest.mark.parametrize("name", BY_HAND)
def test_losses_are_float32_scalars_for_any_logits(name):
    logits = jnp.array(REAL, jnp.bfloat16)
    for loss in getattr(losses, name)(logits, -logits):
        chex.assert_shape(loss, ())
        assert loss.dtype == jnp.float32


@pytest.mark.parametrize("name", BY_HAND)
def test_discriminator_descends_apart_and_generator_descends_up(name):
    loss = getattr(losses, name)
    real, fake = jnp.zeros(4), jnp.zeros(4)
    to_real, to_fake = jax.grad(lambda r, f: loss(r, f)[0], argnums=(0, 1))(real, fake + 0.1)
    assert (to_real < 0).all()
    assert (to_fake > 0).all()
    assert (jax.grad(lambda f: loss(real, f)[1])(fake) < 0).all()


def test_relativistic_logits_count_by_their_differences_alone():
    values = losses.relativistic(jnp.array(REAL), jnp.array(FAKE))
    np.testing.assert_allclose(
        losses.relativistic(jnp.array(REAL + 7), jnp.array(FAKE + 7)), values, rtol=1e-5
    )
    # The pairs are rows: in another order there are other differences.
    assert abs(losses.relativistic(jnp.array(REAL), jnp.array(FAKE[::-1]))[0] - values[0]) > 1e-2


def test_non_saturating_survives_extreme_logits():
    values = jax.jit(losses.non_saturating)(jnp.array([-1e4]), jnp.array([1e4]))
    np.testing.assert_allclose(values, (2e4, 0.0), atol=1e-6)
