"""The adversarial game: a generator and a discriminator that learn against each other in turn.

One step is `n_critic` discriminator updates, each on its own real examples and its own noise, and
then one generator update with noise of its own. Metrics, means over the batch and over the critic
updates of a step:

- `d_loss`, `g_loss`: the losses without penalties; `d_real`, `d_fake`: logits in the
  discriminator's updates;
- one per penalty, under its function's name, before its weight;
- `d_grad_norm`, `g_grad_norm`: global norms before clipping;
- `d_real_sign`, `d_fake_sign`: mean signs of the logits in the discriminator's updates, 1 and -1
  where it is sure of every image; they say nothing under a relativistic loss, which leaves the
  level of the logits open;
- `fake_distance`: the root-mean-square pairwise distance of the generator's batch over that of the
  real batch, 1 in health and towards 0 in collapse; the mean of that of each microbatch, and not
  there for a microbatch of one image.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from aigc_jax import core, schedules
from aigc_jax.core import Algorithm, Batch, Example, Metrics, PyTree, State
from aigc_jax.gan import checks, health, losses, networks, packing, penalties, sampling
from aigc_jax.gan.game import Game, apply, blank, of, variables
from aigc_jax.ranges import at_least, needs

NAMES = {
    "generator": networks,
    "discriminator": networks,
    "loss": losses,
    "penalties": penalties,
    "penalties_schedule": schedules,
}
# The optimisers, and the option that counts the updates of each in one step.
OPTIMIZERS = {"generator": "", "discriminator": "n_critic"}


def make(
    *,
    example: Example,
    tx: Mapping[str, optax.GradientTransformation],
    accumulate: int = 1,
    generator: str | nn.Module = "DcganGenerator",
    discriminator: str | nn.Module = "DcganDiscriminator",
    loss: str | Callable = "non_saturating",
    latent_dim: Annotated[int, at_least(1)] = 100,
    n_critic: Annotated[int, at_least(1)] = 1,
    penalties: Annotated[Mapping[Callable, float], at_least(0)] = {},
    penalties_schedule: Annotated[str | Callable, needs("penalties")] = "constant",
    conditional: bool = False,
    pack: Annotated[int, at_least(1)] = 1,
) -> Algorithm:
    """A generative adversarial network (Goodfellow et al., arXiv 1406.2661).

    Args:
      example: what a batch looks like; `num_classes` is asked for by `conditional`.
      tx: {"generator": optimiser, "discriminator": optimiser}.
      accumulate: microbatches per update, of both players.
      generator: a module as `gan.networks` describes it.
      discriminator: likewise.
      loss: (real logits, fake logits) -> (d_loss, g_loss), as in `gan.losses`.
      latent_dim: size of the standard normal latent z.
      n_critic: discriminator updates per generator update. A step consumes n_critic * B examples,
        row b * n_critic + j in the j-th update.
      penalties: {penalty: weight} of functions as in `gan.penalties`; {"r1": 10.0} in a config.
      penalties_schedule: weight -> (step -> weight), as in `schedules`.
      conditional: whether both players see the labels.
      pack: images that the discriminator judges together, as in `gan.packing`. They are neighbours
        in their microbatch, so that other values of `accumulate` make other packs.

    Raises:
      ValueError: for `conditional` on data without labels or with packs, a microbatch that is no
        whole number of packs, networks of other shapes, or a penalty on a discriminator with batch
        normalisation.
    """
    checks.options(example.batch, example.num_classes, conditional)
    checks.packs(pack, example.batch["image"].shape[0] // accumulate, conditional)
    discriminator = packing.judging(discriminator, pack)
    z, label, image = jax.eval_shape(lambda: blank(example, latent_dim, conditional, pack))
    packed = jax.eval_shape(packing.pack(pack), image)
    checks.shapes(generator, discriminator, z, label, image, packed)
    names = [penalty.__name__ for penalty in penalties]
    checks.penalties(names, discriminator, packed, label)
    course = partial(schedules.course, penalties_schedule, option="penalties_schedule")
    weights = {penalty: course(weight) for penalty, weight in penalties.items()}
    turns = (latent_dim, n_critic, accumulate, conditional, pack)
    game = Game(generator, discriminator, tx, loss, weights, *turns)
    return Algorithm(
        init=partial(init, game, example),
        step=partial(step, game),
        eval=partial(evaluate, game),
        sample=partial(sampling.sample, game),
        heads={
            "decode": partial(sampling.decode, game),
            "interpolate": partial(sampling.interpolate, game),
        },
        conditions=("label",) if conditional else (),
        batches_per_step=n_critic,
    )


def init(game: Game, example: Example, key: jax.Array) -> State:
    """Draws both networks, keyed "generator" and "discriminator" throughout the state."""
    g_key, d_key = jax.random.split(key)
    z, label, image = blank(example, game.latent_dim, game.conditional, game.pack)
    packed = packing.pack(game.pack)(image)
    params, mutable = core.split_variables(
        {
            "generator": game.generator.init(g_key, z, label, train=False),
            "discriminator": game.discriminator.init(d_key, packed, label, train=False),
        }
    )
    return core.new_state(params, {k: game.tx[k].init(params[k]) for k in params}, mutable)


def step(game: Game, state: State, batch: Batch, key: jax.Array) -> tuple[State, Metrics]:
    """n_critic discriminator updates on a piece of the batch each, then one generator update."""
    d_key, g_key = jax.random.split(key)
    d_keys = jax.random.split(d_key, game.n_critic)
    batch = {k: batch[k] for k in (("image", "label") if game.conditional else ("image",))}
    if game.n_critic == 1:  # not a scan of one: convolutions in a scan are 6-8 times slower on CPU
        state, d_metrics = discriminator_step(game, state, batch, d_keys[0])
    else:
        pieces = {k: _interleaved(x, game.n_critic) for k, x in batch.items()}
        turn = lambda state, piece: discriminator_step(game, state, *piece)
        state, d_metrics = jax.lax.scan(turn, state, (pieces, d_keys))
        d_metrics = {k: jnp.mean(v) for k, v in d_metrics.items()}
        batch = {k: x[-1] for k, x in pieces.items()}
    state, g_metrics = generator_step(game, state, batch, g_key)
    return state, {**d_metrics, **g_metrics}


def discriminator_step(
    game: Game, state: State, batch: Batch, key: jax.Array
) -> tuple[State, Metrics]:
    """One update of the discriminator; the generator, its statistics included, stays as it is.

    All evaluations of a microbatch share one dropout mask: a penalty is that of the very function
    whose logits enter the loss, and the compiler computes their common forward pass once.
    """

    pack = packing.pack(game.pack)

    def objective(params, mutable, batch, keys):
        real, label = pack(batch["image"]), batch.get("label")
        latent_keys, penalty_keys, dropout_keys = _split_each(keys, 3)
        z = core.normal(latent_keys, (game.latent_dim,))
        fake, _ = apply(game.generator, *of(state, "generator"), z, label, dropout_keys[0])
        fake = pack(fake)
        judge = lambda x, seen: apply(game.discriminator, params, seen, x, label, dropout_keys[0])
        real_logits, after_real = judge(real, mutable)
        fake_logits, after_fake = judge(fake, after_real)
        d_loss, _ = game.loss(real_logits, fake_logits)
        total, metrics = d_loss, {"d_loss": d_loss}
        for penalty, weight in game.penalties.items():
            critic = lambda x: judge(x, mutable)[0]
            value = jnp.mean(penalty(critic, real, fake, penalty_keys[:: game.pack]))
            total, metrics[penalty.__name__] = total + weight(state.step) * value, value
        for name, logits in (("d_real", real_logits), ("d_fake", fake_logits)):
            metrics |= {name: jnp.mean(logits), f"{name}_sign": health.mean_sign(logits)}
        return total, (metrics, after_fake)

    compute = core.value_and_grad(objective, game.accumulate)
    (_, metrics, mutable), grads = compute(*of(state, "discriminator"), batch, key)
    state, norm = _updated(game, state, "discriminator", grads, mutable)
    return state, {**metrics, "d_grad_norm": norm}


def generator_step(game: Game, state: State, batch: Batch, key: jax.Array) -> tuple[State, Metrics]:
    """One update of the generator and of its statistics; the discriminator stays as it is.

    The loss gets the logits of real examples too, which relativistic losses need.
    """

    pack = packing.pack(game.pack)

    def objective(params, mutable, batch, keys):
        real, label = batch["image"], batch.get("label")
        latent_keys, dropout_keys = _split_each(keys, 2)
        z = core.normal(latent_keys, (game.latent_dim,))
        fake, mutable = apply(game.generator, params, mutable, z, label, dropout_keys[0])
        judge = lambda x: apply(
            game.discriminator, *of(state, "discriminator"), x, label, dropout_keys[0]
        )[0]
        _, g_loss = game.loss(judge(pack(real)), judge(pack(fake)))
        metrics = {"g_loss": g_loss}
        if len(real) > 1:
            metrics["fake_distance"] = health.relative_distance(fake, real)
        return g_loss, (metrics, mutable)

    compute = core.value_and_grad(objective, game.accumulate)
    (_, metrics, mutable), grads = compute(*of(state, "generator"), batch, key)
    state, norm = _updated(game, state, "generator", grads, mutable)
    return state, {**metrics, "g_grad_norm": norm}


def evaluate(game: Game, state: State, batch: Batch, key: jax.Array) -> Metrics:
    """Logits f32 [B] of real examples, "d_real", and of as many samples, "d_fake".

    The images of a pack have its logit in common.
    """
    label = batch["label"] if game.conditional else None
    z = core.normal(core.example_keys(key, batch["image"].shape[0]), (game.latent_dim,))
    fake = game.generator.apply(variables(state, "generator"), z, label, train=False)

    def judge(images):
        packed = packing.pack(game.pack)(images)
        found = variables(state, "discriminator")
        return jnp.repeat(game.discriminator.apply(found, packed, label, train=False), game.pack)

    return {"d_real": judge(batch["image"]), "d_fake": judge(fake)}


def _updated(
    game: Game, state: State, name: str, grads: PyTree, mutable: PyTree
) -> tuple[State, jax.Array]:
    """The state after one network's optimiser update, and the norm of its gradient."""
    params, opt_state, norm = core.update(
        game.tx[name], grads, state.opt_state[name], state.params[name]
    )
    state = state.replace(
        params={**state.params, name: params},
        opt_state={**state.opt_state, name: opt_state},
        mutable={**state.mutable, name: mutable} if mutable else state.mutable,
    )
    return state, norm


def _split_each(keys: jax.Array, num: int) -> jax.Array:
    """Keys [B] -> [num, B], so that an example's draws depend on its own key alone."""
    return jax.vmap(partial(jax.random.split, num=num), out_axes=1)(keys)


def _interleaved(x: jax.Array, n: int) -> jax.Array:
    """[B n, ...] -> [n, B, ...] with row b n + j at [j, b]: a sharded batch stays in place."""
    return jnp.moveaxis(x.reshape(-1, n, *x.shape[1:]), 1, 0)
