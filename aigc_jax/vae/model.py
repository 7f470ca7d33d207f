"""One autoencoder's parts, the terms that it makes of a batch, and how its networks are called."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from aigc_jax import core
from aigc_jax.vae import binarization, bottlenecks, likelihoods
from aigc_jax.vae.bottlenecks import Posterior
from aigc_jax.vae.objectives import Terms

# What an example's key is folded with for each use of it.
BINARIZE, POSTERIOR, DROPOUT = 0, 1, 2


class Model(NamedTuple):
    """The parts of one autoencoder."""

    encoder: nn.Module
    decoder: nn.Module
    likelihood: likelihoods.Likelihood
    latent_dim: int
    binarize: bool
    conditional: bool


def autoencode(
    model: Model,
    params: Any,
    mutable: Any,
    batch: core.Batch,
    keys: jax.Array,
    *,
    draws: int = 1,
    train: bool,
) -> tuple[Terms, Posterior, Any]:
    """(terms, q(z | x), new statistics) for some `draws` z ~ q(z | x) of each image."""
    image, label = looked_at(model, batch, keys), label_of(model, batch)
    key = jax.random.fold_in(keys[0], DROPOUT)
    encoder_key, decoder_key = jax.random.split(key) if train else (None, None)
    encoder = variables(params, mutable, "encoder")
    h, encoder_new = apply(model.encoder, encoder, image, label, encoder_key)
    posterior = bottlenecks.diagonal_gaussian(h)
    eps = core.normal(fold(keys, POSTERIOR), (draws, model.latent_dim))
    terms, decoder_new = terms_of(
        model, params, mutable, posterior, eps, image, label, key=decoder_key
    )
    statistics = {"encoder": encoder_new, "decoder": decoder_new}
    return terms, posterior, {k: v for k, v in statistics.items() if v}


def terms_of(
    model: Model,
    params: Any,
    mutable: Any,
    posterior: Posterior,
    eps: jax.Array,
    image: jax.Array,
    label: jax.Array | None,
    *,
    key: jax.Array | None = None,
) -> tuple[Terms, Any]:
    """(terms, new statistics of the decoder) for the noise `eps` [B, K, D] of K draws each.

    The decoder is called once, with B * K latents; `key` is for its dropout in training.
    """
    draws = eps.shape[1]
    z = bottlenecks.reparameterize(jax.tree.map(lambda x: x[:, None], posterior), eps)
    labels = None if label is None else jnp.repeat(label, draws)
    decoder = variables(params, mutable, "decoder")
    # Images stay the slower axis, so that a batch divided over devices stays where it is.
    out, new = apply(model.decoder, decoder, z.reshape(-1, model.latent_dim), labels, key)
    log_prob = partial(model.likelihood.log_prob, params.get("likelihood", {}))
    out = out.reshape(-1, draws, *image.shape[1:])
    distortion = -jax.vmap(log_prob, (1, None), 1)(out, image)
    log_ratio = bottlenecks.log_ratio(posterior, eps, z)
    return Terms(distortion, bottlenecks.kl(posterior), log_ratio), new


def looked_at(model: Model, batch: core.Batch, keys: jax.Array) -> jax.Array:
    """The images that the model is of: binarised by their keys [B] where it is dynamic."""
    if not model.binarize:
        return batch["image"]
    return binarization.binarize(fold(keys, BINARIZE), batch["image"])


def posterior_of(
    model: Model, state: core.State, image: jax.Array, label: jax.Array | None
) -> Posterior:
    """q(z | x) of images as they are."""
    encoder = variables(state.params, state.mutable, "encoder")
    h, _ = apply(model.encoder, encoder, image, label)
    return bottlenecks.diagonal_gaussian(h)


def variables(params: Any, mutable: Any, name: str) -> dict[str, Any]:
    """The Linen variables of one network."""
    return {"params": params[name], **mutable.get(name, {})}


def apply(
    module: nn.Module,
    variables: Mapping[str, Any],
    x: jax.Array,
    label: jax.Array | None,
    dropout: jax.Array | None = None,
) -> tuple[jax.Array, Any]:
    """(output f32, new statistics) of a network; given a dropout key, it is in training."""
    train = dropout is not None
    out, statistics = module.apply(
        variables,
        *(x,) if label is None else (x, label),
        train=train,
        mutable=[name for name in variables if name != "params"] if train else [],
        rngs={"dropout": dropout} if train else {},
    )
    return out.astype(jnp.float32), statistics


def label_of(model: Model, batch: core.Batch) -> jax.Array | None:
    """The labels i32 [B] that the networks get."""
    return batch["label"] if model.conditional else None


def fold(keys: jax.Array, use: int | jax.Array) -> jax.Array:
    """Each example's key for one use, [B]."""
    return jax.vmap(jax.random.fold_in, (0, None))(keys, use)


def initialisers(model: Model, example: core.Example) -> dict[str, Callable]:
    """{network: (key) -> Linen variables}; raises ValueError when a network makes another size."""
    image = (1, *example.batch["image"].shape[1:])
    latent, moments = (1, model.latent_dim), (1, 2 * model.latent_dim)
    checked = partial(initialiser, conditional=model.conditional)
    inits = {
        "encoder": checked("encoder", model.encoder, image, moments),
        "decoder": checked("decoder", model.decoder, latent, image),
    }
    law = model.likelihood.params
    if law:
        inits["likelihood"] = lambda key: {"params": {k: jnp.float32(v) for k, v in law.items()}}
    return inits


def initialiser(
    name: str,
    module: nn.Module,
    shape: Sequence[int],
    out_shape: Sequence[int],
    *,
    conditional: bool,
) -> Callable:
    """`(key) -> variables` of a network that maps f32 `shape` to `out_shape`.

    Raises:
      ValueError: its output has another shape. Nothing is computed or compiled to find out.
    """

    def draw(key):
        label = (jnp.zeros(1, jnp.int32),) if conditional else ()
        return module.init_with_output(key, jnp.zeros(shape), *label, train=False)

    made = jax.eval_shape(lambda: draw(jax.random.key(0))[0]).shape
    if made != tuple(out_shape):
        raise ValueError(
            f"{name}={type(module).__name__} maps {tuple(shape)} to {made}; the model needs "
            f"{tuple(out_shape)}: [B, 2 latent_dim] from an encoder, images from a decoder"
        )
    return lambda key: draw(key)[1]
