"""Scores of a classifier's probabilities in the cases that can be counted by hand."""

import numpy as np
import pytest

from aigc_jax.metrics.scores import (
    agreement,
    class_shares,
    confidence,
    inception_style_score,
    likeliest,
)


def softmax(logits):
    e = np.exp(logits)
    return e / e.sum(axis=1, keepdims=True)


def test_score_of_sure_and_even_is_the_number_of_classes():
    for num_classes in (2, 10):
        sure = np.eye(num_classes, dtype=np.float32)[np.arange(6 * num_classes) % num_classes]
        assert inception_style_score(sure) == pytest.approx(num_classes, rel=1e-12)


def test_score_is_one_where_samples_do_not_differ():
    one = softmax(np.random.default_rng(0).normal(size=(1, 10)))
    assert inception_style_score(np.repeat(one, 50, axis=0)) == pytest.approx(1, rel=1e-12)
    assert inception_style_score(np.eye(10)[[3] * 50]) == pytest.approx(1, rel=1e-12)


def test_score_equals_the_mean_of_divergences():
    p = softmax(3 * np.random.default_rng(1).normal(size=(40, 7)))
    marginal = p.mean(axis=0)
    divergences = [sum(q * np.log(q / m) for q, m in zip(row, marginal, strict=True)) for row in p]
    assert inception_style_score(p) == pytest.approx(np.exp(np.mean(divergences)), rel=1e-12)
    assert 1 < inception_style_score(p) < 7


def test_score_is_blind_to_collapse_within_classes():
    """The warning in its docstring: ten images, repeated, score as well as ten classes can."""
    assert inception_style_score(np.repeat(np.eye(10), 100, axis=0)) == pytest.approx(10)


def test_shares_and_confidence_are_those_of_the_likeliest_class():
    p = np.array([[0.7, 0.2, 0.1], [0.6, 0.4, 0.0], [0.1, 0.4, 0.5], [0.9, 0.1, 0.0]])
    np.testing.assert_array_equal(class_shares(p), [0.75, 0, 0.25])
    assert confidence(p) == pytest.approx(0.675)
    np.testing.assert_array_equal(likeliest(p), [0, 0, 2, 0])
    assert agreement(p, [0, 1, 2, 0]) == 0.75


@pytest.mark.parametrize("row", [[0.5, 0.6], [1.5, -0.5], [0.0, 0.0]])
def test_refuses_rows_that_are_no_distribution(row):
    with pytest.raises(ValueError, match="1 of 3 rows are no distributions, the first is row 1"):
        inception_style_score([[0.5, 0.5], row, [1, 0]])


def test_refuses_nan():
    for metric in (confidence, class_shares, likeliest, inception_style_score):
        with pytest.raises(ValueError, match="probabilities: 1 of 4 values are NaN"):
            metric([[0.5, 0.5], [np.nan, 1]])
    with pytest.raises(ValueError, match="values are NaN"):
        agreement([[0.5, 0.5], [np.nan, 1]], [0, 0])  # to argmax a NaN is the likeliest class


def test_refuses_one_sample_and_labels_of_others():
    with pytest.raises(ValueError, match="of 1 samples: inception_style_score needs at least 2"):
        inception_style_score([[0.2, 0.8]])
    with pytest.raises(ValueError, match=r"labels \(1,\): must be one for each of 2"):
        agreement([[0.5, 0.5], [0, 1]], [0])
