"""Whether real and generated samples can be told apart by their nearest neighbours."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from aigc_jax.metrics import checks
from aigc_jax.metrics.neighbours import nearest


class TwoSample(NamedTuple):
    """Leave-one-out accuracies of the 1-nearest-neighbour classifier of real against fake."""

    accuracy: float  # of all samples: 0.5 where both distributions are the same
    real: float  # of the real ones: low where fakes lie among them
    fake: float  # of the fakes: low for copies, high where they are few modes


def nearest_neighbour_accuracy(real: ArrayLike, fake: ArrayLike) -> TwoSample:
    """Share of samples [N, F] each whose nearest other sample, real or fake, is of its own kind.

    0.5 is best. 1: the two are apart; towards 0: the fakes are copies of these real samples. Where
    both kinds are equally near, as among copies of copies, half a sample counts.
    (Xu et al., arXiv 1806.07755; Lopez-Paz and Oquab, arXiv 1610.06545.)

    Raises:
      ValueError: for values that are not finite, different F or counts, or fewer than 2 samples.
    """
    metric = "nearest_neighbour_accuracy"
    real, fake = checks.pair(real, fake, ("real", "fake"), metric)
    checks.enough(real, "real", metric, 2, "to have a neighbour of its own kind")
    if len(real) != len(fake):
        raise ValueError(
            f"{len(real)} real and {len(fake)} fake samples: {metric} needs the same number, "
            "without which 0.5 is not the best value"
        )
    parts = [_right(x, other) for x, other in ((real, fake), (fake, real))]
    return TwoSample(float(np.mean(parts)), *parts)


def _right(samples: np.ndarray, others: np.ndarray) -> float:
    """Share of samples whose nearest is one of their own kind; a tie with another is half right."""
    own = nearest(samples, samples, exclude_self=True)[0]
    other = nearest(samples, others)[0]
    return float(np.mean((own < other) + 0.5 * (own == other)))
