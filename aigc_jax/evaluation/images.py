"""How good, how different and how new generated images are, beside the same of real ones.

Every number is of equally many images on both sides, `count`, since most of them depend on it:
`count` fakes, `count` training images, `count` other training images, and test images, as many as
there are up to `count`. The floors "train | train" and "test | train" put the other training images
and the test images in the place of the fakes. Fakes of a conditional model are given the labels of
the training images, so that the shares of classes are the same on both sides.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from aigc_jax import core, samples
from aigc_jax.evaluation import features, fid, galleries
from aigc_jax.evaluation.results import Figure, Findings, Metric, attempt, floors_of, measured
from aigc_jax.evaluation.study import (
    Looked,
    Study,
    against,
    compared,
    is_picture,
    labelled,
    look_at_fakes,
    look_at_real,
    seen,
)
from aigc_jax.metrics import conditional, frechet, kernel, neighbours, pictures, scores, two_sample

NEIGHBOURS = 5
PAIRS = 1000
MEMORISED = 1000  # fakes that are looked up in the whole training set
Task = tuple[str, Callable[[Findings], None]]


def tasks(study: Study) -> Iterator[Task]:
    """What there is to do, in order: (what it is, what adds its findings)."""
    yield "reading real images", lambda found: look_at_real(study, found)
    yield f"drawing {study.count:,} samples", lambda found: look_at_fakes(study, found)
    if study.judge:
        distance = fid.add if study.judge.fid else _frechet
        yield "Fréchet distance", lambda found: distance(study, found)
        yield "kernel distance", lambda found: _kernel(study, found)
        yield "precision, recall, density, coverage", lambda found: _quality(study, found)
        yield "two-sample test", lambda found: _two_sample(study, found)
    else:
        names = ("frechet_distance", "kernel_distance", "precision_recall_density_coverage")
        yield "features", lambda found: found.refused.update(dict.fromkeys(names, study.refusal))
    yield "diversity", lambda found: _diversity(study, found)
    yield "pictures", lambda found: _pictures(study, found)
    yield "nearest training images", lambda found: _memorisation(study, found)
    if study.judge and study.judge.classes:
        yield "classes", lambda found: _classes(study, found)
    if labelled(study):
        yield "classification accuracy score", lambda found: _conditional(study, found)


def _frechet(study: Study, found: Findings) -> None:
    def measure() -> Metric:
        value, floors = compared(study, found, "frechet_distance", frechet.frechet_distance)
        text = f"{against(study)}; not FID, which is of Inception features only"
        return Metric(value, study.count, text, floors, "lower")

    measured(found, "frechet_distance", measure)


def _kernel(study: Study, found: Findings) -> None:
    name = "kid" if study.judge.fid else "kernel_distance"

    def measure() -> Metric:
        value, floors = compared(study, found, name, kernel.kernel_distance)
        text = "unbiased squared MMD of the kernel (x y / F + 1)^3 over all pairs; "
        return Metric(value, study.count, text + against(study), floors, "lower")

    measured(found, name, measure)


def _quality(study: Study, found: Findings) -> None:
    def distance(fake, real):
        return neighbours.precision_recall_density_coverage(real, fake, NEIGHBOURS)

    def add() -> None:
        values, below = compared(study, found, together, distance)
        for name in values._fields:
            floors = {kind: getattr(floor, name) for kind, floor in below.items()}
            text = f"k = {NEIGHBOURS}; {against(study)}"
            value = getattr(values, name)
            # A ball per fake is what real data have; more is a crowd in their densest places.
            better = "test | train" if name == "density" else "higher"
            metric = Metric(value, study.count, text, floors, better)
            measured(found, name, lambda metric=metric: metric)

    together = "precision_recall_density_coverage"
    attempt(found, together, add)


def _two_sample(study: Study, found: Findings) -> None:
    def distance(fake: np.ndarray, real: np.ndarray) -> float:
        count = min(len(fake), len(real))
        return two_sample.nearest_neighbour_accuracy(real[:count], fake[:count]).accuracy

    def measure() -> Metric:
        value, floors = compared(study, found, "two_sample_accuracy", distance)
        text = "leave-one-out accuracy of telling samples from real images by the nearest of both, "
        text = f"{text}0.5 where they are alike; {against(study)}"
        return Metric(value, study.count, text, floors, "test | train")

    measured(found, "two_sample_accuracy", measure)


def _diversity(study: Study, found: Findings) -> None:
    def distance() -> Metric:
        of = lambda kind: _mean_distance(seen(study, kind))
        value = of("fake")
        below = floors_of(found, "pairwise_distance", {"test": lambda: of("test")})
        text = "mean Euclidean distance of two different images in pixels of [-1, 1]"
        return Metric(value, study.count, text, below, "test")

    measured(found, "pairwise_distance", distance)
    measured(found, "ms_ssim", lambda: _structure(study, found))


def _mean_distance(looked: Looked) -> float:
    images = galleries.flat(looked.read(looked.count))
    level = 1 / 127.5 if images.dtype == np.uint8 else 1.0
    return level * neighbours.mean_pairwise_distance(images)


def _structure(study: Study, found: Findings) -> Metric:
    """MS-SSIM within classes where both samples and test images have labels."""
    key = core.stream(study.seed, core.EVAL)
    shown = [study.looked[name] for name in ("fake", "test") if name in study.looked]
    within = all(looked.label is not None for looked in shown)

    def of(kind: str) -> Any:
        looked = seen(study, kind)
        label = looked.label if within else None
        images = looked.read(looked.count)
        return pictures.ms_ssim_diversity(images, label, pairs=PAIRS, key=key)

    value = of("fake")
    below = floors_of(found, "ms_ssim", {"test": lambda: of("test").ms_ssim})
    pairs = "within a class" if within else "of any two"
    text = f"mean MS-SSIM of {PAIRS:,} random pairs {pairs}, scales: {value.scales}"
    return Metric(value.ms_ssim, study.count, text, below, "test")


def _memorisation(study: Study, found: Findings) -> None:
    """Nearest training images of the first fakes, in pixels, over the whole training split.

    The split is read once, a block at a time, for samples and test images together.
    """
    train = study.dataset.train
    shown = [name for name in ("fake", "test") if name == "fake" or name in study.looked]
    first = [galleries.flat(seen(study, name).read(MEMORISED)) for name in shown]
    parts = (galleries.flat(b["image"]) for b in features.blocks(train, np.arange(train.length)))
    nearest = min(galleries.NEAREST, train.length)
    distances, rows = neighbours.nearest_in(np.concatenate(first), parts, nearest)
    if is_picture(study):
        add = lambda: found.figures.append(
            galleries.nearest(seen(study, "fake").read(galleries.LOOKED_UP), rows, train)
        )
        attempt(found, "nearest training images", add)
    seen(study, "test")
    fake, test = map(len, first)
    counted = f"{fake:,} samples and {test:,} test images, {train.length:,} training images"
    values = neighbours.memorisation(distances[:fake, 0], distances[fake:, 0])
    text = f"median pixel distance to the nearest training image, over test images'; {counted}"
    ratio = Metric(values.ratio, fake, text, {"test": 1.0}, "test")
    text = f"share of samples nearer to a training image than 99 % of test images; {counted}"
    share = Metric(values.share, fake, text, {"test": 0.01}, "test")
    measured(found, "memorisation_ratio", lambda: ratio)
    measured(found, "memorised_share", lambda: share)


def _classes(study: Study, found: Findings) -> None:
    """Inception-style score, the rarest class and the confidence, all of the classifier's word."""
    of = lambda kind: seen(study, kind, "probabilities")
    for name, function, text in (
        ("classifier_score", scores.inception_style_score, "exp E KL(p(y|x) || p(y))"),
        ("confidence", scores.confidence, "mean probability of the likeliest class"),
        ("least_share", _least_share, "share of the rarest class"),
    ):

        def measure(name=name, function=function, text=text) -> Metric:
            value = function(of("fake"))
            below = floors_of(found, name, {"test": lambda: function(of("test"))})
            return Metric(value, study.count, f"{text}, by {study.judge.name}", below, "test")

        measured(found, name, measure)
    if labelled(study):
        measured(found, "class_agreement", lambda: _agreement(study))
    attempt(found, "class_shares (figure)", lambda: found.figures.append(_shares(study)))


