"""Options of the transformer that change its speed must not change what it computes."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aigc_jax import core
from aigc_jax.attention import algorithm, blocks, decode, filters
from aigc_jax.attention.transformer import Transformer

OPTIONS = {"vocab": 30, "context": 16, "dim": 16, "layers": 3}
TOKENS = jax.random.randint(jax.random.key(1), (2, 16), 0, 30)


def initial(model):
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))["params"]
    return jax.tree.map(lambda x: 5 * x if x.ndim > 1 else x, params)


def value_and_grad(model, params, **options):
    def loss(params):
        logits = model.apply({"params": params}, TOKENS, **options)
        return jnp.sin(jnp.arange(30) + logits).mean()

    return jax.jit(jax.value_and_grad(loss))(params)


@pytest.fixture(scope="module")
def pair():
    """A scanned and an unrolled model with the same weights."""
    scanned, plain = Transformer(**OPTIONS, scan_layers=True), Transformer(**OPTIONS)
    params = initial(scanned)
    return scanned, params, plain, blocks.apart(params, 3)


def test_scanned_blocks_equal_blocks_apart_in_values_and_gradients(pair):
    scanned, params, plain, apart = pair
    chex.assert_trees_all_equal_shapes_and_dtypes(apart, initial(plain))
    value, grads = value_and_grad(scanned, params)
    expected, expected_grads = value_and_grad(plain, apart)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    chex.assert_trees_all_close(blocks.apart(grads, 3), expected_grads, atol=1e-6)


def test_scanned_layers_begin_different_and_with_the_usual_deviations():
    model = Transformer(30, 16, dim=64, layers=4, scan_layers=True)
    params = jax.jit(model.init)(jax.random.key(0), TOKENS)["params"]["blocks"]
    for kernel, deviation in (
        (params["attention"]["qkv"]["kernel"], 0.02),
        (params["ffn"]["out"]["kernel"], 0.02 / np.sqrt(8)),
    ):
        np.testing.assert_allclose(kernel.std(axis=(1, 2)), deviation, rtol=0.05)
        assert np.abs(np.diff(kernel, axis=0)).min(axis=(1, 2)).max() > 0


def test_dropout_of_scanned_layers_differs_from_layer_to_layer():
    """Every block adds its own dropout of one constant: equal masks would give sums of 0 or 2 L."""
    model = Transformer(**OPTIONS, dropout=0.5, scan_layers=True)
    params = jax.tree.map(jnp.zeros_like, initial(model))
    params["blocks"]["ffn"]["out"]["bias"] += 1.0
    params["norm_out"]["scale"] += 1.0
    rngs = {"dropout": jax.random.key(0)}
    hidden = jax.jit(
        lambda p: model.apply({"params": p}, TOKENS, True, method="hidden", rngs=rngs)
    )(params)
    assert len(np.unique(np.asarray(hidden[0, 0]).round(3))) == 4  # 0, 2, 4 or 6, normalised


@pytest.mark.parametrize("scan_layers", [False, True])
def test_remat_changes_neither_values_nor_gradients(scan_layers):
    plain = Transformer(**OPTIONS, scan_layers=scan_layers, dropout=0.3)
    params, rngs = initial(plain), {"dropout": jax.random.key(2)}
    results = [
        value_and_grad(model, params, train=True, rngs=rngs)
        for model in (plain, plain.clone(remat=True))
    ]
    chex.assert_trees_all_close(*results, rtol=1e-5, atol=1e-7)


def test_remat_keeps_less_for_the_backward_pass():
    def kept(model):
        params = jax.eval_shape(model.init, jax.random.key(0), TOKENS)["params"]
        _, pull = jax.eval_shape(
            lambda p: jax.vjp(lambda p: model.apply(p, TOKENS), p), {"params": params}
        )
        return sum(x.size for x in jax.tree.leaves(pull))

    plain = Transformer(**OPTIONS)
    for scan_layers in (False, True):
        model = plain.clone(scan_layers=scan_layers)
        assert kept(model.clone(remat=True)) < kept(model) / 1.5


def generated(model, params, max_tokens=24):
    return decode.generate(
        model,
        params,
        TOKENS[:, :5],
        jnp.array([5, 3]),
        jax.random.split(jax.random.key(3), 2),
        max_tokens=max_tokens,
        options=filters.Options(),
    )


def test_scanned_layers_generate_the_same(pair):
    scanned, params, plain, apart = pair
    np.testing.assert_array_equal(generated(scanned, params), generated(plain, apart))


def test_scanned_layers_extend_a_stacked_cache(pair):
    scanned, params, *_ = pair
    extend = jax.jit(lambda t, m: scanned.apply({"params": params}, t, m, method="extend"))
    memory = scanned.start(jnp.array([0, 0]), 8, jnp.array([0, 0]))
    first, memory = extend(TOKENS[:, :8], memory)
    second, _ = extend(TOKENS[:, 8:], scanned.grow(memory, 16))
    full = jax.jit(lambda t: scanned.apply({"params": params}, t, method="hidden"))(TOKENS)
    np.testing.assert_allclose(jnp.concatenate([first, second], 1), full, atol=1e-5)


def test_scanned_layers_show_the_same_attention(pair):
    maps = []
    for model, params in (pair[:2], pair[2:]):
        apply = functools.partial(model.apply, method="hidden", mutable="intermediates")
        _, kept = jax.jit(apply)({"params": params}, TOKENS)
        maps.append(model.attention_of(kept["intermediates"]))
    assert maps[0].shape == (2, 3, 4, 16, 16)
    np.testing.assert_allclose(*maps, atol=1e-6)


def test_rows_beyond_the_vocabulary_change_nothing_and_learn_nothing():
    plain = Transformer(**OPTIONS)
    padded = plain.clone(vocab_multiple=32)
    params = initial(padded)
    table = params["embed"]["embedding"]
    assert table.shape == (32, 16)
    params["embed"]["embedding"] = table.at[30:].set(100.0)  # the likeliest, if they counted
    fewer = {**params, "embed": {"embedding": table[:30]}}
    example = core.Example({"tokens": jax.ShapeDtypeStruct((2, 16), jnp.int32)}, vocab=30)
    results = []
    for model, weights in ((padded, params), (plain, fewer)):
        made = algorithm.make(example=example, tx={"model": optax.sgd(1.0)}, network=model)
        state = core.new_state({"model": weights}, {"model": optax.sgd(1.0).init(weights)})
        results.append(jax.jit(made.step)(state, {"tokens": TOKENS}, jax.random.key(0)))
    (new, metrics), (expected, expected_metrics) = results
    chex.assert_trees_all_close(metrics, expected_metrics, rtol=1e-6)
    learned = new.params["model"]["embed"]["embedding"]
    np.testing.assert_array_equal(learned[30:], 100.0)
    expected_table = expected.params["model"]["embed"]["embedding"]
    np.testing.assert_allclose(learned[:30], expected_table, atol=1e-6)
    assert jax.eval_shape(padded.apply, {"params": params}, TOKENS).shape == (2, 16, 30)
    np.testing.assert_array_equal(generated(padded, params, 4), generated(plain, fewer, 4))


def test_padded_logits_reach_the_loss_without_a_copy():
    """The product is as wide as the table, and what follows it is a select, not a slice."""
    model = Transformer(**OPTIONS, vocab_multiple=32)
    params = {"params": initial(model)}
    hidden = jnp.ones((2, 16, 16))
    scores = model.apply(params, hidden, method="padded_logits")
    assert scores.shape == (2, 16, 32)
    assert (scores[..., 30:] == -jnp.inf).all()
    traced = jax.make_jaxpr(lambda h: model.apply(params, h, method="padded_logits"))(hidden)
    assert "f32[2,16,30]" not in str(traced)


def test_scores_multiply_in_the_compute_dtype_forwards_and_backwards():
    hidden = jax.random.normal(jax.random.key(0), (3, 5, 8))
    table = jax.random.normal(jax.random.key(1), (11, 8))
    loss = lambda f: lambda h, t: jnp.sin(f(h, t)).sum()
    gradient = lambda f: jax.jit(jax.grad(loss(f), (0, 1)))(hidden, table)
    ours, expected = gradient(blocks.scores), gradient(lambda h, t: h @ t.T)
    chex.assert_trees_all_close(ours, expected, rtol=1e-5, atol=1e-5)
    half = hidden.astype(jnp.bfloat16)
    traced = jax.make_jaxpr(jax.grad(loss(blocks.scores), (0, 1)))(half, table)
    products = [eqn for eqn in traced.jaxpr.eqns if eqn.primitive.name == "dot_general"]
    operands = {v.aval.dtype for eqn in products for v in eqn.invars}
    assert operands == {jnp.dtype(jnp.bfloat16)}
    assert [x.dtype for x in traced.out_avals] == [jnp.bfloat16, jnp.float32]


def test_only_what_dense_layers_and_embeddings_cast_is_cast_before_generation():
    model = Transformer(**OPTIONS, qk_norm=True, periods=(4,), dtype=jnp.bfloat16)
    params = initial(model)
    _, cast = model.for_generation(params)
    flat = {core.path_name(path): x for path, x in jax.tree.leaves_with_path(cast)}
    for name, x in flat.items():
        assert x.dtype == (jnp.float32 if "norm" in name else jnp.bfloat16), name
    apply = lambda params: jax.jit(model.apply)({"params": params}, TOKENS)
    np.testing.assert_array_equal(apply(params), apply(cast))


@pytest.mark.parametrize("dim", [512, 768, 1024, 1600, 2048, 4096])
def test_a_wide_swiglu_is_divided_in_whole_groups(dim):
    width = blocks.swiglu_width(dim)
    assert 0 <= width - 8 * dim / 3 < 128
    assert 2 * width % (16 * 16) == 0  # over 16 devices, in groups of eight of both halves
    assert blocks.swiglu_width(4096) == 11008
