"""cuDNN's LSTM, with JAX's reference of its parameter layout in its place: no GPU is needed."""

import logging

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import rnn as cudnn

from aigc_jax.attention import cudnn_lstm
from aigc_jax.attention.rnn import RnnLanguageModel

TOKENS = jax.random.randint(jax.random.key(1), (3, 7), 0, 30)


def reference(x, h, c, weights, lengths, input_size, hidden_size, num_layers, precision, **rest):
    sizes = (input_size, hidden_size, num_layers)
    parts = cudnn.unpack_lstm_weights(weights, *sizes, rest["bidirectional"])
    return cudnn.lstm_ref(x, h, c, *parts, lengths, *sizes, **rest)


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """Makes whole sequences go through `reference`; the list of (layers, dtype) asked for."""
    asked = []

    def available(shape, layers, dtype):
        assert shape == (7, 3, 8)
        asked.append((layers, dtype))
        return True

    monkeypatch.setattr(cudnn_lstm, "available", available)
    monkeypatch.setattr(cudnn, "lstm", reference)
    return asked


def model_and_params(**options):
    model = RnnLanguageModel(30, dim=8, layers=3, **options)
    params = jax.jit(model.init)(jax.random.key(0), TOKENS)["params"]
    noise = lambda x: x + jax.random.normal(jax.random.key(x.size), x.shape)
    return model, jax.tree.map(noise, params)


def loss(model, params):
    hidden = model.apply({"params": params}, TOKENS, method="hidden")
    return jnp.sin(hidden.astype(jnp.float32) * jnp.arange(1, 9)).sum()


def test_cudnn_equals_the_scan_in_values_and_gradients(request):
    model, params = model_and_params()
    compute = lambda: jax.jit(jax.value_and_grad(lambda p: loss(model, p)))(params)
    scan = compute()
    asked = request.getfixturevalue("as_on_a_gpu")
    chex.assert_trees_all_close(compute(), scan, rtol=1e-4, atol=1e-5)
    assert asked == [(3, jnp.float32)]


def test_parameters_are_made_by_the_scan_whatever_the_device(as_on_a_gpu):
    model, params = model_and_params(dtype=jnp.bfloat16)
    assert as_on_a_gpu == []
    chex.assert_trees_all_equal_dtypes(params, jax.tree.map(lambda x: jnp.zeros(x.shape), params))
    hidden = jax.eval_shape(lambda: model.apply({"params": params}, TOKENS, method="hidden"))
    assert hidden.dtype == jnp.bfloat16
    assert as_on_a_gpu == [(3, jnp.bfloat16)]


def test_dropout_comes_between_the_layers_of_cudnn(as_on_a_gpu):
    model, params = model_and_params(dropout=0.999)
    rngs = {"dropout": jax.random.key(0)}
    kept = jax.jit(
        lambda: model.apply({"params": params}, TOKENS, True, method="hidden", rngs=rngs)
    )()
    assert [layers for layers, _ in as_on_a_gpu] == [1]
    assert (kept == 0).mean() > 0.9
    jax.eval_shape(lambda: loss(model, params))
    assert as_on_a_gpu[-1] == (3, jnp.float32)


def test_padded_rows_and_generation_use_the_scan(as_on_a_gpu):
    model, params = model_and_params()
    memory = model.start(jnp.array([0, 1, 2]), 7, jnp.zeros(3, jnp.int32))
    jax.eval_shape(lambda: model.apply({"params": params}, TOKENS, memory, method="extend"))
    assert as_on_a_gpu == []


def test_the_packed_array_has_the_size_that_cudnn_expects():
    _, params = model_and_params()
    cells = [params[f"cells_{i}"] for i in range(3)]
    assert cudnn_lstm.packed(cells).shape == (cudnn.get_num_params_in_lstm(8, 8, 3, False),)


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_where_cudnn_fails_the_scan_is_used_and_a_line_says_why(backend, monkeypatch, caplog):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    cudnn_lstm.available.cache_clear()
    with caplog.at_level(logging.INFO):
        assert not cudnn_lstm.available((7, 3, 8), 1, jnp.float32)
    cudnn_lstm.available.cache_clear()
    assert "LSTM by a scan, not by cuDNN" in caplog.text


def test_cells_are_cast_before_generation_as_they_cast_themselves():
    model, params = model_and_params(dtype=jnp.bfloat16)
    _, cast = model.for_generation(params)
    assert cast["cells_1"]["kernel"].dtype == cast["cells_1"]["in"]["bias"].dtype == jnp.bfloat16
    assert cast["cells_1"]["bias"].dtype == cast["head"]["kernel"].dtype == jnp.float32
    apply = lambda params: jax.jit(model.apply)({"params": params}, TOKENS)
    np.testing.assert_array_equal(apply(params), apply(cast))
