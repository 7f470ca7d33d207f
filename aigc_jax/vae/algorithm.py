"""The variational autoencoder (Kingma & Welling 2014, arXiv 1312.6114).

Parameters are keyed "encoder", "decoder" and, where the likelihood learns some, "likelihood". All
values are nats per image. Every metric of a step is a mean over its examples, and evaluation draws
one z per image, so the elbo that it averages is an unbiased estimate. Metrics of `step`: "loss",
"elbo", "rate", "distortion", "beta", "grad_norm"; of `eval`: "elbo", "rate", "distortion".
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from aigc_jax import core, schedules
from aigc_jax.vae import binarization, bottlenecks, likelihoods, networks, objectives

NAMES = {
    "encoder": networks,
    "decoder": networks,
    "likelihood": likelihoods,
    "beta_schedule": schedules,
}

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


def make(
    *,
    example: core.Example,
    tx: Mapping[str, optax.GradientTransformation],
    accumulate: int = 1,
    encoder: str | nn.Module = "MlpEncoder",
    decoder: str | nn.Module = "MlpDecoder",
    latent_dim: int = 20,
    likelihood: str | Callable = "bernoulli",
    binarize: str = "dynamic",
    beta: float = 1.0,
    beta_schedule: str | Callable = "constant",
    free_bits: float = 0.0,
    conditional: bool = False,
    axis_name: str | None = None,
) -> core.Algorithm:
    """A VAE with a diagonal Gaussian posterior and a standard normal prior.

    Args:
      example: a batch with "image" and, if conditional, "label".
      tx: {"model": optimiser}.
      accumulate: microbatches per step.
      encoder: module of `networks`' encoder protocol; gets `latent_dim` if it has such a field.
      decoder: module of `networks`' decoder protocol.
      latent_dim: D, the dimension of z.
      likelihood: `() -> Likelihood`; its arguments are `likelihood_args`.
      binarize: "dynamic" draws black-or-white images anew at every step and evaluation; "none"
        models the grey ones. Results on a statically binarised file are about 2 nats higher.
      beta: weight of the rate.
      beta_schedule: `(beta) -> (step -> f32 [])`.
      free_bits: nats that each latent dimension may carry for nothing, averaged over the batch.
      conditional: whether encoder and decoder get the label.
      axis_name: the axis of devices that each see a part of the batch, None if all is one batch.

    Heads:
      encode: "image" -> "latent" [B, D], the posterior mean, and "logvar" [B, D].
      decode: "latent" -> "image".
      reconstruct: "image" -> "image", through the posterior mean of the image as it is, not
        binarised, so that it is the same every time.
      interpolate: "fraction" f [N] in [0, 1] -> "image" [N] between two prior draws a, b of the
        key, on the arc z = cos(pi f / 2) a + sin(pi f / 2) b: unlike those of a straight line, its
        points are distributed as the prior.
      All but encode give the likelihood's mean, and in a conditional model read "label".

    Raises:
      ValueError: an option or a network does not fit the images or the other options.
    """
    check_options(example, latent_dim, conditional)
    objectives.check_free_bits(free_bits, accumulate, axis_name)
    if "latent_dim" in getattr(encoder, "__dataclass_fields__", ()):
        encoder = encoder.clone(latent_dim=latent_dim)
    law = likelihood()
    dynamic = binarization.is_dynamic(binarize, law.binary)
    model = Model(encoder, decoder, law, latent_dim, dynamic, conditional)
    inits = initialisers(model, example)
    beta_at = beta_schedule(beta)

    def loss(params, mutable, batch, keys, step):
        distortion, kl, mutable = autoencode(model, params, mutable, batch, keys, train=True)
        weight = beta_at(step)
        value = objectives.negative_elbo(distortion, kl, beta=weight, free_bits=free_bits)
        metrics = jax.tree.map(jnp.mean, objectives.bound(distortion, kl.sum(-1)))
        return value, ({**metrics, "beta": weight}, mutable)

    def evaluate(state, batch, key):
        keys = core.example_keys(key, batch["image"].shape[0])
        distortion, kl, _ = autoencode(model, state.params, state.mutable, batch, keys, train=False)
        return objectives.bound(distortion, kl.sum(-1))

    heads = {
        "encode": partial(encode, model),
        "decode": partial(decode, model),
        "reconstruct": partial(reconstruct, model),
        "interpolate": partial(interpolate, model),
    }
    return core.from_loss(
        loss,
        inits,
        tx,
        eval=evaluate,
        sample=partial(sample, model),
        heads=heads,
        conditions=("label",) if conditional else (),
        accumulate=accumulate,
    )


def autoencode(
    model: Model, params: Any, mutable: Any, batch: core.Batch, keys: jax.Array, *, train: bool
) -> tuple[jax.Array, jax.Array, Any]:
    """(-log p(x | z) [B], KL by dimension [B, D], new statistics) for one z ~ q(z | x) each."""
    image, label = batch["image"], label_of(model, batch)
    if model.binarize:
        image = binarization.binarize(fold(keys, BINARIZE), image)
    key = jax.random.fold_in(keys[0], DROPOUT)
    encoder_key, decoder_key = jax.random.split(key) if train else (None, None)
    encoder, decoder = variables(params, mutable, "encoder"), variables(params, mutable, "decoder")
    h, encoder_new = apply(model.encoder, encoder, image, label, encoder_key)
    posterior = bottlenecks.diagonal_gaussian(h)
    eps = core.normal(fold(keys, POSTERIOR), (model.latent_dim,))
    z = bottlenecks.reparameterize(posterior, eps)
    out, decoder_new = apply(model.decoder, decoder, z, label, decoder_key)
    log_prob = model.likelihood.log_prob(params.get("likelihood", {}), out, image)
    statistics = {"encoder": encoder_new, "decoder": decoder_new}
    return -log_prob, bottlenecks.kl(posterior), {k: v for k, v in statistics.items() if v}


def sample(model: Model, state: core.State, keys: jax.Array, cond: core.Batch) -> core.Batch:
    """The likelihood's mean "image" [n, H, W, C] for z ~ N(0, I), one per key."""
    return decoded(model, state, cond, core.normal(keys, (model.latent_dim,)))


