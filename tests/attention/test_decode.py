import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.attention import decode, filters
from aigc_jax.attention.transformer import Transformer

GREEDY = filters.Options(temperature=0)
RANDOM = filters.Options(top_k=20, repetition_penalty=1.1)


def texts(model, params, prompts, keys, max_tokens, options=RANDOM, width=0):
    """Generates after ragged lists of tokens; void columns hold a token that must not matter."""
    width = max(width, *(len(p) for p in prompts))
    rows = jnp.array([p + [7] * (width - len(p)) for p in prompts])
    length = jnp.array([len(p) for p in prompts])
    return decode.generate(
        model, params, rows, length, keys, max_tokens=max_tokens, options=options
    )


def greedy(model, params, tokens, kept):
    """The likeliest continuation by full forward passes; token j is given the last kept[j]."""
    apply = jax.jit(model.apply)
    for n in kept:
        window = tokens[-n:]
        padded = jnp.array([window + [0] * (model.context - len(window))])
        logits = apply({"params": params}, padded)[0, len(window) - 1]
        tokens = [*tokens, int(logits.argmax())]
    return tokens[-len(kept) :]


def test_cached_decoding_of_padded_rows_equals_the_full_forward_pass_without_padding(
    language_model,
):
    model, params = language_model
    tokens, pad = jax.random.randint(jax.random.key(1), (3, 10), 0, 30), jnp.array([0, 2, 5])
    extend = jax.jit(lambda t, m: model.apply({"params": params}, t, m, method="extend"))
    memory, pieces = model.start(pad, 8, jnp.zeros_like(pad)), []
    for begin, end in ((0, 7), (7, 8), (8, 9), (9, 10)):
        memory = model.grow(memory, 8 if end <= 8 else 10)
        hidden, memory = extend(tokens[:, begin:end], memory)
        pieces.append(hidden)
    cached = jnp.concatenate(pieces, axis=1)
    unpadded = jax.vmap(jnp.roll)(tokens, -pad)  # what comes after a row does not matter to it
    full = jax.jit(lambda t: model.apply({"params": params}, t, method="hidden"))(unpadded)
    assert full.std() > 0.05
    for row, void in enumerate(pad.tolist()):
        np.testing.assert_allclose(cached[row, void:], full[row, : 10 - void], atol=1e-5)


@pytest.mark.parametrize("name", ["learned", "lstm"])
@pytest.mark.parametrize("max_tokens", [8, 20])
def test_a_text_depends_on_its_own_prompt_and_key_alone(models, name, max_tokens):
    model, params = models(name)
    prompts, keys = [[1, 2, 3, 4, 5, 6], [9], [3, 1]], jax.random.split(jax.random.key(2), 3)
    together = texts(model, params, prompts, keys, max_tokens)
    assert len(np.unique(np.asarray(together), axis=0)) == 3
    apart = texts(model, params, prompts[1:], keys[1:], max_tokens, width=9)
    np.testing.assert_array_equal(apart, together[1:])


@pytest.mark.parametrize("name", ["alibi", "gru"])
def test_greedy_equals_top_1_and_ignores_keys(models, name):
    model, params = models(name)
    prompts, keys = [[1, 2, 3], [4]], jax.random.split(jax.random.key(2), 4)
    runs = [
        texts(model, params, prompts, keys[:2], 8, GREEDY),
        texts(model, params, prompts, keys[2:], 8, GREEDY),
        texts(model, params, prompts, keys[:2], 8, filters.Options(top_k=1)),
    ]
    np.testing.assert_array_equal(runs[0], runs[1])
    np.testing.assert_array_equal(runs[0], runs[2])


def test_generation_equals_full_forward_passes_within_and_beyond_the_context(models):
    """Beyond a context of 16, segments make 4 tokens each after reading the last 13 again."""
    model, params = models("learned")
    prompt, key = [5, 3, 8, 1, 2], jax.random.split(jax.random.key(1), 1)
    within = texts(model, params, [prompt], key, 12, GREEDY)[0]
    assert within.tolist() == greedy(model, params, prompt, [16] * 12)
    beyond = texts(model, params, [prompt], key, 22, GREEDY)[0]
    assert beyond.tolist() == greedy(model, params, prompt, [15, 16] + 5 * [13, 14, 15, 16])


