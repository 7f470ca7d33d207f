"""GANs learn all ten digits: judged by a classifier of real ones."""

import numpy as np
import pytest

from aigc_jax import build, config, loop, samples
from aigc_jax.evaluation import features
from benchmarks.quality import gan

NUM = 1000


def judged(folder, name: str, seed: int, *words: tuple[str, str]) -> dict:
    """{"shares", "confidence", "distance" beside real data} of 1,000 samples of a config."""
    words = [("seed", str(seed)), ("mesh.data", "1"), ("data.data_dir", str(folder)), *words]
    completed = build.configured(config.load(f"configs/{name}.py"), words)
    dataset = build.load_data(completed)
    state = loop.train(completed, folder / f"run-{seed}")
    algorithm = build.run(completed, dataset.info).algorithm
    cond = samples.unprompted(algorithm, dataset.info, None, NUM)  # all classes in turn, if any
    drawn = samples.draw(algorithm, state, seed, NUM, cond, {}, batch_size=100)
    classifier = features.trained(dataset, folder)
    assert classifier.accuracy >= 0.97
    said = gan.judge(classifier.apply(drawn["image"])[1])
    return said | {"distance": gan.distance(drawn["image"], gan.real_images(dataset))}


def test_images_are_judged_by_shares_confidence_and_agreement():
    probabilities = np.array([[0.9, 0.1, 0.0], [0.8, 0.2, 0.0], [0.6, 0.3, 0.1], [0.3, 0.7, 0.0]])
    said = gan.judge(probabilities, np.array([0, 0, 1, 1]))
    assert said["shares"] == [0.75, 0.25, 0.0]
    assert said["least_share"] == 0.0
    assert said["confidence"] == pytest.approx(0.75)
    assert said["agreement"] == 0.75


def test_distance_is_relative_to_that_of_real_images():
    real = np.random.default_rng(0).normal(size=(20, 4, 4, 1)).astype(np.float32)
    assert gan.distance(real / 2, real) == pytest.approx(0.5, rel=1e-4)


def test_a_short_run_makes_every_digit(tmp_path, optimised):
    few = [(key, "1500") for key in ("steps", "eval_every", "save_every")]
    said = judged(tmp_path, "gan_digits", 0, *few)
    assert min(said["shares"]) >= 0.02
    assert said["confidence"] >= 0.85
    assert said["distance"] >= 0.75


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_gan_digits_makes_every_digit_recognisably(tmp_path, seed):
    said = judged(tmp_path, "gan_digits", seed)
    assert min(said["shares"]) >= 0.03
    assert said["confidence"] >= 0.9
    assert said["distance"] >= 0.8


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_gan_mnist_makes_every_digit_recognisably(tmp_path, manual_dir, seed):
    said = judged(tmp_path, "gan_mnist", seed, ("data.manual_dir", str(manual_dir)))
    assert min(said["shares"]) >= 0.03
    assert said["confidence"] >= 0.9
    assert said["distance"] >= 0.8
