"""PyTorch twin of decoding: a Python loop over tokens, with a preallocated cache and without."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from benchmarks.speed.timed import Timed
from benchmarks.speed.twins import training
from benchmarks.speed.twins.attention import Gpt


def sampled(logits: torch.Tensor) -> torch.Tensor:
    """Tokens i64 [B, 1] drawn by softmax(logits), of logits [B, V].

    The race of exponentials that `torch.multinomial` runs, without its checks of the
    probabilities, for which the host would wait.
    """
    probabilities = logits.float().softmax(dim=-1)
    race = torch.empty_like(probabilities).exponential_()
    return (probabilities / race).argmax(dim=-1, keepdim=True)


def greedy(logits: torch.Tensor) -> torch.Tensor:
    """The likeliest tokens i64 [B, 1] of logits [B, V]."""
    return logits.argmax(dim=-1, keepdim=True)


class Decoder(nn.Module):
    """One step of decoding, whose cache [B, N, S, H] of each layer it keeps."""

    def __init__(self, model: Gpt, batch: int, capacity: int, draw: Callable) -> None:
        super().__init__()
        self.model, self.draw, self.capacity = model, draw, capacity
        table = model.embed.weight
        heads = model.blocks[0].heads
        shape = (batch, heads, capacity, table.shape[1] // heads)
        for i in range(len(model.blocks)):
            for name in ("keys", "values"):
                zeros = torch.zeros(shape, dtype=table.dtype, device=table.device)
                self.register_buffer(f"{name}_{i}", zeros)

    def _through(self, token, place, attend):
        """The next tokens; `attend(q, k, v, keys, values)` puts k and v into the cache."""
        x = self.model.embed(token) + place
        for i, block in enumerate(self.model.blocks):
            cache = getattr(self, f"keys_{i}"), getattr(self, f"values_{i}")
            x = block.after(x, attend(*block.heads_of(x), *cache))
        return self.draw(self.model.logits(self.model.norm_out(x))[:, -1])

    def sliced(self, token: torch.Tensor, position: int) -> torch.Tensor:
        """The next tokens i64 [B, 1]; attention reads the filled part of the cache."""

        def attend(q, k, v, keys, values):
            keys[:, :, position : position + 1] = k
            values[:, :, position : position + 1] = v
            keys, values = keys[:, :, : position + 1], values[:, :, : position + 1]
            return functional.scaled_dot_product_attention(q, keys, values)

        return self._through(token, self.model.places.weight[position], attend)

    def masked(self, token: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        """The same with every shape fixed, `position` i64 [1]; attention reads the whole cache."""
        seen = torch.arange(self.capacity, device=position.device) <= position

        def attend(q, k, v, keys, values):
            keys.index_copy_(2, position, k)
            values.index_copy_(2, position, v)
            mask = seen.expand(len(q), 1, 1, -1)
            return functional.scaled_dot_product_attention(q, keys, values, attn_mask=mask)

        return self._through(token, self.model.places(position), attend)


def with_cache(decoder: Decoder, mode: str, batch: int, tokens: int) -> Callable:
    """() -> new tokens i64 [B, M] after start token 0, by one step per token."""
    device = decoder.model.embed.weight.device
    graphs = mode == "max-autotune"  # CUDA graphs replay one shape, and write to one place
    if mode == "compile":
        # On a CPU 8 % (6 layers of 384) to 45 % (4 of 128) faster than the masked step compiled.
        step = torch.compile(decoder.sliced, dynamic=True)
    else:
        step = training.compiled(decoder.masked if graphs else decoder.sliced, mode)
    places = torch.arange(tokens, device=device).split(1) if graphs else range(tokens)

    def next_token(token, place):
        if graphs:
            torch.compiler.cudagraph_mark_step_begin()
        token = step(token, place)
        return token.clone() if graphs else token

    return lambda: one_by_one(next_token, places, batch, device)


@torch.inference_mode()
def one_by_one(
    step: Callable, places: Iterable[Any], batch: int, device: torch.device
) -> torch.Tensor:
    """The tokens i64 [B, M] that `step(token, place)` makes at each place, after token 0."""
    token, drawn = torch.zeros(batch, 1, dtype=torch.long, device=device), []
    for place in places:
        token = step(token, place)
        drawn.append(token)
    return torch.cat(drawn, dim=1)


def without_cache(model: Gpt, batch: int, tokens: int, draw: Callable) -> Callable:
    """() -> the same tokens, the whole text read again for each, as the classics do."""
    device = model.embed.weight.device

    @torch.inference_mode()
    def generate():
        text = torch.zeros(batch, 1, dtype=torch.long, device=device)
        for _ in range(tokens):
            last = model.hidden(text)[:, -1]
            text = torch.cat([text, draw(model.logits(last))], dim=1)
        return text[:, 1:]

    return generate


def generate(
    mode: str,
    *,
    vocab: int,
    context: int,
    dim: int,
    layers: int,
    heads: int,
    batch: int,
    tokens: int,
    precision: str,
    vocab_multiple: int = 1,
) -> Timed:
    """Generation after one start token; one step is `tokens` new tokens of every row."""
    torch.manual_seed(0)
    device = training.machine()
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    model = Gpt(vocab, context, dim, layers, heads, vocab_multiple).to(device, dtype).eval()
    if mode == "no_cache":
        run = without_cache(model, batch, tokens, sampled)
    else:
        run = with_cache(Decoder(model, batch, tokens, sampled), mode, batch, tokens)

    def steps(n):
        for _ in range(n):
            run()
        training.wait(device)

    return Timed(steps, sum(p.numel() for p in model.parameters()))
