"""Files unlike the rest, by an isolation forest on cheap features."""

import numpy as np

LEAST = 64  # files of which something can be said
SEED = 0


def scores(features: np.ndarray) -> np.ndarray:
    """How easily each row of features [N, F] is isolated, [N] in (0, 1): 0.5 is ordinary.

    The score is 2^(-E[h] / c) with h the depth at which random cuts leave a row alone (Liu, Ting
    and Zhou 2008, "Isolation Forest"). Of less than 64 rows nothing is said: all zeros.
    """
    if len(features) < LEAST:
        return np.zeros(len(features))
    from sklearn.ensemble import IsolationForest

    forest = IsolationForest(n_estimators=200, random_state=SEED)
    return -forest.fit(features).score_samples(features)


def strangest(features: np.ndarray, row: int) -> int:
    """The feature in which a row is furthest from the median, in units of the quartiles' range."""
    middle = np.median(features, axis=0)
    low, high = np.percentile(features, [25, 75], axis=0)
    return int(np.argmax(np.abs(features[row] - middle) / (high - low + 1e-6)))
