"""Which parts of an evaluation a run gets: by what its batches hold and what its model can do."""

import argparse
import pathlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from aigc_jax import build, core, parallel, samples
from aigc_jax.data.dataset import Dataset
from aigc_jax.evaluation import (
    averages,
    cost,
    features,
    images,
    language,
    likelihood,
    points,
    protocol,
    stacked,
)
from aigc_jax.evaluation.results import Findings, Metric, attempt, extend, nothing, reason_of
from aigc_jax.evaluation.study import Study, count_of

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

    A task that fails refuses what it would have found, see `results.attempt`, and raises nothing.

    Raises:
      ValueError: for flags that do not go with the run.
    """
    batch, given = subject.run.example.batch, _outputs(subject)
    raw, sampled = _words(subject)
    planned: list[Task] = []
    predicts = "tokens" in batch and "nll" in given["eval"]
    weighs = "image" in batch and "log_weights" in subject.run.algorithm.heads
    if predicts:
        found_of = lambda: _language(subject, say, sampled)
        planned.append(("language", _saying(raw, _adds(found_of))))
    if "image" in batch and given["sample"].get("image") == batch["image"].shape[1:]:
        planned += _of_images(subject, say, raw + sampled)
    elif not predicts:
        reason = given["sample"].get("refused") or (
            f"the sampler gives {_listed(given['sample'])}; what the data hold is "
            f"{_listed({name: value.shape[1:] for name, value in batch.items()})}, and samples are "
            "compared with images or tokens of the same shape"
        )
        planned.append(("samples", lambda found: found.refused.update(samples=reason)))
    if weighs:
        planned.append(("likelihood", _saying(raw, _adds(lambda: _likelihood(subject, say)))))
    if not predicts and not weighs:
        mean = lambda: averages.findings(subject.run, subject.state, subject.dataset)
        planned.append(("averages", _saying(raw, _adds(mean))))
    planned.append(("cost", lambda found: _cost(subject, found)))
    return [(title, _alone(title, task)) for title, task in planned]


def _outputs(subject: Subject) -> dict[str, dict[str, Any]]:
    """{"eval" and "sample": {name: shape of one}} of what they give; nothing is computed.

    Of what fails there is the reason, {"refused": ...}.
    """
    run, state, found = subject.run, core.averaged(subject.state), nothing()
    key = jax.eval_shape(lambda: jax.random.key(0))
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 2))

    def drawn() -> Any:
        options = samples.check_options(run.algorithm, run.config["sampling"])
        cond = samples.unprompted(run.algorithm, run.info, subject.dataset.tokenizer, 2)
        return jax.eval_shape(partial(run.algorithm.sample, **options), state, keys, cond)

    calls = {
        "eval": lambda: jax.eval_shape(run.algorithm.eval, state, run.example.batch, key),
        "sample": drawn,
    }
    given: dict[str, dict[str, Any]] = {}
    for name, call in calls.items():
        keep = lambda name=name, call=call: given.update(
            {name: {k: value.shape[1:] for k, value in call().items()}}
        )
        attempt(found, name, keep)
    return {name: given.get(name, {"refused": found.refused.get(name)}) for name in calls}


def _listed(shapes: Mapping[str, tuple]) -> str:
    return ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items()) or "nothing"


def _alone(title: str, task: Callable[[Findings], None]) -> Callable[[Findings], None]:
    """The task, which refuses what it fails at."""
    return lambda found: attempt(found, title, lambda: task(found))


def _adds(part: Callable[[], Findings]) -> Callable[[Findings], None]:
    """The task that adds what `part` finds."""
    return lambda found: extend(found, part())


def sampled_with(run: build.Run) -> dict[str, Any]:
    """The options of the run's sampler; none where it does not take those that are stored.

    Then nothing is sampled, which is said where samples are needed.
    """
    try:
        return samples.check_options(run.algorithm, run.config["sampling"])
    except ValueError:
        return {}


def _words(subject: Subject) -> tuple[str, str]:
    """What the protocols say of parameters and sampler, see `protocol.words`."""
    options, defaults = sampled_with(subject.run), samples.options_of(subject.run.algorithm)
    if "tokens" in subject.run.example.batch:  # `language` samples as many as it compares
        options.pop("max_tokens", None)
    return protocol.words(subject.flags, options, defaults)


def _saying(words: str, task: Callable[[Findings], None]) -> Callable[[Findings], None]:
    """The task, with the words at the end of the protocols of the metrics that it adds."""

    def said(found: Findings) -> None:
        before = set(found.metrics)
        task(found)
        for name in found.metrics.keys() - before:
            metric = found.metrics[name]
            found.metrics[name] = metric._replace(protocol=metric.protocol + words)

    return said


def _language(subject: Subject, say: Callable, sampled: str) -> Findings:
    run, state, seed = subject.run, subject.state, subject.flags.seed
    return language.findings(run, state, subject.dataset, seed=seed, drawn_as=sampled, say=say)


def _likelihood(subject: Subject, say: Callable) -> Findings:
    return likelihood.findings(
        subject.run,
        subject.state,
        subject.dataset,
        iw_samples=subject.flags.iw_samples,
        seed=subject.flags.seed,
        say=say,
    )


def _cost(subject: Subject, found: Findings) -> None:
    tokenizer, seed = subject.dataset.tokenizer, subject.flags.seed
    cost.add(found, subject.run, subject.state, tokenizer, subject.workdir, seed)


def _of_images(subject: Subject, say: Callable, words: str) -> list[Task]:
    """Comparisons, and modes where the data's are known: of points only these, as they say more."""
    data, folder, draw = subject.dataset, _data_dir(subject), _images_of(subject)
    if "label" in subject.run.algorithm.conditions:
        given = "; samples given the labels of training examples" + words
    else:
        given = words
    if data.mixture is not None:
        test = lambda: features.everything(data.eval)["image"]
        modes = lambda: points.findings(data.mixture, draw, test())
        return [("modes", _saying(given, _adds(modes)))]
    say("training the classifier, or reading it")
    judge, refusal = _judge(subject)
    count = count_of(data, subject.flags.samples)
    study = Study(
        *(subject.run, subject.state, data, judge, refusal, count),
        *(subject.flags.seed, drawer(subject), {}, subject.flags.samples),
    )
    planned = [(title, _saying(words, task)) for title, task in images.tasks(study)]
    if data.digits is not None:
        modes = lambda: stacked.findings(data, folder, draw)
        planned.insert(0, ("modes of 26,000 samples", _saying(given, _adds(modes))))
    if judge and judge.accuracy is not None:
        planned.insert(0, ("classifier", lambda found: _accuracy(found, judge, data)))
    return planned


