import fractions
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.attention import filters

LOGITS = jnp.log(jnp.array([[0.5, 0.05, 0.3, 0.15]]))
NONE = jnp.zeros((1, 4), bool)


def kept(keep):
    return np.isfinite(keep(LOGITS, NONE))[0].tolist()


def test_top_k():
    assert kept(filters.keep_top_k(2)) == [True, False, True, False]
    assert kept(filters.keep_top_k(9)) == [True] * 4


@pytest.mark.parametrize(
    ("p", "expected"),
    [(0.4, [1, 0, 0, 0]), (0.6, [1, 0, 1, 0]), (0.9, [1, 0, 1, 1]), (0.99, [1, 1, 1, 1])],
)
def test_top_p_keeps_the_fewest_that_reach_p(p, expected):
    assert kept(filters.keep_top_p(p)) == [bool(x) for x in expected]


@pytest.mark.parametrize("size", [2, 3, 10, 49, 1000])
@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_of_equally_likely_tokens_top_p_keeps_the_first_that_reach_it(size, share):
    out = filters.keep_top_p(share)(jnp.zeros((1, size)), jnp.zeros((1, size), bool))
    count = math.ceil(fractions.Fraction(str(share)) * size)
    assert np.isfinite(out)[0].tolist() == [True] * count + [False] * (size - count)


@pytest.mark.parametrize("p", [1e-45, 0.2, 0.8, 0.95, 0.999])
def test_top_p_keeps_what_float64_says(p):
    logits = 3 * np.random.default_rng(0).standard_normal((20, 500)).astype(np.float32)
    found = np.isfinite(filters.keep_top_p(p)(jnp.asarray(logits), jnp.zeros((20, 500), bool)))
    weights = np.exp(logits.astype(np.float64))
    share = -np.sort(-weights / weights.sum(-1, keepdims=True), axis=-1)
    fewest = 1 + (share.cumsum(-1) < p).sum(-1)
    assert found.sum(-1).tolist() == fewest.tolist()
    assert (
        np.where(found, logits, np.inf).min(-1) >= np.where(found, -np.inf, logits).max(-1)
    ).all()


@pytest.mark.parametrize("filtered", [{}, {"top_k": 3}, {"top_p": 0.9}, {"min_p": 0.1}])
@pytest.mark.parametrize("temperature", [1e-45, 1e-39, 1e-36, 1e-20, 1e-6])
def test_towards_temperature_0_the_likeliest_token_is_drawn(temperature, filtered):
    logits = 30 * jax.random.normal(jax.random.key(0), (40, 16))
    options = filters.Options(temperature=temperature, **filtered)
    noise = filters.gumbel(jax.random.split(jax.random.key(1), 40), 16)
    drawn = filters.draw(options, logits, jnp.zeros((40, 16), bool), noise)
    np.testing.assert_array_equal(drawn, logits.argmax(-1))


def test_low_precision_logits_are_filtered_in_float32():
    """In bfloat16 a sum of 2,000 probabilities is stuck far below 1, and all tokens were kept."""
    logits, seen = jnp.zeros((1, 2000), jnp.bfloat16), jnp.zeros((1, 2000), bool)
    noise = jnp.arange(2000.0)[None]
    assert filters.draw(filters.Options(top_p=0.75), logits, seen, noise).tolist() == [1499]


def test_min_p_is_relative_to_the_likeliest():
    assert kept(filters.keep_min_p(0.25)) == [True, False, True, True]
    assert kept(filters.keep_min_p(1.0)) == [True, False, False, False]


def test_repetition_penalty_makes_seen_tokens_less_likely_whatever_their_sign():
    logits, seen = jnp.array([[2.0, -2.0, 2.0, -2.0]]), jnp.array([[True, True, False, False]])
    out = filters.penalise_repetition(2.0)(logits, seen)
    np.testing.assert_array_equal(out, [[1.0, -4.0, 2.0, -2.0]])


def test_temperature_divides():
    np.testing.assert_allclose(filters.at_temperature(0.5)(LOGITS, NONE), 2 * LOGITS)


def test_filters_act_in_the_stated_order():
    """At temperature 0.5 the likeliest token has 0.68: top-p 0.6 after it keeps one, not two."""
    options = filters.Options(temperature=0.5, top_p=0.6)
    logits = LOGITS
    for keep in filters.chain(options):
        logits = keep(logits, NONE)
    assert np.isfinite(logits).tolist() == [[True, False, False, False]]
    assert filters.chain(filters.Options()) == []
    names = [f.__name__ for f in filters.chain(filters.Options(0.5, 2, 0.9, 0.1, 1.2))]
    assert names == ["repetition", "scaled", "most_likely", "nucleus", "likely"]


def test_draws_have_the_filtered_distribution():
    keys = jax.random.split(jax.random.key(0), 4000)
    options = filters.Options(top_k=2)
    noise = filters.gumbel(keys, 4)
    tokens = filters.draw(options, jnp.tile(LOGITS, (4000, 1)), jnp.tile(NONE, (4000, 1)), noise)
    share = np.bincount(tokens, minlength=4) / 4000
    np.testing.assert_allclose(share, [5 / 8, 0, 3 / 8, 0], atol=0.03)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("temperature", -0.1),
        ("top_k", -1),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("min_p", 2.0),
        ("repetition_penalty", 0.0),
    ],
)
def test_a_value_outside_its_range_is_refused_by_name(option, value):
    with pytest.raises(ValueError, match=f"{option} = {value}"):
        filters.check(filters.Options(**{option: value}))
