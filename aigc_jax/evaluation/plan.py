"""Which parts of an evaluation a run gets: by what its batches hold and what its model can do."""

import argparse
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from aigc_jax import build, core, parallel, samples
from aigc_jax.data import points as mixtures
from aigc_jax.data import stacked as stacks
from aigc_jax.data.dataset import Dataset
from aigc_jax.evaluation import cost, features, images, language, likelihood, points, stacked
from aigc_jax.evaluation.results import Findings, extend

BATCH = 128  # images drawn at a time
Task = tuple[str, Callable[[Findings], None]]


class Subject(NamedTuple):
    """The run that is evaluated, and the command's flags."""

    run: build.Run
    state: core.State
    dataset: Dataset
    workdir: pathlib.Path
    mesh: jax.sharding.Mesh
    flags: argparse.Namespace


def tasks(subject: Subject, say: Callable[[str], None]) -> list[Task]:
    """(what it is, (findings so far) -> None) in the order of the report.

    Raises:
      ValueError: for flags that do not go with the run.
    """
    batch, heads = subject.run.example.batch, subject.run.algorithm.heads
    planned: list[Task] = []
    if "tokens" in batch:
        planned.append(("language", _adds(lambda: _language(subject, say))))
    elif subject.dataset.info.name in mixtures.SETS:
        planned.append(("modes", _adds(lambda: _points(subject))))
    elif "image" in batch:
        say("training the classifier, or reading it")
        planned += _of_images(subject)
    if "log_weights" in heads:
        planned.append(("likelihood", _adds(lambda: _likelihood(subject, say))))
    return [*planned, ("cost", _adds(lambda: _cost(subject)))]


def _adds(part: Callable[[], Findings]) -> Callable[[Findings], None]:
    """The task that adds what `part` finds."""
    return lambda found: extend(found, part())


def _language(subject: Subject, say: Callable) -> Findings:
    return language.findings(
        subject.run, subject.state, subject.dataset, seed=subject.flags.seed, say=say
    )


def _points(subject: Subject) -> Findings:
    test = features.everything(subject.dataset.eval)["image"]
    return points.findings(subject.dataset.info.name, _images_of(subject), test)


def _likelihood(subject: Subject, say: Callable) -> Findings:
    return likelihood.findings(
        subject.run,
        subject.state,
        subject.dataset,
        iw_samples=subject.flags.iw_samples,
        seed=subject.flags.seed,
        say=say,
    )


def _cost(subject: Subject) -> Findings:
    tokenizer, seed = subject.dataset.tokenizer, subject.flags.seed
    return cost.findings(subject.run, subject.state, tokenizer, subject.workdir, seed)


def _of_images(subject: Subject) -> list[Task]:
    judge, refusal = _judge(subject)
    count = images.count_of(subject.dataset, subject.flags.samples)
    study = images.Study(
        *(subject.run, subject.state, subject.dataset, judge, refusal, count),
        *(subject.flags.seed, drawer(subject), {}),
    )
    planned = list(images.tasks(study))
    if subject.dataset.info.name == stacks.NAME:
        folder, draw = _data_dir(subject), _images_of(subject)
        modes = lambda: stacked.findings(subject.dataset, folder, draw)
        planned.insert(0, ("modes of 26,000 samples", _adds(modes)))
    return planned


def _judge(subject: Subject) -> tuple[features.Judge | None, str]:
    """(what images are compared by, why there is nothing to compare them by)."""
    flags, folder = subject.flags, _data_dir(subject)
    if flags.features or flags.inception_weights:
        return features.chosen(flags.features, flags.inception_weights), ""
    make = stacked.judge if subject.dataset.info.name == stacks.NAME else features.trained
    try:
        return make(subject.dataset, folder), ""
    except ValueError as reason:
        return None, str(reason)


def _data_dir(subject: Subject) -> str:
    """Where classifiers are kept: with the prepared data."""
    return subject.run.config["data"].get("data_dir") or ".data"


def _images_of(subject: Subject) -> Callable[[int], np.ndarray]:
    """number -> so many unprompted samples f32 [N, H, W, C]."""
    run, draw = subject.run, drawer(subject)
    blank = lambda num: samples.unprompted(run.algorithm, run.info, None, num)
    return lambda num: np.asarray(draw(num, blank(num))["image"], np.float32)


def drawer(subject: Subject) -> Callable:
    """(num, cond) -> samples of the run, drawn over all devices."""
    run, devices = subject.run, subject.mesh.size
    options = samples.check_options(run.algorithm, run.config["sampling"])
    size = -(-BATCH // devices) * devices
    split = parallel.batched(subject.mesh)
    draw = samples.sampler(run.algorithm, subject.flags.seed, options, size, split)
    return lambda num, cond: draw(subject.state, num, cond)
