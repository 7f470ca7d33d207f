"""Units against closed forms; copies against every substring there is."""

import math

import numpy as np
import pytest

from aigc_jax.metrics.text import bits_per, distinct_n, longest_copy, perplexity


def test_a_uniform_guess_has_the_vocabulary_as_perplexity_and_its_logarithm_as_bits():
    nll = math.log(256)
    assert perplexity(nll) == pytest.approx(256)
    assert perplexity(1000.0) == math.inf
    assert bits_per(10 * nll, 10) == pytest.approx(8)
    assert bits_per(10 * nll, 5) == pytest.approx(16)
    with pytest.raises(ValueError, match="0 units: bits per unit need at least 1"):
        bits_per(1.0, 0)


def test_distinct_n_counts_n_grams_within_texts():
    assert distinct_n(["aaaa"], 1) == 1 / 4
    assert distinct_n(["abab"], 2) == 2 / 3
    assert distinct_n(["ab", "ba"], 2) == 1  # "bb" across the border is none
    assert distinct_n([["to", "be"], ["or", "to", "be"]], 2) == 2 / 3
    with pytest.raises(ValueError, match="distinct_3: none of 2 texts has 3 units"):
        distinct_n(["ab", "c"], 3)


def longest_by_trying_all(text, corpus):
    ends = range(len(text) + 1)
    return max(j - i for i in ends for j in range(i, len(text) + 1) if text[i:j] in corpus)


@pytest.mark.parametrize("seed", range(5))
def test_the_longest_copy_is_the_longest_of_all_substrings(seed):
    rng = np.random.default_rng(seed)
    corpus = "".join(rng.choice(list("abc"), 300))
    texts = ["".join(rng.choice(list("abcd"), 40)) for _ in range(3)]
    length, found = longest_copy(texts, corpus)
    assert length == len(found) == max(longest_by_trying_all(text, corpus) for text in texts)
    assert found in corpus
    assert any(found in text for text in texts)


def test_all_and_nothing_are_copied():
    assert longest_copy(["xyz", "to be or not"], "to be or not to be") == (12, "to be or not")
    assert longest_copy(["xyz"], "abc") == (0, "")
    assert longest_copy([], "abc") == (0, "")
    assert longest_copy([b"\x00ab"], b"abc") == (2, b"ab")
