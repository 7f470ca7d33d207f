"""Stacked MNIST: which of the thousand triples of digits a generator makes."""

import os
from collections.abc import Callable

import numpy as np

from aigc_jax.data.dataset import Dataset
from aigc_jax.evaluation import features
from aigc_jax.evaluation.results import Findings, Metric, nothing
from aigc_jax.metrics import modes, scores


def judge(dataset: Dataset, data_dir: str | os.PathLike) -> features.Judge:
    """Features of the three channels beside each other, by a classifier of single digits."""
    single = features.trained(dataset.digits, data_dir)

    def apply(images: np.ndarray) -> tuple[np.ndarray, None]:
        found = [single.apply(images[..., c : c + 1])[0] for c in range(images.shape[-1])]
        return np.concatenate(found, axis=1), None

    return features.Judge(f"{single.name}, of each channel", apply, accuracy=single.accuracy)


def findings(dataset: Dataset, data_dir: str | os.PathLike, draw: Callable) -> Findings:
    """Modes and their KL divergence from uniform at exactly 26,000 samples.

    `draw` maps a number to that many samples [N, H, W, 3], uint8 or in [-1, 1].
    """
    single = features.trained(dataset.digits, data_dir)
    made = draw(modes.STACKED_SAMPLES)
    channels = [_digits(single, made[..., c : c + 1]) for c in range(3)]
    values = modes.stacked_modes(np.stack(channels, axis=1).astype(np.int32))
    real = modes.stacked_modes(_true(dataset))
    text = f"of 1,000, each channel classified by {single.name}"
    count, found = modes.STACKED_SAMPLES, nothing()
    found.metrics["modes"] = Metric(
        values.found, count, f"modes {text}", {"true labels": real.found}, "higher"
    )
    found.metrics["modes_kl"] = Metric(
        *(values.kl, count, f"KL(samples' modes | uniform) {text}"),
        *({"true labels": real.kl}, "lower", "nats"),
    )
    return found


def _digits(single: features.Judge, images: np.ndarray) -> np.ndarray:
    """The likeliest digit of each image [N, H, W, 1], uint8 or in [-1, 1]."""
    parts = (images[rows] for rows in features.slices(len(images), images.shape[1:]))
    return scores.likeliest(features.judged(single, parts)[1])


def _true(dataset: Dataset) -> np.ndarray:
    """Modes of as many training triples, by their true labels."""
    indices = np.arange(modes.STACKED_SAMPLES) % dataset.train.length
    labels = dataset.train.gather(dataset.train.arrays, indices)["label"]
    return np.asarray(labels, np.int32)
