"""The measures that generated images are judged by."""

import itertools

import numpy as np
import pytest

from aigc_jax.data.dataset import Split, rows
from benchmarks.quality import classifier


def two_kinds(n: int) -> Split:
    """Images of a bright upper half, class 0, or lower half, class 1."""
    label = np.arange(n, dtype=np.int32) % 2
    image = np.zeros((n, 4, 4, 1), np.uint8)
    image[label == 0, :2] = 255
    image[label == 1, 2:] = 255
    return Split(n, {"image": image, "label": label}, rows)


def test_the_classifier_learns_what_can_be_told_apart():
    model = classifier.Classifier(num_classes=2, width=8)
    params = classifier.fit(model, two_kinds(64), steps=100)
    predict = lambda image: np.asarray(model.apply({"params": params}, image))
    assert classifier.accuracy(predict, two_kinds(10)) == 1.0


def test_images_are_judged_by_shares_confidence_and_agreement():
    probabilities = np.array([[0.9, 0.1, 0.0], [0.8, 0.2, 0.0], [0.6, 0.3, 0.1], [0.3, 0.7, 0.0]])
    said = classifier.judge(lambda image: probabilities, np.zeros(4), np.array([0, 0, 1, 1]))
    assert said["shares"] == [0.75, 0.25, 0.0]
    assert said["least_share"] == 0.0
    assert said["confidence"] == pytest.approx(0.75)
    assert said["agreement"] == 0.75


def test_mean_distance_is_over_pairs_of_different_images():
    images = np.random.default_rng(0).normal(size=(7, 3, 3, 1)).astype(np.float32)
    pairs = [np.linalg.norm(a - b) for a, b in itertools.combinations(images, 2)]
    assert classifier.mean_distance(images) == pytest.approx(np.mean(pairs), rel=1e-6)


def test_images_that_are_all_the_same_have_no_distance():
    # Rounding in the squared norms leaves about 1e-7 of them.
    assert classifier.mean_distance(np.full((5, 8, 8, 1), 0.3)) < 1e-6
