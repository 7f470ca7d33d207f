"""Generation: prefill and cached decoding of a batch of ragged prompts, in one compiled call.

The loop knows a network by its contract only (see `transformer`), so a transformer's cache and a
recurrent network's state are the same to it.
"""

import functools
import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from aigc_jax.attention import filters

# The most numbers of noise that are drawn ahead: 64 MiB.
NOISE = 2**24


class Text(NamedTuple):
    """What the next token is drawn from."""

    recent: jax.Array  # i32 [B, W], the last tokens; every row ends in the last column
    pad: jax.Array  # i32 [B], void columns at the left of each row
    seen: jax.Array  # bool [B, V], tokens of the prompt and those generated
    dropped: jax.Array  # i32 [B], tokens that came before those of `recent`


def segments(width: int, max_tokens: int, window: int | None) -> tuple[int, int]:
    """How many tokens the first segment of a generation makes, and how many every later one.

    While prompt and tokens fit into the network's window, there is one segment. Otherwise tokens
    come in segments of window / 4, a shorter one first, and each begins by reading again as many of
    the last tokens as leave it room. So every token is drawn given at least 3/4 window tokens, if
    there are as many, and never more than the window.

    Args:
      width: columns of the prompt.
      max_tokens: tokens to generate.
      window: tokens the network can look back on; None: any number.
    """
    # The last token is drawn but not read.
    if window is None or width + max_tokens - 1 <= window:
        return max_tokens, max_tokens
    stride = max(window // 4, 1)
    return (max_tokens - 1) % stride + 1, stride


def capacities(read: int, total: int, window: int | None) -> list[int]:
    """The capacities of the cache, stage by stage, while the columns in it go from read to total.

    Attention costs the capacity, filled or not, so it grows with the text in steps of 64 columns or
    more, to at most eight stages, since each is compiled. One stage if nothing bounds the window:
    then there is no cache.
    """
    if window is None:
        return [total]
    step = 64 * -(-total // 512)
    return [*range(step * (read // step + 1), total, step), total]


def last_columns(text: Text, width: int) -> Text:
    """The last `width` columns of the text, with void ones put before them if it has fewer."""
    missing = width - text.recent.shape[1]
    recent = jnp.pad(text.recent, ((0, 0), (max(missing, 0), 0)))[:, -width:]
    pad = text.pad + missing
    return Text(recent, jnp.maximum(pad, 0), text.seen, text.dropped + jnp.maximum(-pad, 0))


@functools.partial(jax.jit, static_argnames=("model", "max_tokens", "options"))
def generate(
    model: nn.Module,
    params: Any,
    prompt: jax.Array,
    length: jax.Array,
    keys: jax.Array,
    *,
    max_tokens: int,
    options: filters.Options,
) -> jax.Array:
    """Continues every row of a batch of prompts.

    Row b depends on its own prompt and on keys[b] alone, not on other rows or on P: token j is
    drawn with fold_in(keys[b], j), given as many of the last tokens as length[b], j, `max_tokens`
    and the window determine. Texts longer than the window go on from their end, see `segments`.

    Args:
      model: a network with the contract of `transformer`.
      params: its parameters.
      prompt: i32 [B, P], a row's tokens first, then anything.
      length: i32 [B], how many columns of a row are its prompt, at least 1.
      keys: [B].
      max_tokens: M. Raises ValueError below 1.
      options: what shapes the distribution of each token. Raises ValueError outside their ranges.

    Returns:
      the new tokens i32 [B, M].
    """
    filters.check(options)
    if max_tokens < 1:
        raise ValueError(f"max_tokens={max_tokens} must be at least 1")
    if hasattr(model, "for_generation"):
        model, params = model.for_generation(params)
    text, width, window = _read(prompt, length, model.vocab), prompt.shape[1], model.window
    first, stride = segments(width, max_tokens, window)
    segment = functools.partial(_segment, model, params, keys, options)
    numbers = jnp.arange(max_tokens)
    if window is not None:
        text = last_columns(text, min(width, window + 1 - first))
    text, tokens = segment(text, numbers[:first])
    if first == max_tokens:
        return tokens

    def later(text, numbers):
        return segment(last_columns(text, window + 1 - stride), numbers)

    text = last_columns(text, window + 1)  # the width that every later segment leaves
    _, more = jax.lax.scan(later, text, numbers[first:].reshape(-1, stride))
    more = jnp.moveaxis(more, 0, 1).reshape(-1, max_tokens - first)
    return jnp.concatenate([tokens, more], axis=1)


def _read(prompt, length, vocab):
    """The text of prompts whose rows begin in the first column."""
    rows, pad = jnp.arange(prompt.shape[0]), prompt.shape[1] - length
    real = jnp.arange(prompt.shape[1]) < length[:, None]
    seen = jnp.zeros((len(rows), vocab), bool).at[rows[:, None], prompt].max(real)
    return Text(jax.vmap(jnp.roll)(prompt, pad), pad, seen, jnp.zeros_like(pad))


def _segment(model, params, keys, options, text, numbers):
    """Continues `text` by tokens number `numbers` [M]: (text with them, tokens i32 [B, M])."""
    recent, pad, seen, dropped = text
    read = recent.shape[1] - 1
    network = lambda method, *args: model.apply({"params": params}, *args, method=method)
    noise_of = functools.partial(filters.gumbel, vocab=model.vocab)
    # Drawing for one token is many small operations: those of many are drawn at once.
    ahead = len(numbers) * len(keys) * model.vocab <= NOISE
    folded = jax.vmap(jax.vmap(jax.random.fold_in, (0, None)), (None, 0))(keys, numbers)  # [M, B]
    draws = noise_of(folded) if ahead else folded

    def next_token(carry, draw):
        token, memory, seen = carry
        hidden, memory = network("extend", token[:, None], memory)
        noise = draw if ahead else noise_of(draw)
        token = filters.draw(options, network("logits", hidden[:, 0]), seen, noise)
        if options.repetition_penalty != 1:  # nothing else reads it
            seen = seen.at[jnp.arange(len(token)), token].set(True)
        return (token, memory, seen), token

    stages = capacities(read, read + len(numbers), model.window)
    memory = model.start(pad, stages[0], dropped)
    if read:
        _, memory = network("extend", recent[:, :-1], memory)
    token, pieces = recent[:, -1], []
    for begin, end in itertools.pairwise([read, *stages]):
        carry = (token, model.grow(memory, end), seen)
        carry, tokens = jax.lax.scan(next_token, carry, draws[begin - read : end - read])
        token, memory, seen = carry
        pieces.append(tokens)
    tokens = jnp.concatenate(pieces).T
    return text._replace(recent=jnp.concatenate([recent, tokens], axis=1), seen=seen), tokens
