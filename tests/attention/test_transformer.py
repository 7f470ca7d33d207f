import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.attention.transformer import Transformer


def initial(model):
    return jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))


def test_no_position_depends_on_later_tokens(language_model):
    """The gradient to the embeddings of later tokens, all distinct, is exactly zero."""
    model, params = language_model
    tokens = jnp.arange(10)[None]

    @jax.jit
    def gradients(table):
        hidden = lambda table: model.apply(
            {"params": {**params, "embed": {"embedding": table}}}, tokens, method="hidden"
        )
        weights = jnp.arange(1.0, 17)  # a plain sum is blind to what the last norm takes out
        return jax.jacrev(lambda table: hidden(table)[0] @ weights)(table)  # [T, V, D]

    influence = np.abs(gradients(params["embed"]["embedding"])[:, :10]).max(-1)  # [T, token]
    assert (influence[np.triu_indices(10, 1)] == 0).all()
    assert (influence[np.tril_indices(10)] > 0).all()


def test_parameters_of_nanogpts_cpu_setting():
    """V D + T D for the embeddings, L (12 D^2 + 2 D) for the blocks, D for the last norm."""
    params = initial(Transformer(65, 64, dim=128, layers=4, heads=4, bias=False))["params"]
    count = sum(x.size for x in jax.tree.leaves(params))
    assert count == (65 + 64) * 128 + 4 * (12 * 128**2 + 2 * 128) + 128 == 804_096


def test_residual_projections_begin_smaller():
    params = initial(Transformer(65, 64, dim=128, layers=2))["params"]["blocks_1"]
    for branch, first in (("attention", "qkv"), ("ffn", "in")):
        np.testing.assert_allclose(params[branch][first]["kernel"].std(), 0.02, rtol=0.05)
        np.testing.assert_allclose(params[branch]["out"]["kernel"].std(), 0.02 / 2, rtol=0.05)


def test_grouped_queries_and_no_bias_drop_their_parameters():
    params = initial(Transformer(30, 16, dim=16, layers=1, heads=4, kv_heads=2, bias=False))
    block = params["params"]["blocks_0"]
    assert block["attention"]["qkv"]["kernel"].shape == (16, 16 + 2 * 8)
    assert not [path for path, _ in jax.tree.leaves_with_path(params) if "bias" in str(path)]


def test_bfloat16_computes_in_it_and_returns_float32_logits():
    options = {"vocab": 30, "context": 16, "dim": 32, "layers": 1}
    tokens = jax.random.randint(jax.random.key(1), (2, 16), 0, 30)
    full, half = Transformer(**options), Transformer(**options, dtype=jnp.bfloat16)
    variables = initial(half)
    assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    assert half.apply(variables, tokens, method="hidden").dtype == jnp.bfloat16
    logits, exact = (jax.jit(model.apply)(variables, tokens) for model in (half, full))
    assert logits.dtype == jnp.float32
    np.testing.assert_allclose(logits, exact, atol=0.02)


def test_periods_tell_voices_apart_and_repeat():
    """Where all tokens are one and there is no other position, only places mod 4 differ."""
    model = Transformer(30, 16, dim=16, layers=1, positions="none", periods=(4,))
    params = initial(model)["params"]
    embedded = params["phases_0"]["embedding"]
    assert embedded.shape == (4, 16)
    tokens = jnp.full((1, 16), 3)
    apply = lambda params: model.apply({"params": params}, tokens)[0]
    flat = params | {"phases_0": {"embedding": jnp.zeros_like(embedded)}}
    np.testing.assert_allclose(apply(flat), apply(flat)[:1].repeat(16, 0), atol=1e-6)
    assert np.abs(np.diff(apply(params)[:4], axis=0)).max() > 1e-3


def test_dropout_acts_in_training_only():
    model = Transformer(30, 16, dim=16, layers=1, dropout=0.5)
    variables, tokens = initial(model), jnp.arange(8)[None]
    train = lambda seed: model.apply(
        variables, tokens, True, method="hidden", rngs={"dropout": jax.random.key(seed)}
    )
    assert not np.allclose(train(0), train(1))
    plain = Transformer(30, 16, dim=16, layers=1)
    np.testing.assert_array_equal(model.apply(variables, tokens), plain.apply(variables, tokens))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"positions": "rotary"}, "positions='rotary' is none of alibi, learned, none, rope"),
        ({"norm": "batch"}, "norm='batch' is none of layer, rms"),
        ({"ffn": "relu"}, "ffn='relu' is none of gelu, swiglu"),
        ({"heads": 3}, r"heads=3 must divide dim=16: one of \[1, 2, 4, 8, 16\]"),
        ({"kv_heads": 3}, r"kv_heads=3 must divide heads=4: one of \[1, 2, 4\]"),
        ({"heads": 16, "positions": "rope"}, "even dim / heads, not 1"),
        ({"vocab": 0}, "vocab=0 must be at least 1"),
    ],
)
def test_options_that_do_not_fit_are_refused_when_built(options, message):
    with pytest.raises(ValueError, match=message):
        Transformer(**{"vocab": 30, "context": 16, "dim": 16, "heads": 4, **options})


def test_more_tokens_than_the_context_are_refused():
    model = Transformer(30, 16, dim=16)
    with pytest.raises(ValueError, match="17 tokens exceed context=16"):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 17), jnp.int32))
