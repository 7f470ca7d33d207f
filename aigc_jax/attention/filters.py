"""Filters that shape the distribution of the next token.

A filter is a function `(logits f32 [B, V], seen bool [B, V]) -> logits`, where `seen` marks the
tokens of a row's prompt and of what it has generated; tokens it rules out get -inf.
"""

import math
from collections.abc import Callable, Sequence
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp

from aigc_jax import ranges
from aigc_jax.ranges import above, at_least, between, up_to

Filter = Callable[[jax.Array, jax.Array], jax.Array]

# The least that logits are divided by: a quotient by less might be infinite, and infinite ones do
# not differ. At this one any two float32 logits above 1e-20 differ by far more than the noise.
COLDEST = 1e-30
# What sums of float32 probabilities may lack of a sum that they reach.
ROUNDING = 1e-6

Temperature = Annotated[float, at_least(0, "always the likeliest token")]
TopK = Annotated[int, at_least(0, "all tokens")]
TopP = Annotated[float, up_to(1)]
MinP = Annotated[float, between(0, 1)]
RepetitionPenalty = Annotated[float, above(0)]


class Options(NamedTuple):
    """What shapes the next token's distribution; the defaults leave it as the network gives it."""

    temperature: Temperature = 1.0
    top_k: TopK = 0
    top_p: TopP = 1.0
    min_p: MinP = 0.0
    repetition_penalty: RepetitionPenalty = 1.0


def penalise_repetition(penalty: float) -> Filter:
    """Divides the positive logits of seen tokens by `penalty` and multiplies their negative ones.

    CTRL, arXiv 1909.05858, which divides all; a negative logit would become likelier by that.
    """

    def repetition(logits, seen):
        return jnp.where(seen, jnp.where(logits > 0, logits / penalty, logits * penalty), logits)

    return repetition


def at_temperature(value: float) -> Filter:
    """Divides the logits by `value` > 0; towards 0 the likeliest token remains."""

    def scaled(logits, seen):
        return logits / max(value, COLDEST)

    return scaled


def keep_top_k(k: int) -> Filter:
    """Keeps the k most likely tokens, and those that tie with the last of them."""

    def most_likely(logits, seen):
        last = jax.lax.top_k(logits, min(k, logits.shape[-1]))[0][:, -1:]
        return jnp.where(logits < last, -jnp.inf, logits)

    return most_likely


def keep_top_p(p: float) -> Filter:
    """Keeps the fewest most likely tokens whose probabilities reach p (arXiv 1904.09751).

    Of those that tie with the last of them the first ones are kept. A sum that lacks less than a
    millionth of p reaches it, so that rounding adds no token.
    """

    def nucleus(logits, seen):
        ordered = -jnp.sort(-logits, axis=-1)
        probabilities = jax.nn.softmax(ordered)
        before = jnp.cumsum(probabilities, axis=-1) - probabilities  # of the likelier ones together
        count = jnp.maximum((before < p * (1 - ROUNDING)).sum(axis=-1, keepdims=True), 1)
        last = jnp.take_along_axis(ordered, count - 1, axis=-1)
        likelier, ties = logits > last, logits == last
        first = jnp.cumsum(ties, axis=-1) <= count - likelier.sum(axis=-1, keepdims=True)
        return jnp.where(likelier | (ties & first), logits, -jnp.inf)

    return nucleus


def keep_min_p(p: float) -> Filter:
    """Keeps tokens at least p times as likely as the likeliest (arXiv 2407.01082)."""

    def likely(logits, seen):
        least = logits.max(axis=-1, keepdims=True) + math.log(p)
        return jnp.where(logits < least, -jnp.inf, logits)

    return likely


def check(options: Options) -> None:
    """Raises ValueError for an option outside its range."""
    ranges.check(Options, options._asdict(), "sampling")


def chain(options: Options) -> Sequence[Filter]:
    """The filters that `options` ask for, each acting on what the one before left.

    The order: repetition penalty, temperature, top-k, top-p, min-p.
    """
    filters = []
    if options.repetition_penalty != 1:
        filters.append(penalise_repetition(options.repetition_penalty))
    if options.temperature not in (0, 1):
        filters.append(at_temperature(options.temperature))
    if options.top_k:
        filters.append(keep_top_k(options.top_k))
    if options.top_p < 1:
        filters.append(keep_top_p(options.top_p))
    if options.min_p:
        filters.append(keep_min_p(options.min_p))
    return filters


def gumbel(keys: jax.Array, vocab: int) -> jax.Array:
    """The noise of `draw`, Gumbel f32 [..., V]: that of `jax.random.categorical` with each key."""
    noise = jax.vmap(lambda key: jax.random.gumbel(key, (vocab,)))(keys.reshape(-1))
    return noise.reshape(*keys.shape, vocab)


def draw(options: Options, logits: jax.Array, seen: jax.Array, noise: jax.Array) -> jax.Array:
    """The next tokens i32 [B], the argmax of logits + noise where there is a temperature.

    Args:
      options: what shapes the distribution.
      logits: [B, V], filtered in float32.
      seen: bool [B, V].
      noise: `gumbel` f32 [B, V].
    """
    logits = logits.astype(jnp.float32)
    for keep in chain(options):
        logits = keep(logits, seen)
    return jnp.argmax(logits if options.temperature == 0 else logits + noise, axis=-1)
