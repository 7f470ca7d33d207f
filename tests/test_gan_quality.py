"""GANs learn all ten digits: judged by a classifier of real ones."""

import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax import build, config, loop, preprocess, samples
from benchmarks.quality import classifier

NUM = 1000


def judged(folder, name: str, seed: int, *words: tuple[str, str]) -> dict:
    """{"shares", "confidence", "distance" beside real data} of 1,000 samples of a config."""
    words = [("seed", str(seed)), ("mesh.data", "1"), ("data.data_dir", str(folder)), *words]
    completed = build.configured(config.load(f"configs/{name}.py"), words)
    dataset = build.load_data(completed)
    state = loop.train(completed, folder / f"run-{seed}")
    algorithm = build.run(completed, dataset.info).algorithm
    drawn = samples.draw(algorithm, state, seed, NUM, {}, {}, batch_size=100)
    predict = classifier.fitted(dataset, folder)
    assert classifier.accuracy(predict, dataset.eval) >= 0.97
    real = preprocess.normalise({k: jnp.asarray(v) for k, v in dataset.eval.arrays.items()})
    said = classifier.judge(predict, drawn["image"])
    distance = classifier.mean_distance(drawn["image"])
    return said | {"distance": distance / classifier.mean_distance(np.asarray(real["image"][:NUM]))}


def test_a_short_run_makes_every_digit(tmp_path):
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
