"""What a classifier's probabilities say of generated samples."""

import numpy as np
from numpy.typing import ArrayLike

from aigc_jax.metrics import checks


def inception_style_score(probabilities: ArrayLike) -> float:
    """How sure the classifier is of each sample, and how even it finds the classes: from 1 to K.

    exp(E_x KL(p(y|x) || p(y))) of probabilities [N, K], with p(y) their mean over all N samples
    (not over tenths of them, as some reports do), in float64. (Salimans et al., arXiv 1606.03498.)

    A diagnostic only. It saturates at K once every class is sure and equally frequent; it is blind
    to collapse within a class (one image per class scores K) and to real data, which it never
    sees; and values of different classifiers can't be compared (arXiv 1801.01973). It is an
    Inception score only where the classifier is Inception's.

    Raises:
      ValueError: for rows that are not finite, not negative and of sum 1, or fewer than two.
    """
    p = _checked(probabilities, "inception_style_score")
    checks.enough(p, "probabilities", "inception_style_score", 2, "to differ from their mean")
    return float(np.exp(np.sum(_p_log_p(p)) / len(p) - np.sum(_p_log_p(p.mean(axis=0)))))


def class_shares(probabilities: ArrayLike) -> np.ndarray:
    """Share f64 [K] of the samples [N, K] whose likeliest class each one is.

    Raises:
      ValueError: as `inception_style_score`.
    """
    found = likeliest(probabilities)
    return np.bincount(found, minlength=np.shape(probabilities)[1]) / len(found)


def likeliest(probabilities: ArrayLike) -> np.ndarray:
    """The likeliest class i64 [N] of each sample [N, K]; a bare argmax makes a class of NaN.

    Raises:
      ValueError: as `inception_style_score`, but of any number of samples.
    """
    return _checked(probabilities, "the likeliest class").argmax(axis=1)


def agreement(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """The fraction of samples [N, K] whose likeliest class is their label [N].

    Raises:
      ValueError: as `likeliest`, and for another number of labels.
    """
    found = likeliest(probabilities)
    if np.shape(labels) != found.shape:
        raise ValueError(f"labels {np.shape(labels)}: must be one for each of {len(found)} samples")
    return float((found == np.asarray(labels)).mean())


def confidence(probabilities: ArrayLike) -> float:
    """Mean probability of the likeliest class of each sample [N, K]: from 1 / K to 1.

    Raises:
      ValueError: as `inception_style_score`.
    """
    return float(_checked(probabilities, "confidence").max(axis=1).mean())


def _p_log_p(p: np.ndarray) -> np.ndarray:
    """p log p, 0 at 0."""
    return p * np.log(np.where(p > 0, p, 1))


def _checked(probabilities: ArrayLike, metric: str) -> np.ndarray:
    """Rows f64 [N, K] of sum 1 to the last digit."""
    p = checks.features(probabilities, "probabilities", metric).astype(np.float64)
    sums = p.sum(axis=1, keepdims=True)
    wrong = (p < 0).any(axis=1) | (np.abs(sums[:, 0] - 1) > 1e-3)
    if wrong.any():
        raise ValueError(
            f"probabilities: {wrong.sum()} of {len(p)} rows are no distributions, the first is "
            f"row {wrong.argmax()} of least value {p[wrong][0].min():.4g} and sum "
            f"{sums[wrong][0, 0]:.4g}; {metric} needs values of at least 0 and sums of 1"
        )
    return p / sums
