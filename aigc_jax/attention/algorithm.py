"""Next-token language models, transformer or recurrent, as an algorithm.

Training: -log p(x_t | x_1 .. x_{t-1}), the mean over counted positions, in nats. Metrics of
`step`: "loss", "grad_norm"; of `eval`: "nll", nats per token, weighted by counted tokens. `exp` of
the averaged "nll" is the perplexity.

Heads, of the inputs among "tokens" [B, T+1]: "logits", f32 [B, T, V]; "attention", where the
network tells it, the softmax weights f32 [B, layers, heads, T, T] of queries (rows) over keys.
"""

from collections.abc import Mapping
from typing import Annotated

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from aigc_jax import core
from aigc_jax.attention import decode, filters, losses, rnn, transformer
from aigc_jax.ranges import at_least, between

NAMES = {"network": (transformer, rnn)}
DIRECTIONS = {"nll": "min"}  # whether less or more of a metric is better


def make(
    *,
    example: core.Example,
    tx: Mapping[str, optax.GradientTransformation],
    accumulate: int = 1,
    network: str | nn.Module = "Transformer",
    start_token: Annotated[int, at_least(0)] = 0,
    axis_name: str | None = None,
) -> core.Algorithm:
    """A language model on batches of "tokens" i32 [B, T+1], and "mask" f32 [B, T] where padded.

    The loss is sum(mask nll) / sum(mask), both over the global batch: `mask` is divided by its mean
    before microbatches and devices divide the batch, so that the objective is the same for any of
    them. In evaluation each row is such a mean, weighted by its sum(mask).

    Args:
      example: what a batch looks like.
      tx: {"model": optimiser}.
      accumulate: microbatches per step.
      network: a module with the contract of `transformer`.
      start_token: what unconditional texts and empty prompts begin with.
      axis_name: the axis of devices that each see a part of the batch, None if all is one batch.

    Raises:
      ValueError: the network can't read T tokens, or `start_token` is not in the vocabulary.
    """
    length = example.batch["tokens"].shape[1] - 1
    if network.window is not None and length > network.window:
        raise ValueError(f"tokens of {length} positions exceed context={network.window}")
    if not 0 <= start_token < network.vocab:
        raise ValueError(
            f"start_token={start_token} is not in 0 .. vocab - 1 = {network.vocab - 1}"
        )

    padded = "padded_logits" if hasattr(network, "padded_logits") else "logits"

    def predict(params, batch, train, rngs):
        """What the losses ask for first: logits, hidden, targets and the size of the vocabulary."""
        apply = lambda *args, **kwargs: network.apply({"params": params["model"]}, *args, **kwargs)
        inputs, targets = batch["tokens"][:, :-1], batch["tokens"][:, 1:]
        hidden = apply(inputs, train, method="hidden", rngs=rngs)
        return lambda hidden: apply(hidden, method=padded), hidden, targets, network.vocab

    def loss(params, mutable, batch, keys, step):
        predicted = predict(params, batch, True, {"dropout": keys[0]})
        total = losses.total_nll(*predicted, batch.get("mask"), ways=core.batch_ways())
        return total / batch["tokens"][:, 1:].size, ({}, mutable)

    def evaluate(state, batch, key):
        nll = losses.token_nll(*predict(state.params, batch, False, {}))
        total, count = losses.weighted_sum(nll, batch.get("mask"))
        return {"nll": total / jnp.maximum(count, 1), "weight": count}

    def sample(
        state: core.State,
        keys: jax.Array,
        cond: core.Batch,
        *,
        max_tokens: Annotated[int, between(1, 1_000_000)] = 256,
        temperature: filters.Temperature = 1.0,
        top_k: filters.TopK = 0,
        top_p: filters.TopP = 1.0,
        min_p: filters.MinP = 0.0,
        repetition_penalty: filters.RepetitionPenalty = 1.0,
    ) -> core.Batch:
        """Texts: "tokens" i32 [n, P + max_tokens] and "length" i32 [n], the tokens that count.

        `cond` holds "prompt" i32 [n, P] and "prompt_length" i32 [n], or nothing: then P is 1 and
        texts begin with `start_token`. A text follows its prompt without a gap; zeros fill the row.
        """
        options = filters.Options(temperature, top_k, top_p, min_p, repetition_penalty)
        prompt, prompt_length = _prompts(cond, len(keys), start_token)
        tokens = decode.generate(
            network,
            state.params["model"],
            prompt,
            prompt_length,
            keys,
            max_tokens=max_tokens,
            options=options,
        )
        return _joined(prompt, prompt_length, tokens)

    def logits(state, batch, key):
        params = {"params": state.params["model"]}
        return {"logits": network.apply(params, batch["tokens"][:, :-1])}

    def attention(state, batch, key):
        variables, inputs = {"params": state.params["model"]}, batch["tokens"][:, :-1]
        _, kept = network.apply(variables, inputs, method="hidden", mutable=["intermediates"])
        return {"attention": network.attention_of(kept["intermediates"])}

    heads = {"logits": logits}
    if hasattr(network, "attention_of"):
        heads["attention"] = attention
    made = core.from_loss(
        loss,
        {"model": lambda key: network.init(key, jnp.zeros((1, 1), jnp.int32))},
        tx,
        eval=evaluate,
        sample=sample,
        heads=heads,
        conditions=("prompt",),
        accumulate=accumulate,
    )

    def step(state, batch, key):
        if "mask" in batch:
            batch = {**batch, "mask": losses.unit_mean(batch["mask"], axis_name)}
        return made.step(state, batch, key)

    return made._replace(step=step)


def _prompts(cond, n, start_token):
    """Prompts i32 [n, P] and lengths of at least 1, empty ones replaced by the start token."""
    if "prompt" not in cond:
        return jnp.full((n, 1), start_token, jnp.int32), jnp.ones((n,), jnp.int32)
    prompt, length = jnp.asarray(cond["prompt"]), jnp.asarray(cond["prompt_length"])
    first = jnp.where(length > 0, prompt[:, 0], start_token)
    return prompt.at[:, 0].set(first), jnp.maximum(length, 1)


def _joined(prompt, length, tokens):
    """Every row's new tokens after its prompt, zeros after them."""
    real = jnp.arange(prompt.shape[1]) < length[:, None]
    room = jnp.pad(jnp.where(real, prompt, 0), ((0, 0), (0, tokens.shape[1])))
    put = lambda row, new, at: jax.lax.dynamic_update_slice(row, new, (at,))
    return {"tokens": jax.vmap(put)(room, tokens, length), "length": length + tokens.shape[1]}
