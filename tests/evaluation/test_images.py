"""What generated images are compared by: like with like, from arrays alone."""

import types

import numpy as np
import pytest

from aigc_jax.evaluation import images, results


@pytest.fixture
def looked():
    """Twelve images of three classes, alike within a class, as fakes and as real ones."""
    classes = np.random.default_rng(0).uniform(-1, 1, size=(3, 16, 16, 1)).astype(np.float32)
    label = np.arange(12) % 3
    return images.Looked(classes[label], label, None, None)


def diversity(fake, test):
    study = types.SimpleNamespace(looked={"fake": fake, "test": test}, count=12, seed=0)
    found = results.nothing()
    images._diversity(study, found)
    return found.metrics["ms_ssim"]


def test_images_of_a_class_are_compared_with_each_other(looked):
    within = diversity(looked, looked)
    assert (within.value, within.floors["test"]) == pytest.approx((1, 1))
    assert "pairs within a class" in within.protocol
    # Without labels of the samples, real ones are compared across classes too.
    across = diversity(looked._replace(label=None), looked)
    assert across.value == across.floors["test"] < 0.7
    assert "pairs of any two" in across.protocol
