"""What images are compared by: a classifier of their data set, Inception, or one's own function."""

import math
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np
from flax import traverse_util

from aigc_jax import names
from aigc_jax.data import cache, pipeline
from aigc_jax.data.dataset import Dataset, Info, Split
from aigc_jax.metrics import classifier, inception, pictures

AT_ONCE, BLOCK_BYTES = 1000, 64 * 2**20  # images looked at in one call, and bytes as floats
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

    def read(rows):
        batch = examples(dataset.train, rows)
        return batch["image"], batch["label"]

    def parameters():
        params = classifier.learn(
            model, read, dataset.train.length, steps=classifier.STEPS, seed=SEED
        )
        return traverse_util.flatten_dict(jax.device_get(params), sep=".")

    folder = pathlib.Path(data_dir) / "classifiers" / f"{pathlib.Path(info.name).name}-{key}"
    params = traverse_util.unflatten_dict(cache.cached(folder, parameters), sep=".")
    right = _accuracy(model, params, dataset.eval)
    classifier.check_accuracy(right)
    name = (
        f"a classifier of {info.name} (test accuracy {right:.2%}, seed {SEED}, parameters "
        f"{classifier.digest(params)}), its last hidden layer"
    )
    apply = lambda images: classifier.apply(model, params, images)
    return Judge(name, apply, classes=True, accuracy=right)


def _accuracy(model: classifier.Classifier, params: classifier.Params, split: Split) -> float:
    right = [
        len(batch["label"]) * classifier.accuracy(model, params, batch["image"], batch["label"])
        for batch in blocks(split, np.arange(split.length))
    ]
    return sum(right) / split.length


def judged(judge: Judge, parts: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray | None]:
    """(features [N, F], probabilities [N, K] or None) of raw images, a part at a time.

    Args:
      parts: uint8 or f32 [B, H, W, C], as `blocks` gives them.
    """
    found = [judge.apply(pictures.scaled(part)) for part in parts]
    features, probabilities = zip(*found, strict=True)
    whole = None if probabilities[0] is None else np.concatenate(probabilities)
    return np.concatenate(features), whole


def slices(count: int, shape: Sequence[int]) -> list[slice]:
    """Blocks of `count` images of a shape, few enough at a time that their floats fit, too."""
    step = max(1, min(AT_ONCE, BLOCK_BYTES // (4 * math.prod(shape))))
    return [slice(start, start + step) for start in range(0, count, step)]


def blocks(split: Split, indices: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
    """The raw examples of some indices [N] in order, a block at a time."""
    shape = examples(split, indices[:1])["image"].shape[1:]
    return (examples(split, indices[rows]) for rows in slices(len(indices), shape))


def images_of(split: Split, indices: np.ndarray) -> np.ndarray:
    """The raw images [N, H, W, C] of some indices; no more than these are held at any time."""
    first = examples(split, indices[:1])["image"]
    images = np.empty((len(indices), *first.shape[1:]), first.dtype)
    for rows in slices(len(indices), first.shape[1:]):
        images[rows] = examples(split, indices[rows])["image"]
    return images


def stored(images: np.ndarray, info: Info) -> np.ndarray:
    """Samples in [-1, 1] as the data set holds its images: those of 8 bits rounded to a level.

    Raises:
      ValueError: they are not finite, and so at no level.
    """
    images = np.asarray(images)
    if info.dtypes["image"] != "uint8" or images.dtype == np.uint8:
        return images
    wrong = ~np.isfinite(images).all(axis=tuple(range(1, images.ndim)))
    if wrong.any():
        raise ValueError(f"{wrong.sum():,} of {len(images):,} samples hold NaN or infinity")
    return np.rint((np.clip(images.astype(np.float32), -1, 1) + 1) * 127.5).astype(np.uint8)


def coordinates() -> Judge:
    """What points are compared by: where they are."""
    flat = lambda images: np.asarray(images, np.float32).reshape(len(images), -1)
    return Judge("their coordinates", lambda images: (flat(images), None))


def compared_rows(split: Split, count: int, start: int = 0) -> np.ndarray:
    """Rows i32 [count] of a split in a fixed order, which no seed of a run changes.

    They begin at place `start` of that order, and start anew where all have been taken.
    """
    order = np.random.default_rng(0).permutation(split.length)
    return order[np.arange(start, start + count) % split.length]


def everything(split: Split) -> dict[str, np.ndarray]:
    """All raw examples of a split."""
    return examples(split, np.arange(split.length))


def examples(split: Split, indices: np.ndarray) -> dict[str, np.ndarray]:
    """The raw examples of some indices [N]."""
    return {k: np.asarray(v) for k, v in pipeline.examples(split, indices).items()}


def labels(split: Split, indices: np.ndarray) -> np.ndarray:
    """The labels i32 [N] of some indices."""
    return np.concatenate([batch["label"] for batch in blocks(split, indices)]).astype(np.int32)


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