def _accuracy(found: Findings, judge: features.Judge, data: Dataset) -> None:
    """How good the judge is, which is no merit of the run."""
    right, count = judge.accuracy, data.eval.length
    found.metrics["classifier_accuracy"] = Metric(right, count, judge.name)


def _judge(subject: Subject) -> tuple[features.Judge | None, str]:
    """(what images are compared by, why there is nothing to compare them by)."""
    flags, folder = subject.flags, _data_dir(subject)
    if flags.features or flags.inception_weights:
        return features.chosen(flags.features, flags.inception_weights), ""
    if subject.run.info.shapes["image"][:2] == (1, 1):
        return features.coordinates(), ""
    make = features.trained if subject.dataset.digits is None else stacked.judge
    try:
        return make(subject.dataset, folder), ""
    except Exception as error:  # of whatever data: what needs no judge is measured all the same
        return None, reason_of(error)


def _data_dir(subject: Subject) -> str:
    """Where classifiers are kept: with the prepared data."""
    return subject.run.config["data"].get("data_dir") or ".data"


def _images_of(subject: Subject) -> Callable[[int], np.ndarray]:
    """number -> so many samples [N, H, W, C] of `drawer`, with labels of training examples."""
    train, draw = subject.dataset.train, drawer(subject)

    def images_of(num: int) -> np.ndarray:
        cond = {}
        if "label" in subject.run.algorithm.conditions:
            cond = {"label": features.labels(train, features.compared_rows(train, num))}
        return draw(num, cond)["image"]

    return images_of


def drawer(subject: Subject) -> Callable:
    """(num, cond) -> samples of the run as the data hold images, drawn over all devices."""
    run, devices = subject.run, subject.mesh.size
    options = samples.check_options(run.algorithm, run.config["sampling"])
    size = -(-BATCH // devices) * devices
    split = parallel.batched(subject.mesh)
    keep = lambda part: {"image": features.stored(part["image"], run.info)}
    draw = samples.sampler(run.algorithm, subject.flags.seed, options, size, split, keep=keep)
    return lambda num, cond: draw(subject.state, num, cond)
