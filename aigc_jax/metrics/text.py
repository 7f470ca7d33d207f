"""Text: what a likelihood is called in other units, how varied samples are, and what they copy."""

import math
from collections.abc import Sequence


def perplexity(nll: float) -> float:
    """exp(nll), the number of equally likely tokens that would be as hard to predict.

    Infinite where that is beyond float64.

    Args:
      nll: nats per token.
    """
    try:
        return math.exp(nll)
    except OverflowError:
        return math.inf


def bits_per(nll_sum: float, count: int) -> float:
    """nll_sum / (ln 2 count): bits per character, byte or whatever is counted.

    Args:
      nll_sum: nats of a whole text.
      count: characters, bytes, ... of that text.

    Raises:
      ValueError: nothing is counted.
    """
    if count < 1:
        raise ValueError(f"a text of {count} units: bits per unit need at least 1")
    return nll_sum / math.log(2) / count


def distinct_n(texts: Sequence[Sequence], n: int) -> float:
    """Different n-grams over all n-grams of the texts together, in (0, 1] (arXiv 1510.03055).

    It falls with the length of the texts: compare texts of equal number and length only.

    Args:
      texts: sequences of hashable units, such as lists of words.
      n: at least 1.

    Raises:
      ValueError: no text has n units.
    """
    grams = [gram for text in texts for gram in zip(*(text[i:] for i in range(n)), strict=False)]
    if not grams:
        raise ValueError(f"distinct_{n}: none of {len(texts)} texts has {n} units")
    return len(set(grams)) / len(grams)


def longest_copy(texts: Sequence[Sequence], corpus: Sequence) -> tuple[int, Sequence]:
    """(length, text) of the longest part of any text that stands in the corpus; exact.

    Of each text, windows grow to the right while the corpus holds them and are moved on when it
    does not, so that only windows longer than the best one so far are looked up.

    Args:
      texts: strings or bytes; all of the type of `corpus`.
      corpus: searched with `in`.

    Returns:
      the first longest one; (0, empty) if they have nothing in common.
    """
    best = corpus[:0]
    for text in texts:
        start = 0
        while start + len(best) < len(text):
            end = start + len(best) + 1
            while end <= len(text) and text[start:end] in corpus:
                best, end = text[start:end], end + 1
            start += 1
    return len(best), best
