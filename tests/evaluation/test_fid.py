"""With Inception's features the reference is the whole training split, as the FID is published."""

import types

import numpy as np
import pytest

from aigc_jax.data.dataset import Dataset, Info, Split, rows
from aigc_jax.evaluation import features, images, results
from aigc_jax.evaluation.study import Study
from aigc_jax.metrics import frechet


def halves(pictures):
    """Six features, sensitive to less than a level."""
    return np.exp(3 * pictures.reshape(len(pictures), 6, -1).mean(-1)), None


def levels(count, seed):
    return np.random.default_rng(seed).integers(0, 256, (count, 4, 6, 1)).astype(np.uint8)


def study_of(draw, train=900, count=100, asked=300):
    shape = {"image": (4, 6, 1)}
    info = Info("own", {"train": train, "test": 80}, "test", shape, {"image": "uint8"})
    splits = [Split(n, {"image": levels(n, seed)}, rows) for seed, n in enumerate((train, 80))]
    run = types.SimpleNamespace(algorithm=types.SimpleNamespace(conditions=(), heads={}), info=info)
    judge = features.Judge("Inception", halves, fid=True)
    dataset = Dataset(info, *splits)
    return Study(run, None, dataset, judge, "", count, 0, draw, {}, asked)


def found_of(study):
    found = results.nothing()
    for title, task in images.tasks(study):
        if "image" in title or "sample" in title or "distance" in title:
            results.attempt(found, title, lambda task=task: task(found))
    return found


def of(raw):
    return halves(raw / np.float32(127.5) - 1)[0]


def test_samples_of_eight_bits_are_compared_with_the_whole_training_split(monkeypatch):
    monkeypatch.setattr(features, "AT_ONCE", 64)
    made = levels(300, 9)
    between_levels = np.random.default_rng(1).uniform(-0.4, 0.4, made.shape)
    drawn = ((made + between_levels) / 127.5 - 1).clip(-1, 1).astype(np.float32)
    study = study_of(lambda num, cond: {"image": drawn[:num]})
    found = found_of(study)
    train, test = (split.arrays["image"] for split in study.dataset[1:3])
    fid = found.metrics["fid"]
    assert fid.value == pytest.approx(frechet.frechet_distance(of(made), of(train)), rel=1e-4)
    assert fid.samples == 300
    below = frechet.frechet_distance(of(test), of(train))
    assert fid.floors == {"test | train": pytest.approx(below, rel=1e-4)}
    assert "all 900 training images" in fid.protocol
    halves_of = [study.looked[kind].features for kind in ("other", "train")]
    own = found.metrics["fid_train_train"]
    assert own.value == pytest.approx(frechet.frechet_distance(*halves_of), rel=1e-6)
    assert (own.samples, own.better) == (100, "")
    assert "kid" in found.metrics


def test_what_has_no_floor_has_an_fid(monkeypatch):
    drawn = levels(300, 9) / np.float32(127.5) - 1
    study = study_of(lambda num, cond: {"image": drawn[:num]}, count=6)
    study = study._replace(
        dataset=study.dataset._replace(eval=Split(3, {"image": levels(3, 2)}, rows))
    )
    found = found_of(study)
    assert found.metrics["fid"].floors == {}
    assert "at least 7" in found.refused["fid, test | train"]
    assert "at least 7" in found.refused["fid_train_train"]
