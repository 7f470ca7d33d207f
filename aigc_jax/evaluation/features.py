"""What images are compared by: a classifier of their data set, Inception, or one's own function."""

import os
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from flax import traverse_util

from aigc_jax import names
from aigc_jax.data import cache
from aigc_jax.data.dataset import Dataset, Split
from aigc_jax.metrics import classifier, inception

SEED = 0  # of the classifier: one judge for all runs


class Judge(NamedTuple):
    """A frozen feature function, and what it is in words."""

    name: str
    apply: Callable  # images f32 [N, H, W, C] -> (features [N, F], probabilities [N, K] or None)
    fid: bool = False  # whether a Fréchet distance of these features may be called FID
    classes: bool = False  # whether the probabilities are of the data set's own classes
    accuracy: float | None = None  # on the test split


def chosen(function: str = "", inception_weights: str = "") -> Judge:
    """The judge of a user's choice: a function as "module:name", or Inception's weights.

    Raises:
      ValueError: both are given, or the function or the weights are unusable.
    """
    if function and inception_weights:
        raise ValueError("--features and --inception_weights: give one of them")
    return _inception(inception_weights) if inception_weights else _own(function)


def trained(dataset: Dataset, data_dir: str | os.PathLike) -> Judge:
    """The classifier of a data set, fitted once and kept under `data_dir`.

    Raises:
      ValueError: the data has no labels, or the classifier is too weak to judge.
    """
    info = dataset.info
    if not info.num_classes or "label" not in info.shapes:
        raise ValueError(
            f"config.data.name = {info.name!r}: has no labels to train a classifier on; give "
            "--features=module:function or --inception_weights=FILE"
        )
    model = classifier.Classifier(info.num_classes)
    settings = [classifier.STEPS, classifier.BATCH, classifier.LEARNING_RATE, SEED]
    key = cache.digest([info._asdict(), repr(model), settings])

    def parameters():
        train = everything(dataset.train)
        params = classifier.fit(
            model, train["image"], train["label"], steps=classifier.STEPS, seed=SEED
        )
        return traverse_util.flatten_dict(jax.device_get(params), sep=".")

    folder = pathlib.Path(data_dir) / "classifiers" / f"{pathlib.Path(info.name).name}-{key}"
    params = traverse_util.unflatten_dict(cache.cached(folder, parameters), sep=".")
    test = everything(dataset.eval)
    right = classifier.accuracy(model, params, test["image"], test["label"])
    classifier.check_accuracy(right)
    name = (
        f"a classifier of {info.name} (test accuracy {right:.2%}, seed {SEED}, parameters "
        f"{classifier.digest(params)}), its last hidden layer"
    )
    apply = lambda images: classifier.apply(model, params, images)
    return Judge(name, apply, classes=True, accuracy=right)


def everything(split: Split) -> dict[str, np.ndarray]:
    """All raw examples of a split."""
    return examples(split, np.arange(split.length))


def examples(split: Split, indices: np.ndarray) -> dict[str, np.ndarray]:
    """The raw examples of some indices [N]."""
    if split.arrays is not None:
        return {k: np.asarray(v) for k, v in split.gather(split.arrays, indices).items()}
    found = [split.source[int(i)] for i in indices]
    return {name: np.stack([one[name] for one in found]) for name in found[0]}


def _inception(path: str) -> Judge:
    params = inception.load(path)
    name = f"Inception-v3 pool features, weights of {pathlib.Path(path).name}"
    return Judge(name, lambda images: inception.apply(params, images), fid=True)


def _own(function: str) -> Judge:
    extract = names.find(function, (), "--features")

    def apply(images: np.ndarray) -> tuple[np.ndarray, None]:
        features = np.asarray(extract(images))
        if features.ndim != 2 or len(features) != len(images):
            raise ValueError(
                f"--features={function}: gives {features.shape} for {len(images)} images; must be "
                "[N, F], one row per image"
            )
        return features, None

    return Judge(f"features of {function}", apply)