def encode(model: Model, state: core.State, batch: core.Batch, key: jax.Array) -> core.Batch:
    """The posterior's mean "latent" [B, D] and "logvar" [B, D] for each "image"; see `make`."""
    posterior = posterior_of(model, state, batch)
    return {"latent": posterior.mu, "logvar": posterior.logvar}


def decode(model: Model, state: core.State, batch: core.Batch, key: jax.Array) -> core.Batch:
    """The mean "image" for each "latent" [B, D]; see `make`."""
    return decoded(model, state, batch, batch["latent"])


def reconstruct(model: Model, state: core.State, batch: core.Batch, key: jax.Array) -> core.Batch:
    """The mean "image" at the posterior mean of each "image"; see `make`."""
    return decoded(model, state, batch, posterior_of(model, state, batch).mu)


def interpolate(model: Model, state: core.State, batch: core.Batch, key: jax.Array) -> core.Batch:
    """The mean "image" at each "fraction" [N] of the way between two prior draws; see `make`."""
    start, end = core.normal(core.example_keys(key, 2), (model.latent_dim,))
    angle = 0.5 * jnp.pi * batch["fraction"][:, None]
    return decoded(model, state, batch, jnp.cos(angle) * start + jnp.sin(angle) * end)


def posterior_of(model: Model, state: core.State, batch: core.Batch) -> bottlenecks.Posterior:
    """q(z | x) of the images of a batch."""
    encoder = variables(state.params, state.mutable, "encoder")
    h, _ = apply(model.encoder, encoder, batch["image"], label_of(model, batch))
    return bottlenecks.diagonal_gaussian(h)


def decoded(model: Model, state: core.State, batch: core.Batch, z: jax.Array) -> core.Batch:
    """{"image"}: the means [B, H, W, C] in [-1, 1] of p(x | z) for z [B, D]."""
    decoder = variables(state.params, state.mutable, "decoder")
    out, _ = apply(model.decoder, decoder, z, label_of(model, batch))
    return {"image": model.likelihood.mean(out)}


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


def fold(keys: jax.Array, use: int) -> jax.Array:
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


def check_options(example: core.Example, latent_dim: int, conditional: bool) -> None:
    """Raises ValueError for data without images, or without labels to be conditional on."""
    if "image" not in example.batch:
        raise ValueError(f"a VAE needs images; this data has {sorted(example.batch)}")
    if conditional and ("label" not in example.batch or example.num_classes < 1):
        raise ValueError("conditional=True: this data has no labels; use conditional=False")
    if latent_dim < 1:
        raise ValueError(f"latent_dim={latent_dim}: must be 1 or more")
