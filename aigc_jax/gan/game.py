"""What the parts of the GAN share: the players, and how they are called."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from aigc_jax.core import Example, PyTree, State
from aigc_jax.schedules import Schedule


class Game(NamedTuple):
    """The players, their loss and how they take turns; see `gan.algorithm.make`."""

    generator: nn.Module
    discriminator: nn.Module  # of packs
    tx: Mapping[str, optax.GradientTransformation]
    loss: Callable
    penalties: Mapping[Callable, Schedule]
    latent_dim: int
    n_critic: int
    accumulate: int
    conditional: bool
    pack: int


def blank(example: Example, latent_dim: int, conditional: bool, count: int) -> tuple:
    """Latents, labels or None, and images of `count` examples, all zero."""
    label = jnp.zeros(count, jnp.int32) if conditional else None
    shape = example.batch["image"].shape[1:]
    return jnp.zeros((count, latent_dim)), label, jnp.zeros((count, *shape))


def apply(
    network: nn.Module,
    params: PyTree,
    mutable: PyTree,
    x: jax.Array,
    label: jax.Array | None,
    dropout_key: jax.Array,
) -> tuple[Any, PyTree]:
    """(output, mutable collections afterwards) of a network in training."""
    variables, rngs = {"params": params, **mutable}, {"dropout": dropout_key}
    return network.apply(variables, x, label, train=True, mutable=list(mutable), rngs=rngs)


def of(state: State, name: str) -> tuple[PyTree, PyTree]:
    """(params, mutable collections) of one network."""
    return state.params[name], state.mutable.get(name, {})


def variables(state: State, name: str) -> PyTree:
    """Linen variables of one network."""
    return {"params": state.params[name], **state.mutable.get(name, {})}
