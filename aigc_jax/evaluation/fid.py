"""The FID as it is published: samples of 8 bits against the moments of the whole training split."""

from collections.abc import Iterator

import numpy as np

from aigc_jax.data.dataset import Split
from aigc_jax.evaluation import features
from aigc_jax.evaluation.results import Findings, Metric, floors_of, measured
from aigc_jax.evaluation.study import Study, labelled, seen
from aigc_jax.metrics import frechet, pictures


def add(study: Study, found: Findings) -> None:
    """Adds the FID of as many samples as were asked for, and that of training images themselves.

    With --samples=50000 it is the FID-50k of Heusel et al. (arXiv 1706.08500). Since halves of the
    training split are compared with each other in the place of samples and the whole, their number
    is no floor of the FID, but a metric of its own.
    """
    measured(found, "fid", lambda: _of_samples(study, found))
    measured(found, "fid_train_train", lambda: _of_training(study))


def _of_samples(study: Study, found: Findings) -> Metric:
    train, test = study.dataset.train, study.dataset.eval
    made = frechet.moments(_made(study))
    reference = frechet.moments(_real(study, train))
    of_test = lambda: frechet.between(frechet.moments(_real(study, test)), reference)
    value = frechet.between(made, reference)
    below = floors_of(found, "fid", {"test | train": of_test})
    given = ", given the labels of as many" if labelled(study) else ""
    rounded = " rounded to 8 bits" if study.run.info.dtypes["image"] == "uint8" else ""
    text = (
        f"{made.count:,} samples{rounded} against all {train.length:,} training images"
        f"{given}; {study.judge.name}; the floor is of {test.length:,} test images"
    )
    return Metric(value, made.count, text, below, "lower")


def _of_training(study: Study) -> Metric:
    parts = (seen(study, kind, "features") for kind in ("other", "train"))
    other, train = (frechet.moments([part]) for part in parts)
    text = (
        f"{other.count:,} training images against {train.count:,} others: what a perfect model "
        f"would get of so few on both sides; {study.judge.name}"
    )
    return Metric(frechet.between(other, train), other.count, text)


def _made(study: Study) -> Iterator[np.ndarray]:
    """Features of all samples, a block at a time."""
    train, count, cond = study.dataset.train, max(study.asked, study.count), {}
    if labelled(study):
        rest = features.compared_rows(train, count - study.count, study.count)
        of_rest = features.labels(train, rest) if len(rest) else np.empty(0, np.int32)
        cond = {"label": np.concatenate([seen(study, "train").label, of_rest])}
    drawn = features.stored(study.draw(count, cond)["image"], study.run.info)
    for rows in features.slices(count, drawn.shape[1:]):
        yield study.judge.apply(pictures.scaled(drawn[rows]))[0]


def _real(study: Study, split: Split) -> Iterator[np.ndarray]:
    for batch in features.blocks(split, np.arange(split.length)):
        yield study.judge.apply(pictures.scaled(batch["image"]))[0]
