"""What a trained generator is used for: samples, given latents, and ways between two of them."""

from typing import Annotated

import jax
import jax.numpy as jnp

from aigc_jax import core
from aigc_jax.core import Batch, State
from aigc_jax.gan.game import Game, variables
from aigc_jax.ranges import at_least


def sample(
    game: Game,
    state: State,
    keys: jax.Array,
    cond: Batch,
    *,
    truncation: Annotated[float, at_least(0)] = 1.0,
) -> Batch:
    """Images [n, H, W, C], one per key, with their labels when conditional.

    `truncation` scales the latents, z = truncation * N(0, I), towards their mean: below 1 it trades
    variety for typical samples, as StyleGAN's psi does (Karras et al., arXiv 1812.04948).
    """
    z = truncation * core.normal(keys, (game.latent_dim,))
    image = images(game, state, z, cond)
    return {"image": image, "label": cond["label"]} if game.conditional else {"image": image}


def decode(game: Game, state: State, batch: Batch, key: jax.Array) -> Batch:
    """The "image" [B, H, W, C] of each "latent" [B, latent_dim]; conditional ones read "label"."""
    return {"image": images(game, state, batch["latent"], batch)}


def interpolate(game: Game, state: State, batch: Batch, key: jax.Array) -> Batch:
    """The "image" at each "fraction" f [N] of the way between two latents of the key.

    z = cos(pi f / 2) z_0 + sin(pi f / 2) z_1: independent normals keep their law all along it.
    Conditional ones read "label" [N].
    """
    start, end = core.normal(core.example_keys(key, 2), (game.latent_dim,))
    angle = 0.5 * jnp.pi * batch["fraction"][:, None]
    return {"image": images(game, state, jnp.cos(angle) * start + jnp.sin(angle) * end, batch)}


def images(game: Game, state: State, z: jax.Array, batch: Batch) -> jax.Array:
    """Images [B, H, W, C] in [-1, 1] of latents z [B, latent_dim]."""
    label = batch["label"] if game.conditional else None
    return game.generator.apply(variables(state, "generator"), z, label, train=False)
