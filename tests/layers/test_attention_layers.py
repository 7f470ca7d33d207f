import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.layers import attention
from aigc_jax.layers.positions import SCHEMES


def reference(q, k, v, seen, bias):
    """Attention written out in float64: q [B, T, N, H], k and v [B, S, K, H], seen [B, T, S]."""
    group = q.shape[2] // k.shape[2]
    k, v = (np.repeat(np.float64(a), group, axis=2) for a in (k, v))
    logits = np.einsum("btnh,bsnh->bnts", q, k) / np.sqrt(q.shape[-1]) + bias
    weights = np.exp(logits) * seen[:, None]
    return np.einsum("bnts,bsnh->btnh", weights / weights.sum(-1, keepdims=True), v)


@pytest.mark.parametrize("scheme", ["none", "alibi"])
@pytest.mark.parametrize("kv_heads", [4, 2, 1])
def test_attend_equals_the_formula(scheme, kv_heads):
    kq, kk, kv = jax.random.split(jax.random.key(0), 3)
    q = jax.random.normal(kq, (2, 5, 4, 8))
    k, v = (jax.random.normal(key, (2, 5, kv_heads, 8)) for key in (kk, kv))
    view = attention.causal_view(SCHEMES[scheme], 4, 5)
    assert view.mask is None
    seen = np.tril(np.ones((2, 5, 5)))
    expected = reference(q, k, v, seen, 0 if view.bias is None else view.bias)
    np.testing.assert_allclose(attention.attend(q, k, v, view), expected, atol=1e-5)


@pytest.mark.parametrize("positions", ["none", "alibi", "rope"])
@pytest.mark.parametrize("kv_heads", [4, 1])
def test_kept_weights_times_values_are_what_the_layer_computes(positions, kv_heads):
    x = jax.random.normal(jax.random.key(0), (2, 6, 16))
    layer = attention.SelfAttention(4, kv_heads, positions, qk_norm=True)
    view = attention.causal_view(SCHEMES[positions], 4, 6)
    variables = layer.init(jax.random.key(1), x, view)
    assert set(variables) == {"params"}
    params = jax.tree.map(lambda a: 20 * a, variables["params"])
    (out, _), kept = layer.apply({"params": params}, x, view, mutable=["intermediates"])
    (weights,) = kept["intermediates"]["weights"]
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-6)
    assert (weights[..., *np.triu_indices(6, 1)] == 0).all()
    assert weights.std() > 0.05
    qkv = x @ params["qkv"]["kernel"] + params["qkv"]["bias"]
    values = qkv.reshape(2, 6, kv_heads, -1, 4)[..., -1, :].repeat(4 // kv_heads, axis=2)
    mixed = jnp.einsum("bnts,bsnh->btnh", weights, values).reshape(2, 6, 16)
    expected = mixed @ params["out"]["kernel"] + params["out"]["bias"]
    np.testing.assert_allclose(out, expected, atol=1e-4)


def test_weights_are_not_computed_for_nobody():
    """Without "intermediates" the traced layer has the operations of fused attention alone."""
    x = jnp.ones((1, 6, 16))
    layer = attention.SelfAttention(4, 4, "none")
    view = attention.causal_view(SCHEMES["none"], 4, 6)
    variables = layer.init(jax.random.key(1), x, view)
    kept = lambda mutable: jax.make_jaxpr(
        lambda x: layer.apply(variables, x, view, mutable=mutable)
    )
    products = lambda mutable: str(kept(mutable)(x)).count("dot_general")
    assert products(["intermediates"]) == products([]) + 1


def test_cached_view_by_hand():
    pad, column = jnp.array([0, 2]), jnp.array(3)
    view = attention.cached_view(SCHEMES["alibi"], 1, pad, column, length=1, capacity=5)
    np.testing.assert_array_equal(view.mask[:, 0, 0], [[1, 1, 1, 1, 0], [0, 0, 1, 1, 0]])
    np.testing.assert_array_equal(view.positions, [[3], [1]])
    np.testing.assert_allclose(view.bias[1, 0, 0, 2:4], [-(2.0**-8), 0])


def test_rows_that_see_nothing_stay_finite():
    view = attention.cached_view(SCHEMES["none"], 1, jnp.array([2]), jnp.array(0), 2, 4)
    x = jnp.ones((1, 4, 1, 8))
    assert jnp.isfinite(attention.attend(x[:, :2], x, x, view)).all()


def test_write_touches_only_its_columns():
    cache = attention.empty_cache(1, 5, 1, 2, jnp.float32)
    new = jnp.ones((1, 2, 1, 2))
    cache = attention.write(cache, new, 2 * new, jnp.array(1))
    np.testing.assert_array_equal(cache.keys[0, 0, :, 0], [0, 1, 1, 0, 0])
    np.testing.assert_array_equal(cache.values[0, 0, :, 0], [0, 2, 2, 0, 0])
    assert attention.enlarged(cache, 7).keys.shape == (1, 1, 7, 2)


def test_qk_norm_makes_attention_blind_to_the_scale_of_queries_and_keys():
    x = jax.random.normal(jax.random.key(0), (1, 6, 8))
    layer = attention.SelfAttention(2, 2, "rope", qk_norm=True, bias=False)
    view = attention.causal_view(SCHEMES["rope"], 2, 6)
    params = layer.init(jax.random.key(1), x, view)["params"]
    params["qkv"]["kernel"] *= 50  # far above the epsilon of the norm
    scaled = jax.tree.map(jnp.copy, params)
    heads = params["qkv"]["kernel"].reshape(8, 2, 3, 4)
    scaled["qkv"]["kernel"] = heads.at[:, :, :2].multiply(10).reshape(8, 24)
    outputs = [layer.apply({"params": p}, x, view)[0] for p in (params, scaled)]
    np.testing.assert_allclose(*outputs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_without_a_gpu_attention_falls_back_to_xla_and_says_so(dtype, caplog):
    attention.implementation.cache_clear()
    shape = (2, 8, 4, 64)
    with caplog.at_level(logging.INFO):
        assert attention.implementation(shape, shape, jnp.dtype(dtype)) == "xla"
    assert "cuDNN" in caplog.text


def test_a_kernel_that_fails_only_when_compiled_is_not_used(monkeypatch, caplog):
    """Tracing and lowering a call of an unknown kernel succeed, as those of cuDNN may."""

    @jax.custom_vjp
    def unknown(q):
        return jax.ffi.ffi_call("no_such_kernel", jax.ShapeDtypeStruct(q.shape, q.dtype))(q)

    unknown.defvjp(lambda q: (unknown(q), None), lambda _, g: (unknown(g),))
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax.nn, "dot_product_attention", lambda q, k, v, **how: unknown(q))
    attention.implementation.cache_clear()
    with caplog.at_level(logging.INFO):
        shape = (2, 8, 4, 64)
        assert attention.implementation(shape, shape, jnp.dtype(jnp.bfloat16)) == "xla"
    attention.implementation.cache_clear()
    assert "no_such_kernel" in caplog.text


def test_any_tree_of_caches_is_enlarged():
    cache = attention.empty_cache(1, 5, 1, 2, jnp.float32)
    stacked = jax.tree.map(lambda x: jnp.stack([x] * 3), cache)
    assert attention.enlarged(stacked, 7).keys.shape == (3, 1, 1, 7, 2)
    assert [c.values.shape for c in attention.enlarged([cache], 7)] == [(1, 1, 7, 2)]
