"""PyTorch twins of language-model training: a GPT of nanoGPT's class, and the LSTM's training."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed import arrays
from benchmarks.speed.timed import Timed
from benchmarks.speed.twins import training
from benchmarks.speed.twins.lstm import LstmLanguageModel


class Block(nn.Module):
    """Pre-norm residual block: causal attention of one fused projection, then a GELU network."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_1 = nn.LayerNorm(dim, bias=False)
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.attention_out = nn.Linear(dim, dim, bias=False)
        self.norm_2 = nn.LayerNorm(dim, bias=False)
        self.ffn_in = nn.Linear(dim, 4 * dim, bias=False)
        self.ffn_out = nn.Linear(4 * dim, dim, bias=False)

    def heads_of(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Queries, keys and values [B, N, T, H] of the block's input [B, T, D]."""
        batch, length, dim = x.shape
        qkv = self.qkv(self.norm_1(x)).view(batch, length, 3, self.heads, dim // self.heads)
        return qkv.permute(2, 0, 3, 1, 4).unbind(0)

    def after(self, x: torch.Tensor, mixed: torch.Tensor) -> torch.Tensor:
        """The block's output [B, T, D] from its input and the attention's heads [B, N, T, H]."""
        x = x + self.attention_out(mixed.transpose(1, 2).reshape(x.shape))
        hidden = functional.gelu(self.ffn_in(self.norm_2(x)), approximate="tanh")
        return x + self.ffn_out(hidden)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, T, D] -> [B, T, D]."""
        q, k, v = self.heads_of(x)
        return self.after(x, functional.scaled_dot_product_attention(q, k, v, is_causal=True))


class Gpt(nn.Module):
    """GPT-2 without biases, with learned positions and tied embeddings.

    The embeddings have as many rows as the next multiple of `vocab_multiple`; logits have V.
    """

    def __init__(
        self, vocab: int, context: int, dim: int, layers: int, heads: int, vocab_multiple: int = 1
    ) -> None:
        super().__init__()
        self.vocab = vocab
        self.embed = nn.Embedding(-(-vocab // vocab_multiple) * vocab_multiple, dim)
        self.places = nn.Embedding(context, dim)
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(layers))
        self.norm_out = nn.LayerNorm(dim, bias=False)
        for parameter in self.parameters():
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=0.02)

    def hidden(self, tokens: torch.Tensor) -> torch.Tensor:
        """States after the last norm: i64 [B, T] -> [B, T, D]."""
        x = self.embed(tokens) + self.places.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.norm_out(x)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """[..., D] -> [..., V], by the token embeddings."""
        return functional.linear(hidden, self.embed.weight)[..., : self.vocab]

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Next-token logits: i64 [B, T] -> [B, T, V]."""
        return self.logits(self.hidden(tokens))


def load(model: Gpt, params: Mapping[str, Any]) -> None:
    """Copies the parameters of a `Transformer(bias=False)` of the same sizes."""
    weights = {
        "embed.weight": params["embed"]["embedding"],
        "places.weight": params["places"]["embedding"],
        "norm_out.weight": params["norm_out"]["scale"],
    }
    size = params["embed"]["embedding"].shape[1] // model.blocks[0].heads
    for i in range(len(model.blocks)):
        block = params[f"blocks_{i}"]
        weights[f"blocks.{i}.norm_1.weight"] = block["norm_1"]["scale"]
        weights[f"blocks.{i}.norm_2.weight"] = block["norm_2"]["scale"]
        # Ours has the query, key and value of one head after another, the twin all queries first.
        heads = np.reshape(
            block["attention"]["qkv"]["kernel"], (-1, model.blocks[i].heads, 3, size)
        )
        weights[f"blocks.{i}.qkv.weight"] = np.moveaxis(heads, 2, 1).reshape(len(heads), -1).T
        weights[f"blocks.{i}.attention_out.weight"] = block["attention"]["out"]["kernel"].T
        weights[f"blocks.{i}.ffn_in.weight"] = block["ffn"]["in"]["kernel"].T
        weights[f"blocks.{i}.ffn_out.weight"] = block["ffn"]["out"]["kernel"].T
    model.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in weights.items()})


