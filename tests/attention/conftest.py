"""Every kind of language model, small, with weights large enough for attention to be uneven."""

import functools

import jax
import jax.numpy as jnp
import pytest

from aigc_jax.attention.rnn import RnnLanguageModel
from aigc_jax.attention.transformer import Transformer

SMALL = {"vocab": 30, "dim": 16, "layers": 2}
TRANSFORMER = {**SMALL, "context": 16, "heads": 4}
MODELS = {
    "learned": Transformer(**TRANSFORMER),
    "rope": Transformer(**TRANSFORMER, positions="rope", norm="rms", ffn="swiglu", bias=False),
    "alibi": Transformer(**TRANSFORMER, positions="alibi", kv_heads=2),
    "none": Transformer(**TRANSFORMER, positions="none", kv_heads=1, qk_norm=True),
    "periods": Transformer(**TRANSFORMER, positions="rope", periods=(3, 7)),
    "lstm": RnnLanguageModel(**SMALL),
    "gru": RnnLanguageModel(**SMALL, cell="gru"),
}


@functools.cache
def named(name):
    """(model, params)."""
    model = MODELS[name]
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))["params"]
    return model, jax.tree.map(lambda x: 5 * x if x.ndim == 2 else x, params)


@pytest.fixture
def models():
    """A function from the name of a model to (model, params)."""
    return named


@pytest.fixture(params=MODELS)
def language_model(request):
    """(model, params), for each of them."""
    return named(request.param)
