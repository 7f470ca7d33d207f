"""Fréchet distance between two sets of features, each taken for a Gaussian."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from aigc_jax.metrics import checks

METRIC, NAMES = "frechet_distance", ("features_a", "features_b")


def frechet_distance(features_a: ArrayLike, features_b: ArrayLike) -> float:
    """Squared 2-Wasserstein distance of the Gaussians with the moments of both sets.

    ||mu_a - mu_b||^2 + tr(A + B - 2 (A B)^(1/2)), with the unbiased covariances A and B of
    features [N, F] and [M, F]; 0 is best, the unit is that of the features, squared. Computed in
    float64. (Heusel et al., arXiv 1706.08500.)

    The estimate is biased upwards by an amount that falls with the number of samples and depends
    on the distributions: compare values of the same counts only, and beside their floor on real
    data. It depends on the features as much: it is an FID where they are Inception's, and only
    there.

    Raises:
      ValueError: for values that are not finite, different F, or fewer than F + 1 samples on a
        side, with which the covariance is singular.
    """
    a, b = checks.pair(features_a, features_b, NAMES, METRIC)
    return between(moments([a]), moments([b]))


class Moments(NamedTuple):
    """What a Fréchet distance takes of features [N, F]."""

    count: int  # N
    mean: np.ndarray  # f64 [F]
    scatter: np.ndarray  # f64 [F, F], the sum of (x - mean) (x - mean)^T


def moments(parts: Iterable[ArrayLike]) -> Moments:
    """The moments of features that come in parts [n, F], held one at a time.

    Parts are joined by the update of Chan et al. (1983), which loses no digits to a large mean.

    Raises:
      ValueError: for values that are not finite, different F, or no part at all.
    """
    total = None
    for part in parts:
        values = checks.features(part, "features", METRIC)
        mean = values.mean(axis=0, dtype=np.float64)
        centred = values - mean
        new = Moments(len(values), mean, centred.T @ centred)
        total = new if total is None else _joined(total, new)
    if total is None:
        raise ValueError(f"no features at all: {METRIC} needs samples")
    return total


def _joined(a: Moments, b: Moments) -> Moments:
    if a.mean.shape != b.mean.shape:
        raise ValueError(f"features of {a.mean.size} and {b.mean.size} dimensions: {METRIC} of one")
    count, gap = a.count + b.count, b.mean - a.mean
    between = np.outer(gap, gap) * (a.count * b.count / count)
    return Moments(count, a.mean + gap * (b.count / count), a.scatter + b.scatter + between)


def between(a: Moments, b: Moments) -> float:
    """The `frechet_distance` of features with these moments.

    Raises:
      ValueError: for different F, or fewer than F + 1 samples on a side.
    """
    if a.mean.shape != b.mean.shape:
        raise ValueError(f"features of {a.mean.size} and {b.mean.size} dimensions: {METRIC} of one")
    for name, side in zip(NAMES, (a, b), strict=True):
        least = side.mean.size + 1
        if side.count < least:
            raise ValueError(
                f"{name} of {side.count} samples: {METRIC} needs at least {least}, one more than "
                f"the {side.mean.size} dimensions"
            )
    a_cov, b_cov = (side.scatter / (side.count - 1) for side in (a, b))
    return _between_gaussians(a.mean, a_cov, b.mean, b_cov)


def _between_gaussians(
    mean_a: np.ndarray, cov_a: np.ndarray, mean_b: np.ndarray, cov_b: np.ndarray
) -> float:
    # A B is not symmetric, but A^(1/2) B A^(1/2) is, has the same eigenvalues, and these are
    # real and at least 0 but for rounding: no complex matrix root and no added diagonal.
    values, vectors = np.linalg.eigh(cov_a)
    root_a = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    product = root_a @ cov_b @ root_a
    eigenvalues = np.linalg.eigvalsh((product + product.T) / 2)
    trace_of_root = np.sqrt(np.maximum(eigenvalues, 0)).sum()
    distance = np.sum((mean_a - mean_b) ** 2) + np.trace(cov_a + cov_b) - 2 * trace_of_root
    return max(float(distance), 0.0)
