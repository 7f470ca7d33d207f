"""What generated images are compared by: like with like, from arrays alone, in little memory."""

import tracemalloc
import types

import numpy as np
import pytest

from aigc_jax.data.dataset import Dataset, Info, Split, rows
from aigc_jax.evaluation import features, images, results
from aigc_jax.evaluation.study import Looked, Study
from aigc_jax.metrics import distances, kernel, pictures


@pytest.fixture
def looked():
    """Twelve images of three classes, alike within a class, as fakes and as real ones."""
    classes = np.random.default_rng(0).uniform(-1, 1, size=(3, 16, 16, 1)).astype(np.float32)
    label = np.arange(12) % 3
    return Looked(lambda num: classes[label][:num], 12, label, None, None)


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


SHAPE = (16, 16, 3)


def streamed(length, seed):
    """Images of 8 bits that exist only while they are looked at."""
    draw = lambda i: np.random.default_rng([seed, i]).integers(0, 256, SHAPE).astype(np.uint8)

    class Source:
        __len__ = lambda self: length
        __getitem__ = lambda self, i: {"image": draw(i)}

    return Split(length, source=Source())


def held(split):
    return Split(split.length, features.everything(split), rows)


def study_of(train, test, draw, count=None):
    """A study of a model that is nothing but its sampler; features are means of columns."""
    names = {"image": "uint8"}
    info = Info("own", {"train": 1, "test": 1}, "test", {"image": SHAPE}, names)
    algorithm = types.SimpleNamespace(conditions=(), heads={})
    run = types.SimpleNamespace(algorithm=algorithm, info=info)
    means = lambda pictures: (pictures.mean((1, 3)), None)
    count = count or train.length // 2
    dataset = Dataset(info, train, test)
    return Study(run, None, dataset, features.Judge("means", means), "", count, 0, draw, {})


def found_of(study, without=frozenset()):
    found = results.nothing()
    for title, task in images.tasks(study):
        if title in without:
            continue
        results.attempt(found, title, lambda task=task: task(found))
    return found


def samples(num, cond=None):
    """Levels, as a sampler gives them."""
    return {"image": np.random.default_rng(9).uniform(-1, 1, (num, *SHAPE)).astype(np.float32)}


def small_blocks(monkeypatch, size=2**20):
    for module in (features, distances, kernel):
        monkeypatch.setattr(module, "BLOCK_BYTES", size)
    monkeypatch.setattr(pictures, "BLOCK", size // 4)


def test_memory_does_not_grow_with_images_as_floats(monkeypatch):
    """Floats of all would be four times as much, and there were several of them."""
    small_blocks(monkeypatch)
    train, test = streamed(8000, 0), streamed(120, 1)
    drawn = held(streamed(200, 2)).arrays
    study = study_of(train, test, lambda num, cond: {"image": drawn["image"][:num]}, 200)
    tracemalloc.start()
    # Drawing pictures and compiling MS-SSIM take memory of their own.
    found = found_of(study, {"pictures", "diversity"})
    images._mean_distance(study.looked["fake"])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not found.refused
    assert "memorisation_ratio" in found.metrics
    assert peak < 1.2 * 8000 * np.prod(SHAPE)


def test_streamed_images_in_small_blocks_give_the_numbers_of_held_ones(monkeypatch):
    monkeypatch.setattr(images, "PAIRS", 20)
    train, test = streamed(400, 0), streamed(120, 1)
    draw = lambda num, cond: samples(num)
    whole = found_of(study_of(held(train), held(test), draw)).metrics
    small_blocks(monkeypatch)
    parts = found_of(study_of(train, test, draw)).metrics
    assert set(whole) == set(parts) >= {"frechet_distance", "ms_ssim", "memorisation_ratio"}
    for name, metric in whole.items():
        assert parts[name].value == pytest.approx(metric.value, rel=1e-5), name
        assert parts[name].floors == pytest.approx(dict(metric.floors), rel=1e-5), name
    assert "rounded to 8 bits" in whole["frechet_distance"].protocol


def test_copies_of_training_images_are_found_in_whatever_block(monkeypatch):
    small_blocks(monkeypatch)
    train, test = streamed(400, 0), streamed(120, 1)
    copies = held(train).arrays["image"][100:300] / np.float32(127.5) - 1
    found = found_of(study_of(train, test, lambda num, cond: {"image": copies[:num]}))
    assert found.metrics["memorisation_ratio"].value == 0
    assert found.metrics["memorised_share"].value == 1


def test_pixels_are_measured_in_their_own_unit(monkeypatch):
    study = study_of(streamed(40, 0), streamed(20, 1), lambda num, cond: samples(num))
    found = found_of(study).metrics["pairwise_distance"]
    flat = samples(20)["image"].reshape(20, -1)
    gaps = np.linalg.norm(flat[:, None] - flat[None], axis=-1)
    assert found.value == pytest.approx(gaps.sum() / (20 * 19), rel=1e-3)


def test_samples_are_rounded_to_levels_or_refused():
    info = study_of(streamed(4, 0), streamed(2, 1), None).run.info
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    floats = levels / np.float32(127.5) - 1
    np.testing.assert_array_equal(features.stored(floats + 0.003, info), levels)
    np.testing.assert_array_equal(features.stored(levels, info), levels)
    with pytest.raises(ValueError, match="1 of 2 samples hold NaN"):
        features.stored(np.stack([floats[0], floats[0] * np.nan]), info)
    kept = info._replace(dtypes={"image": "float32"})
    assert features.stored(floats, kept) is floats
