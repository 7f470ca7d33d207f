"""Fréchet distance between two sets of features, each taken for a Gaussian."""

import numpy as np
from numpy.typing import ArrayLike

from aigc_jax.metrics import checks

METRIC = "frechet_distance"


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
    names = ("features_a", "features_b")
    a, b = checks.pair(features_a, features_b, names, METRIC)
    why = f"one more than the {a.shape[1]} dimensions"
    for name, values in zip(names, (a, b), strict=True):
        checks.enough(values, name, METRIC, a.shape[1] + 1, why)
    return _between_gaussians(*_moments(a), *_moments(b))


def _moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean [F] and unbiased covariance [F, F]."""
    mean = features.mean(axis=0, dtype=np.float64)
    centred = features - mean
    return mean, centred.T @ centred / (len(features) - 1)


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
