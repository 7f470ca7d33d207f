"""What a network of one's own is given, and what it must give back."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from aigc_jax.vae import model


class Regularised(nn.Module):
    """A network of one's own, without a label argument."""

    @nn.compact
    def __call__(self, x, train):
        x = nn.BatchNorm(use_running_average=not train)(nn.Dense(16)(x.reshape(x.shape[0], -1)))
        return nn.Dropout(0.5, deterministic=not train)(x).astype(jnp.bfloat16)


def test_a_network_of_ones_own_trains_with_dropout_and_statistics():
    module, x = Regularised(), jax.random.normal(jax.random.key(0), (6, 2, 2, 1))
    init = model.initialiser("encoder", module, (1, 2, 2, 1), (1, 16), conditional=False)
    variables = init(jax.random.key(1))
    still, statistics = model.apply(module, variables, x, None)
    assert statistics == {}
    assert still.dtype == jnp.float32
    moved, statistics = model.apply(module, variables, x, None, jax.random.key(2))
    other, _ = model.apply(module, variables, x, None, jax.random.key(3))
    assert (moved == 0).any()
    assert not (still == 0).any()
    assert (moved != other).any()
    old = variables["batch_stats"]["BatchNorm_0"]["mean"]
    assert (statistics["batch_stats"]["BatchNorm_0"]["mean"] != old).any()


def test_a_network_that_makes_another_size_is_refused_by_name():
    with pytest.raises(ValueError, match=r"encoder=Regularised.*\(1, 16\).*\(1, 10\)"):
        model.initialiser("encoder", Regularised(), (1, 2, 2, 1), (1, 10), conditional=False)
