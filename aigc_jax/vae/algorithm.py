"""The variational autoencoder (Kingma & Welling 2014, arXiv 1312.6114).

Parameters are keyed "encoder", "decoder" and, where the likelihood learns some, "likelihood". All
values are nats per image. Metrics of `step`: "loss", "elbo", "rate", "distortion", "beta",
"active_units", "grad_norm"; of `eval`: "elbo", "rate", "distortion".

The elbo is always that of beta = 1, without free bits and not importance-weighted, so that
differently trained models compare. Every metric of a step is a mean over its examples, but
active_units: the latent dimensions whose posterior mean varies over the batch by more than 0.01
(Burda et al. 2016, arXiv 1509.00519, with the batch in place of the data set); of microbatches or
the devices of a pmap, the mean count, and of single images none. Evaluation draws one z per image,
so the elbo that it averages is an unbiased estimate. It bounds the likelihood of what the model
sees: of grey images under bernoulli, which are no outcomes of it, and of 8-bit images under a
density, it bounds nothing (the evaluation of a run dequantises these, and refuses those).
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from aigc_jax import core, schedules
from aigc_jax.ranges import at_least, between
from aigc_jax.vae import binarization, checks, heads, likelihoods, networks, objectives
from aigc_jax.vae.model import Model, autoencode, initialisers

NAMES = {
    "encoder": networks,
    "decoder": networks,
    "likelihood": likelihoods,
    "objective": objectives,
    "beta_schedule": schedules,
}

DIRECTIONS = {"elbo": "max", "distortion": "min"}  # whether less or more of a metric is better

ACTIVE = 0.01  # the variance of its posterior mean above which a latent dimension is in use


def make(
    *,
    example: core.Example,
    tx: Mapping[str, optax.GradientTransformation],
    accumulate: int = 1,
    encoder: str | nn.Module = "MlpEncoder",
    decoder: str | nn.Module = "MlpDecoder",
    latent_dim: Annotated[int, at_least(1)] = 20,
    likelihood: str | Callable = "bernoulli",
    binarize: Literal["dynamic", "none"] = "dynamic",
    objective: Callable[..., jax.Array] = objectives.negative_elbo,
    importance_samples: Annotated[int, between(1, 100_000)] = 1,
    beta: Annotated[float, at_least(0)] = 1.0,
    beta_schedule: str | Callable = "constant",
    free_bits: Annotated[float, at_least(0)] = 0.0,
    conditional: bool = False,
    axis_name: str | None = None,
) -> core.Algorithm:
    """A VAE with a diagonal Gaussian posterior and a standard normal prior.

    Its heads are those of `heads`: encode, decode, reconstruct, interpolate, log_weights.

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
      objective: "negative_elbo", "importance_weighted" or a function like those of `objectives`.
      importance_samples: K, the draws of z per image in a step, all through one decoder call.
      beta: weight of the rate.
      beta_schedule: `(beta) -> (step -> f32 [])`.
      free_bits: nats that each latent dimension may carry for nothing, averaged over the batch.
      conditional: whether encoder and decoder get the label.
      axis_name: the axis of devices that each see a part of the batch, None if all is one batch.

    Raises:
      ValueError: an option or a network does not fit the images or the other options.
    """
    checks.options(example.batch, example.num_classes, conditional)
    checks.free_bits(free_bits, objective, accumulate, axis_name)
    if "latent_dim" in getattr(encoder, "__dataclass_fields__", ()):
        encoder = encoder.clone(latent_dim=latent_dim)
    law = likelihood()
    dynamic = binarization.is_dynamic(binarize, law.binary)
    model = Model(encoder, decoder, law, latent_dim, dynamic, conditional)
    inits = initialisers(model, example)
    beta_at = schedules.course(beta_schedule, beta, "beta_schedule")
    minimised = partial(objective, free_bits=free_bits) if free_bits else objective

    def loss(params, mutable, batch, keys, step):
        terms, posterior, mutable = autoencode(
            model, params, mutable, batch, keys, draws=importance_samples, train=True
        )
        weight = beta_at(step)
        metrics = jax.tree.map(jnp.mean, bound(terms))
        metrics["beta"] = weight
        if len(posterior.mu) > 1:
            metrics["active_units"] = active_units(posterior.mu)
        return minimised(terms, beta=weight), (metrics, mutable)

    def evaluate(state, batch, key):
        keys = core.example_keys(key, batch["image"].shape[0])
        return bound(autoencode(model, state.params, state.mutable, batch, keys, train=False)[0])

    algorithm = core.from_loss(
        loss,
        inits,
        tx,
        eval=evaluate,
        sample=partial(heads.sample, model),
        heads=heads.heads_of(model),
        conditions=("label",) if conditional else (),
        accumulate=accumulate,
    )
    return algorithm._replace(law=law_of(model))


def law_of(model: Model) -> str:
    """What the model's importance weights are of, one of `evaluation.weights.LAWS`."""
    if model.binarize:
        return "binarised"
    law = model.likelihood
    return "binary" if law.binary else "discrete" if law.discrete else "density"


def bound(terms: objectives.Terms) -> dict[str, jax.Array]:
    """The evidence lower bound elbo = -(rate + distortion) <= log p(x) and its parts, nats [B]."""
    distortion, rate = terms.distortion.mean(1), terms.kl.sum(-1)
    return {"elbo": -(rate + distortion), "rate": rate, "distortion": distortion}


def active_units(mu: jax.Array) -> jax.Array:
    """How many latent dimensions have a posterior mean [B, D] that varies over the batch, f32."""
    return (mu.var(0) > ACTIVE).sum().astype(jnp.float32)
