"""Uses of a trained autoencoder: samples, codes, images of codes, and importance weights.

Every head is a `core.HeadFn` once the model is bound; what it reads and gives is in its docstring.
In a conditional model all of them read "label" i32 [B].
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from aigc_jax import core
from aigc_jax.vae.model import (
    POSTERIOR,
    Model,
    apply,
    fold,
    label_of,
    looked_at,
    posterior_of,
    terms_of,
    variables,
)


def heads_of(model: Model) -> dict[str, Callable]:
    """{name: `core.HeadFn`} of everything but sampling."""
    made = (encode, decode, reconstruct, interpolate, log_weights)
    return {head.__name__: partial(head, model) for head in made}


def sample(model: Model, state: core.State, keys: jax.Array, cond: core.Batch) -> core.Batch:
    """The likelihood's mean "image" [n, H, W, C] for z ~ N(0, I), one per key."""
    return _decoded(model, state, cond, core.normal(keys, (model.latent_dim,)))


def encode(model: Model, state: core.State, batch: core.Batch, key: jax.Array) -> core.Batch:
    """The posterior's mean "latent" [B, D] and "logvar" [B, D] for each "image" as it is."""
    posterior = posterior_of(model, state, batch["image"], label_of(model, batch))
    return {"latent": posterior.mu, "logvar": posterior.logvar}


def decode(model: Model, state: core.State, batch: core.Batch, key: jax.Array) -> core.Batch:
    """The likelihood's mean "image" for each "latent" [B, D]."""
    return _decoded(model, state, batch, batch["latent"])


def reconstruct(model: Model, state: core.State, batch: core.Batch, key: jax.Array) -> core.Batch:
    """The mean "image" at the posterior mean of each "image".

    The images are encoded as they are, not binarised, so that it is the same every time.
    """
    return _decoded(model, state, batch, encode(model, state, batch, key)["latent"])


def interpolate(model: Model, state: core.State, batch: core.Batch, key: jax.Array) -> core.Batch:
    """The mean "image" [N] at each "fraction" f [N] in [0, 1] between two prior draws a, b.

    On the arc z = cos(pi f / 2) a + sin(pi f / 2) b: unlike those of a straight line, its points
    are distributed as the prior.
    """
    start, end = core.normal(core.example_keys(key, 2), (model.latent_dim,))
    angle = 0.5 * jnp.pi * batch["fraction"][:, None]
    return _decoded(model, state, batch, jnp.cos(angle) * start + jnp.sin(angle) * end)


def log_weights(model: Model, state: core.State, batch: core.Batch, key: jax.Array) -> core.Batch:
    """Importance weights of draws z_k ~ q(z | x), for the bound of arXiv 1509.00519, in nats.

    log_weight [B, K] = log p(x, z_k) - log q(z_k | x); beside it "distortion" [B, K], the "kl"
    [B, D] by dimension, and the posterior mean "latent" [B, D].

    Reads "image" [B, H, W, C], "draw" i32 [K], the numbers of the draws, and "index" i32 [B], those
    of the images (0 .. B - 1 if it is missing). Under dynamic binarisation an image is binarised
    once, for all its draws. Draw k of image i depends on the key, i and k alone: not on how images
    or draws are cut into batches.
    """
    count = batch["image"].shape[0]
    index = batch.get("index", jnp.arange(count))
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, index)
    image, label = looked_at(model, batch, keys), label_of(model, batch)
    posterior = posterior_of(model, state, image, label)
    noise_keys = jax.vmap(fold, (None, 0), 1)(fold(keys, POSTERIOR), batch["draw"])  # [B, K]
    eps = jax.vmap(core.normal, (0, None))(noise_keys, (model.latent_dim,))  # [B, K, D]
    terms, _ = terms_of(model, state.params, state.mutable, posterior, eps, image, label)
    return {
        "log_weight": -terms.distortion - terms.log_ratio,
        "distortion": terms.distortion,
        "kl": terms.kl,
        "latent": posterior.mu,
    }


def _decoded(model: Model, state: core.State, batch: core.Batch, z: jax.Array) -> core.Batch:
    """{"image"}: the means [B, H, W, C] in [-1, 1] of p(x | z) for z [B, D]."""
    decoder = variables(state.params, state.mutable, "decoder")
    out, _ = apply(model.decoder, decoder, z, label_of(model, batch))
    return {"image": model.likelihood.mean(out)}