def only_fused_attention(device: torch.device, precision: str) -> None:
    """On a GPU in bfloat16: cuDNN's attention on Hopper, else flash attention, and no other."""
    if device.type != "cuda" or precision != "bfloat16":
        return
    hopper = torch.cuda.get_device_capability(device)[0] == 9
    torch.backends.cuda.enable_cudnn_sdp(hopper)
    torch.backends.cuda.enable_flash_sdp(not hopper)
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    torch.backends.cuda.enable_math_sdp(False)


def loss_of(model: nn.Module, windows: torch.Tensor) -> torch.Tensor:
    """The mean cross-entropy in nats of every token after the first of windows i64 [B, T + 1]."""
    logits = model(windows[:, :-1])
    return functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())


def matmul_flops(model: nn.Module, windows: torch.Tensor) -> float:
    """FLOPs of the products in one forward and backward pass; attention counts in full.

    They are counted on one window, since they grow with the batch, and with attention as plain
    products, since the CPU's fused kernel has no formula.
    """
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        loss_of(model, windows[:1]).backward()
    model.zero_grad(set_to_none=True)
    return float(counter.get_total_flops() * len(windows))


def optimizer_of(model: nn.Module) -> torch.optim.Optimizer:
    """AdamW in one fused kernel; matrices decay, vectors do not."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": 0.1},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99), eps=1e-8, fused=True)


def _windows(vocab: int, context: int, batch: int, device: torch.device) -> Callable:
    """() -> windows i64 [B, T + 1] at random places of random tokens that lie on the device."""
    dtype = np.uint8 if vocab <= 256 else np.int32
    tokens = torch.from_numpy(arrays.tokens(vocab).astype(dtype)).to(device)
    span = torch.arange(context + 1, device=device)

    def draw():
        starts = torch.randint(len(tokens) - context, (batch, 1), device=device)
        return tokens[starts + span].long()

    return draw


def trained(
    model: nn.Module, mode: str, vocab: int, context: int, batch: int, precision: str
) -> Timed:
    """The training of a language model: batches gathered, AdamW, gradients of norm at most 1."""
    device = training.machine()
    model = model.to(device)
    parameters = list(model.parameters())
    draw, optimizer = _windows(vocab, context, batch, device), optimizer_of(model)
    flops = 0.0 if isinstance(model, LstmLanguageModel) else matmul_flops(model, draw())
    only_fused_attention(device, precision)
    run = training.compiled(lambda windows: loss_of(model, windows), mode)

    def steps(n):
        for _ in range(n):
            if mode == "max-autotune":
                torch.compiler.cudagraph_mark_step_begin()
            with training.autocast(device, precision):
                loss = run(draw())
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        training.wait(device)

    return Timed(steps, sum(p.numel() for p in parameters), flops)


def gpt(
    mode: str,
    *,
    vocab: int,
    context: int,
    dim: int,
    layers: int,
    heads: int,
    batch: int,
    precision: str,
    vocab_multiple: int = 1,
) -> Timed:
    """GPT training; one step is one update on [B, T] tokens."""
    torch.manual_seed(0)
    model = Gpt(vocab, context, dim, layers, heads, vocab_multiple)
    return trained(model, mode, vocab, context, batch, precision)


def lstm(
    mode: str, *, vocab: int, context: int, dim: int, layers: int, batch: int, precision: str
) -> Timed:
    """LSTM training; one step is one update on [B, T] tokens."""
    torch.manual_seed(0)
    model = LstmLanguageModel(vocab, dim, layers)
    return trained(model, mode, vocab, context, batch, precision)