def _shares(study: Study) -> Figure:
    likeliest = (scores.likeliest(seen(study, k, "probabilities")) for k in ("fake", "test"))
    return galleries.shares(*likeliest, study.run.info)


def _agreement(study: Study) -> Metric:
    of_samples = seen(study, "fake", "probabilities")
    value = scores.agreement(of_samples, study.looked["fake"].label)
    text = (
        "share of samples that are classified as asked for, the reverse of the score below; "
        f"labels of training images; by {study.judge.name}"
    )
    floors = {"test": study.judge.accuracy}
    return Metric(value, study.count, text, floors, "higher")


def _least_share(probabilities: np.ndarray) -> float:
    return float(scores.class_shares(probabilities).min())


def _conditional(study: Study, found: Findings) -> None:
    """A classifier trained on samples, tested on real images."""

    def score(name: str) -> float:
        learnt, test = seen(study, name), seen(study, "test")
        pairs = learnt.read(learnt.count), learnt.label, test.read(test.count), test.label
        return conditional.accuracy_score(*pairs, study.run.info.num_classes, seed=study.seed)

    def measure() -> Metric:
        text = (
            f"test accuracy of a classifier of {study.count:,} samples, {conditional.STEPS:,} "
            "steps; the floor is one of as many training images, whose labels the samples have"
        )
        value = score("fake")
        below = floors_of(found, name, {"train": lambda: score("train")})
        return Metric(value, study.count, text, below, "higher")

    name = "classification_accuracy_score"
    measured(found, name, measure)


def _pictures(study: Study, found: Findings) -> None:
    """Samples of all classes in turn, whatever the shares of the classes are."""
    figures = {"samples": lambda: galleries.grid(_shown(study, galleries.SHOWN))}
    if is_picture(study) and labelled(study):
        figures["classes"] = lambda: _by_asked_class(study)
    elif is_picture(study) and study.judge and study.judge.classes:
        figures["classes"] = lambda: galleries.by_class(
            seen(study, "fake").read(study.count),
            scores.likeliest(seen(study, "fake", "probabilities")),
            study.run.info,
        )
    if "interpolate" in study.run.algorithm.heads:
        show = galleries.interpolations
        figures["interpolations"] = lambda: show(study.run, study.state, study.seed)
    for name, make in figures.items():
        attempt(found, f"{name} (figure)", lambda make=make: found.figures.append(make()))


def _by_asked_class(study: Study) -> Figure:
    """The first samples of the first classes, drawn in turn."""
    shown = min(study.run.info.num_classes, galleries.MOST_CLASSES)
    made = _shown(study, galleries.PER_CLASS * shown, shown)
    return galleries.by_class(made, np.arange(len(made)) % shown, study.run.info)


def _shown(study: Study, num: int, classes: int | None = None) -> np.ndarray:
    """The first samples of the seed, with labels in turn where they have any."""
    info = study.run.info._replace(num_classes=classes or study.run.info.num_classes)
    cond = samples.unprompted(study.run.algorithm, info, None, num)
    return pictures.scaled(study.draw(num, cond)["image"])
