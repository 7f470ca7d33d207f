"""Training on one set and testing on another tells whether labels fit their images."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from aigc_jax.metrics import conditional


@pytest.fixture(scope="module")
def digits() -> dict[str, np.ndarray]:
    """Images f32 in [-1, 1] and labels of the 8x8 digits, four fifths for training."""
    loaded = load_digits()
    order = np.random.default_rng(0).permutation(len(loaded.images))
    images = loaded.images[order, ..., None].astype(np.float32) / 8 - 1
    labels = loaded.target[order]
    train, test = slice(1437), slice(1437, None)
    parts = {"x": images[train], "y": labels[train]}
    return parts | {"x_test": images[test], "y_test": labels[test]}


def test_training_on_real_labels_beats_training_on_shuffled_ones(digits):
    test = digits["x_test"], digits["y_test"]
    score = lambda labels: conditional.accuracy_score(digits["x"], labels, *test, 10, steps=200)
    shuffled = np.random.default_rng(0).permutation(digits["y"])
    assert score(digits["y"]) >= 0.9
    assert score(shuffled) <= 0.3


def test_images_of_one_example_each_teach_less_than_all(digits):
    # The score sees what the reverse does not: here every image is real and there are ten of them.
    first = [np.flatnonzero(digits["y"] == label)[0] for label in range(10)]
    few = digits["x"][first], digits["y"][first]
    test = digits["x_test"], digits["y_test"]
    assert conditional.accuracy_score(*few, *test, 10, steps=200) <= 0.85
    assert conditional.accuracy_score(digits["x"], digits["y"], *few, 10, steps=200) == 1.0


def test_sets_that_do_not_fit_are_refused(digits):
    x, y = digits["x"][:8], digits["y"][:8]
    with pytest.raises(ValueError, match="same height, width and channels"):
        conditional.accuracy_score(x, y, x[:, :3], y, 10, steps=1)
    with pytest.raises(ValueError, match="must be from 0 to"):
        conditional.accuracy_score(x, y, x, y + 20, 10, steps=1)
    with pytest.raises(ValueError, match="all labels are 3: a classifier needs examples of two"):
        conditional.accuracy_score(x, np.full(8, 3), x, y, 10, steps=1)
    with pytest.raises(ValueError, match="not finite"):
        conditional.accuracy_score(x * np.nan, y, x, y, 10, steps=1)
