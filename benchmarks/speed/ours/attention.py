"""Our language-model training workloads: the program's step of a GPT and of an LSTM."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from aigc_jax import flops
from aigc_jax.attention import losses
from aigc_jax.attention.rnn import RnnLanguageModel
from benchmarks.speed import arrays
from benchmarks.speed.ours import program
from benchmarks.speed.timed import Timed

PER_CALL = 25  # steps of one dispatch on an accelerator


def gpt(
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
    """GPT training; one step is one update on [B, T] tokens. Its twin counts the FLOPs."""
    made = gpt_config(dim, layers, heads, vocab_multiple, batch)
    return _timed(made, vocab, context, precision)


def lstm(*, vocab: int, context: int, dim: int, layers: int, batch: int, precision: str) -> Timed:
    """LSTM training; one step is one update on [B, T] tokens."""
    network = {"cell": "lstm", "dim": dim, "layers": layers}
    timed = _timed(config("RnnLanguageModel", network, batch), vocab, context, precision)
    return timed._replace(flops=matmul_flops(RnnLanguageModel(vocab, dim, layers), batch, context))


def gpt_config(
    dim: int, layers: int, heads: int, vocab_multiple: int, batch: int
) -> dict[str, Any]:
    """The config of a GPT without biases."""
    network = {"dim": dim, "layers": layers, "heads": heads, "bias": False}
    return config("Transformer", {**network, "vocab_multiple": vocab_multiple}, batch)


def config(network: str, options: Mapping[str, Any], batch: int) -> dict[str, Any]:
    """The config of a language model at nanoGPT's optimiser, at one learning rate."""
    adamw = {"name": "adamw", "learning_rate": 1e-3, "b2": 0.99}
    return {
        "algorithm": {"name": "attention", "network": network, "network_args": options},
        "optimizer": {"model": {**adamw, "weight_decay": 0.1, "clip_norm": 1.0}},
        "batch_size": batch,
    }


def matmul_flops(network: Any, batch: int, context: int) -> float:
    """FLOPs of the products in one forward and backward pass on [B, T] tokens."""
    shape = jax.ShapeDtypeStruct((batch, context), jnp.int32)
    params = jax.eval_shape(network.init, jax.random.key(0), shape)

    def loss(params, tokens):
        return losses.cross_entropy(network.apply(params, tokens), tokens).mean()

    return float(flops.of(jax.grad(loss), params, shape).matmul)


def _timed(config: Mapping[str, Any], vocab: int, context: int, precision: str) -> Timed:
    dataset = program.dataset_of_tokens(arrays.tokens(vocab), vocab, context)
    return program.timed(config, dataset, precision, PER_CALL)
