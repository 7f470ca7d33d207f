"""The classifier that judges: what it learns, that it is reproducible, and what it refuses."""

import jax
import numpy as np
import pytest
from sklearn.datasets import load_digits

from aigc_jax.metrics import classifier

SMALL = classifier.Classifier(2, widths=(16, 8))


def two_kinds(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of a bright upper half, class 0, or lower half, class 1."""
    labels = np.arange(n, dtype=np.int32) % 2
    images = np.zeros((n, 4, 4, 1), np.uint8)
    images[labels == 0, :2] = 255
    images[labels == 1, 2:] = 255
    return images, labels


@pytest.fixture(scope="module")
def digits() -> dict[str, np.ndarray]:
    """Images uint8 and labels of the 8x8 digits, four fifths for training."""
    loaded = load_digits()
    images = np.round(loaded.images * 255 / 16).astype(np.uint8)[..., None]
    order = np.random.default_rng(0).permutation(len(images))
    images, labels = images[order], loaded.target[order]
    train, test = slice(1437), slice(1437, None)
    parts = {"x": images[train], "y": labels[train]}
    return parts | {"x_test": images[test], "y_test": labels[test]}


def test_handwritten_digits_are_told_apart(digits):
    model = classifier.Classifier(10)
    params = classifier.fit(model, digits["x"], digits["y"], steps=500)
    assert classifier.accuracy(model, params, digits["x_test"], digits["y_test"]) >= 0.97


def test_bytes_and_floats_are_the_same_images():
    images, labels = two_kinds(64)
    params = classifier.fit(SMALL, images, labels, steps=5)
    floats = images.astype(np.float32) / 127.5 - 1
    other = classifier.fit(SMALL, floats, labels, steps=5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), params, other)
    for a, b in zip(
        classifier.apply(SMALL, params, images),
        classifier.apply(SMALL, params, floats),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_chunks_teach_the_same_and_are_no_larger_than_they_may(monkeypatch):
    images, labels = two_kinds(64)
    whole = classifier.fit(SMALL, images, labels, steps=7)
    monkeypatch.setattr(classifier, "CHUNK_BYTES", 3 * classifier.BATCH * images[0].nbytes)
    asked = []

    def read(rows):
        asked.append(len(rows))
        return images[rows], labels[rows]

    other = classifier.learn(SMALL, read, len(images), steps=7)
    assert classifier.digest(other) == classifier.digest(whole)
    assert asked == [1, *(n * classifier.BATCH for n in (3, 3, 1))]


def test_parameters_are_a_function_of_the_seed():
    images, labels = two_kinds(64)
    fit = lambda seed: classifier.digest(classifier.fit(SMALL, images, labels, steps=5, seed=seed))
    assert fit(0) == fit(0)
    assert fit(0) != fit(1)


def test_digest_tells_any_change():
    params = {"a": {"kernel": np.ones((2, 3), np.float32)}, "b": np.zeros(3, np.float32)}
    changed = {"a": {"kernel": np.ones((2, 3), np.float32)}, "b": np.full(3, 1e-30, np.float32)}
    turned = {"a": {"kernel": np.ones((3, 2), np.float32)}, "b": np.zeros(3, np.float32)}
    renamed = {"a": {"bias": np.ones((2, 3), np.float32)}, "b": np.zeros(3, np.float32)}
    digests = {classifier.digest(p) for p in (params, changed, turned, renamed)}
    assert len(digests) == 4
    assert all(len(d) == 16 for d in digests)
    assert classifier.digest(jax.tree.map(jax.numpy.asarray, params)) in digests


def test_features_feed_the_verdict_and_blocks_do_not_show():
    images, labels = two_kinds(64)
    params = classifier.fit(SMALL, images, labels, steps=5)
    features, probabilities = classifier.apply(SMALL, params, images, batch=30)
    assert features.shape == (64, 8)
    assert features.dtype == probabilities.dtype == np.float32
    head = params["head"]
    logits = features @ np.asarray(head["kernel"]) + np.asarray(head["bias"])
    np.testing.assert_allclose(probabilities, jax.nn.softmax(logits), atol=1e-6)
    whole = classifier.apply(SMALL, params, images, batch=100)
    np.testing.assert_allclose(features, whole[0], atol=1e-6)


def test_every_image_is_seen_once_an_epoch():
    drawn = classifier.batches(seed=3, steps=10, batch_size=7, n=14).reshape(5, 14)
    assert all(sorted(epoch) == list(range(14)) for epoch in drawn.tolist())
    assert len({tuple(epoch) for epoch in drawn.tolist()}) == 5


def test_images_move_by_up_to_a_28th_of_their_side():
    images = np.zeros((200, 28, 28, 1), np.float32)
    images[:, 10, 20] = 1
    moved = np.asarray(classifier.shifted(jax.random.key(0), images))
    _, rows, columns, _ = np.nonzero(moved)
    assert len(rows) == 200
    places = {(r, c) for r, c in zip(rows.tolist(), columns.tolist(), strict=True)}
    assert places == {(r, c) for r in (9, 10, 11) for c in (19, 20, 21)}
    small = images[:, :8, :8]
    assert classifier.shifted(jax.random.key(0), small) is small


def test_an_accuracy_below_the_rule_is_refused():
    classifier.check_accuracy(classifier.MINIMUM_ACCURACY)
    for value in (0.5512, float("nan")):
        with pytest.raises(ValueError, match=f"{value:.4f} of the held-out images.*at least 0.9"):
            classifier.check_accuracy(value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x, y: (x, None), "dotted name"),
        (lambda x, y: (x, y[:3]), r"must be \[N, H, W, C\] and \[N\]"),
        (lambda x, y: (x[..., 0], y), r"must be \[N, H, W, C\]"),
        (lambda x, y: (x[:0], y[:0]), r"must be \[N, H, W, C\]"),
        (lambda x, y: (x, y + 1), "labels from 1 to 2: must be from 0 to 1"),
        (lambda x, y: (np.where(x > 0, np.nan, 0.0), y), "not finite"),
    ],
)
def test_what_cannot_be_learnt_is_refused(change, said):
    with pytest.raises(ValueError, match=said):
        classifier.fit(SMALL, *change(*two_kinds(8)), steps=1)