def test_places_in_a_period_are_counted_from_where_the_text_begins(models):
    """However much of it is left behind, and whether it is padded: checked by one full pass."""
    model, params = models("periods")
    prompts, keys = [[5, 3, 8, 1, 2], [9]], jax.random.split(jax.random.key(1), 2)
    new = np.asarray(texts(model, params, prompts, keys, 29, GREEDY))
    tables = {k: v for k, v in params.items() if k.startswith("phases")}
    assert sorted(v["embedding"].shape[0] for v in tables.values()) == [3, 7]
    for prompt, row in zip(prompts, new.tolist(), strict=True):
        text, first = prompt + row, len(prompt)
        for j in range(29):
            seen = text[: first + j]
            kept = seen[-_kept(5, j, 29) :] if len(seen) > _kept(5, j, 29) else seen
            assert text[first + j] == _likeliest(model, params, kept, len(seen) - len(kept))


def _kept(width, number, max_tokens, window=16):
    """Columns that token `number` is drawn given, by the rule of `segments`."""
    first, stride = decode.segments(width, max_tokens, window)
    if number < first:
        return min(width, window + 1 - first) + number
    return window + 1 - stride + (number - first) % stride


def _likeliest(model, params, tokens, offset):
    """The likeliest next token by a forward pass, with every table of phases rolled by `offset`."""
    rolled = {
        name: {"embedding": jnp.roll(tree["embedding"], -offset, axis=0)}
        for name, tree in params.items()
        if name.startswith("phases")
    }
    padded = jnp.array([tokens + [0] * (16 - len(tokens))])
    return int(model.apply({"params": params | rolled}, padded)[0, len(tokens) - 1].argmax())


def test_a_prompt_longer_than_the_context_is_continued_from_its_end(models):
    model, params = models("learned")
    prompt, keys = list(range(20)), jax.random.split(jax.random.key(1), 1)
    out = texts(model, params, [prompt], keys, 2, GREEDY)[0]
    assert out.tolist() == greedy(model, params, prompt, [15, 16])


@pytest.mark.parametrize(
    ("width", "max_tokens", "window", "expected"),
    [(1, 64, 64, (64, 64)), (1, 65, 64, (1, 16)), (9, 500, None, (500, 500)), (3, 9, 2, (1, 1))],
)
def test_segments(width, max_tokens, window, expected):
    assert decode.segments(width, max_tokens, window) == expected


def test_the_cache_grows_with_the_text_in_at_most_eight_stages():
    assert decode.capacities(0, 50, 64) == [50]
    assert decode.capacities(64, 256, 256) == [128, 192, 256]
    assert decode.capacities(63, 100, 256) == [64, 100]
    assert len(decode.capacities(0, 4000, 4096)) == 8
    assert decode.capacities(5, 4000, None) == [4000]


def test_a_text_that_outgrows_a_stage_of_the_cache_equals_full_forward_passes(models):
    model, params = models("none")
    model = model.clone(context=80)
    prompt, keys = list(range(30)) * 2, jax.random.split(jax.random.key(1), 1)
    out = texts(model, params, [prompt], keys, 10, GREEDY)[0]
    assert out.tolist() == greedy(model, params, prompt, [80] * 10)


def test_matrices_are_cast_before_the_loop_over_tokens_and_not_in_it(models):
    """In the loop of a bfloat16 transformer every matrix is a bfloat16 operand already."""
    model, params = models("learned")
    model, keys = model.clone(dtype=jnp.bfloat16), jax.random.split(jax.random.key(1), 1)
    traced = jax.make_jaxpr(lambda params: texts(model, params, [[1, 2]], keys, 5))(params)
    (loop,) = _scans(traced.jaxpr)
    matrices = [v.aval for v in loop.invars if v.aval.ndim == 2 and 16 in v.aval.shape]
    assert {x.dtype for x in matrices} == {jnp.dtype(jnp.bfloat16)}
    assert len(matrices) >= 8


def _scans(jaxpr):
    """The scans of a program outside of other scans."""
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "scan":
            yield eqn.params["jaxpr"].jaxpr
        else:
            for inner in eqn.params.values():
                if hasattr(inner, "jaxpr"):
                    yield from _scans(inner.jaxpr)


def test_no_tokens_are_refused():
    model = Transformer(30, 12, dim=16)
    with pytest.raises(ValueError, match="max_tokens=0 must be at least 1"):
        texts(model, {}, [[1], [2]], jax.random.split(jax.random.key(1), 2), 0)
