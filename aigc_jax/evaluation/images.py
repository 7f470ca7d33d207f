"""How good, how different and how new generated images are, beside the same of real ones.

Every number is of equally many images on both sides, `count`, since most of them depend on it:
`count` fakes, `count` training images, `count` other training images, and test images, as many as
there are up to `count`. The floors "train | train" and "test | train" put the other training images
and the test images in the place of the fakes.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from aigc_jax import build, core, preprocess, samples
from aigc_jax.data.dataset import Dataset, Split
from aigc_jax.evaluation import features, galleries
from aigc_jax.evaluation.results import Findings, Metric, measured
from aigc_jax.metrics import conditional, frechet, kernel, neighbours, pictures, scores, two_sample

NEIGHBOURS = 5
PAIRS = 1000
MEMORISED = 1000  # fakes that are looked up in the whole training set
Task = tuple[str, Callable[[Findings], None]]


class Looked(NamedTuple):
    """Images f32 [N, H, W, C] of one kind, and what the judge makes of them."""

    image: np.ndarray
    label: np.ndarray | None
    features: np.ndarray | None
    probabilities: np.ndarray | None


class Study(NamedTuple):
    """What the tasks share; `looked` is filled by the first of them."""

    run: build.Run
    state: core.State
    dataset: Dataset
    judge: features.Judge | None
    refusal: str  # why there is no judge
    count: int
    seed: int
    draw: Callable  # (num, cond) -> samples
    looked: dict[str, Looked]  # "fake", "train", "other", "test"


def count_of(dataset: Dataset, samples_asked: int) -> int:
    """How many images of each kind are compared: no more than half of the training split."""
    return min(samples_asked, dataset.train.length // 2)


def tasks(study: Study) -> Iterator[Task]:
    """What there is to do, in order: (what it is, what adds its findings)."""
    yield f"drawing {study.count:,} samples", lambda found: _look_at_fakes(study)
    yield "reading real images", lambda found: _look_at_real(study, found)
    if study.judge:
        yield "Fréchet distance", lambda found: measured(found, *_frechet(study))
        yield "kernel distance", lambda found: measured(found, *_kernel(study))
        yield "precision, recall, density, coverage", lambda found: _quality(study, found)
        yield "two-sample test", lambda found: measured(found, *_two_sample(study))
    else:
        names = ("frechet_distance", "kernel_distance", "precision_recall_density_coverage")
        yield "features", lambda found: found.refused.update(dict.fromkeys(names, study.refusal))
    yield "diversity", lambda found: _diversity(study, found)
    yield "pictures", lambda found: found.figures.extend(_figures(study))
    yield "nearest training images", lambda found: _memorisation(study, found)
    if study.judge and study.judge.classes:
        yield "classes", lambda found: _classes(study, found)
    if _labelled(study):
        yield "classification accuracy score", lambda found: _conditional(study, found)


def _labelled(study: Study) -> bool:
    return "label" in study.run.algorithm.conditions


def _look_at_fakes(study: Study) -> None:
    cond = samples.unprompted(study.run.algorithm, study.run.info, None, study.count)
    image = np.asarray(study.draw(study.count, cond)["image"], np.float32)
    study.looked["fake"] = Looked(image, cond.get("label"), *_judged(study, image))


def _judged(study: Study, image: np.ndarray) -> tuple:
    """(features, probabilities) of images, None without a judge."""
    return study.judge.apply(image) if study.judge else (None, None)


def _look_at_real(study: Study, found: Findings) -> None:
    """Training images of a fixed order, which no seed of a run changes."""
    if study.judge and study.judge.accuracy is not None:
        right, count = study.judge.accuracy, study.dataset.eval.length
        found.metrics["classifier_accuracy"] = Metric(right, count, study.judge.name)
    order = np.random.default_rng(0).permutation(study.dataset.train.length)
    chosen = {"train": order[: study.count], "other": order[study.count : 2 * study.count]}
    for name, indices in chosen.items():
        study.looked[name] = _look(study, study.dataset.train, np.sort(indices))
    indices = np.arange(min(study.count, study.dataset.eval.length))
    study.looked["test"] = _look(study, study.dataset.eval, indices)


def _look(study: Study, split: Split, indices: np.ndarray) -> Looked:
    batch = preprocess.normalise(features.examples(split, indices))
    image = np.asarray(batch["image"])
    label = np.asarray(batch["label"]) if "label" in batch else None
    return Looked(image, label, *_judged(study, image))


def _compared(study: Study, distance: Callable, of: str = "features") -> tuple[float, dict]:
    """(the distance of fakes from training images, the same of real images as floors)."""
    pick = lambda name: getattr(study.looked[name], of)
    floors = {
        "train | train": distance(pick("other"), pick("train")),
        "test | train": distance(pick("test"), pick("train")),
    }
    return distance(pick("fake"), pick("train")), floors


def _against(study: Study) -> str:
    counted = len(study.looked["test"].image)
    return (
        f"{study.count:,} samples against {study.count:,} training images; {study.judge.name}; "
        f"floors of {study.count:,} other training and {counted:,} test images"
    )


def _frechet(study: Study) -> tuple[str, Callable[[], Metric]]:
    name = "fid" if study.judge.fid else "frechet_distance"

    def measure() -> Metric:
        value, floors = _compared(study, frechet.frechet_distance)
        called = "" if study.judge.fid else "; not FID, which is of Inception features only"
        return Metric(value, study.count, _against(study) + called, floors, "lower")

    return name, measure


def _kernel(study: Study) -> tuple[str, Callable[[], Metric]]:
    name = "kid" if study.judge.fid else "kernel_distance"

    def measure() -> Metric:
        value, floors = _compared(study, kernel.kernel_distance)
        text = "unbiased squared MMD of the kernel (x y / F + 1)^3 over all pairs; "
        return Metric(value, study.count, text + _against(study), floors, "lower")

    return name, measure


def _quality(study: Study, found: Findings) -> None:
    def distance(fake, real):
        return neighbours.precision_recall_density_coverage(real, fake, NEIGHBOURS)

    try:
        values, floors = _compared(study, distance)
    except ValueError as reason:
        found.refused["precision_recall_density_coverage"] = str(reason)
        return
    for name in values._fields:
        below = {kind: getattr(floor, name) for kind, floor in floors.items()}
        text = f"k = {NEIGHBOURS}; {_against(study)}"
        value = getattr(values, name)
        # A ball per fake is what real data have; more is a crowd in their densest places.
        better = "test | train" if name == "density" else "higher"
        found.metrics[name] = Metric(value, study.count, text, below, better)


def _two_sample(study: Study) -> tuple[str, Callable[[], Metric]]:
    def distance(fake: np.ndarray, real: np.ndarray) -> float:
        count = min(len(fake), len(real))
        return two_sample.nearest_neighbour_accuracy(real[:count], fake[:count]).accuracy

    def measure() -> Metric:
        value, floors = _compared(study, distance)
        text = "leave-one-out accuracy of telling samples from real images by the nearest of both, "
        text = f"{text}0.5 where they are alike; {_against(study)}"
        return Metric(value, study.count, text, floors, "test | train")

    return "two_sample_accuracy", measure


def _diversity(study: Study, found: Findings) -> None:
    flat = {name: looked.image.reshape(len(looked.image), -1) for name, looked in _seen(study)}

    def distance() -> Metric:
        value, floor = (neighbours.mean_pairwise_distance(flat[k]) for k in ("fake", "test"))
        text = "mean Euclidean distance of two different images in pixels of [-1, 1]"
        return Metric(value, study.count, text, {"test": floor}, "test")

    def structure() -> Metric:
        key = core.stream(study.seed, core.EVAL)
        value, floor = (
            pictures.ms_ssim_diversity(
                looked.image, looked.label if within else None, pairs=PAIRS, key=key
            )
            for _, looked in _seen(study)
        )
        of = "within a class" if within else "of any two"
        text = f"mean MS-SSIM of {PAIRS:,} random pairs {of}, scales: {value.scales}"
        return Metric(value.ms_ssim, study.count, text, {"test": floor.ms_ssim}, "test")

    within = all(looked.label is not None for _, looked in _seen(study))

    measured(found, "pairwise_distance", distance)
    measured(found, "ms_ssim", structure)


def _seen(study: Study) -> list[tuple[str, Looked]]:
    return [(name, study.looked[name]) for name in ("fake", "test")]


def _memorisation(study: Study, found: Findings) -> None:
    """Nearest training images of the first fakes, in pixels, over the whole training split."""
    train = galleries.flat_pixels(features.everything(study.dataset.train)["image"])
    first = {name: looked.image[:MEMORISED] for name, looked in _seen(study)}
    fake, test = (galleries.flat_pixels(first[name]) for name in ("fake", "test"))
    counted = f"{len(fake):,} samples and {len(test):,} test images, {len(train):,} training images"

    def ratio() -> Metric:
        nearest = (neighbours.nearest(made, train)[0] for made in (fake, test))
        values.append(neighbours.memorisation(*nearest))
        text = f"median pixel distance to the nearest training image, over test images'; {counted}"
        return Metric(values[0].ratio, len(fake), text, {"test": 1.0}, "test")

    def share() -> Metric:
        text = f"share of samples nearer to a training image than 99 % of test images; {counted}"
        return Metric(values[0].share, len(fake), text, {"test": 0.01}, "test")

    values: list[neighbours.Memorisation] = []
    measured(found, "memorisation_ratio", ratio)
    if values:
        measured(found, "memorised_share", share)
    raw = study.dataset.train
    found.figures.append(galleries.nearest(study.looked["fake"].image, train, raw))


def _classes(study: Study, found: Findings) -> None:
    """Inception-style score, the rarest class and the confidence, all of the classifier's word."""
    fake, test = (looked.probabilities for _, looked in _seen(study))
    judged = f"by {study.judge.name}"
    for name, function, text in (
        ("classifier_score", scores.inception_style_score, "exp E KL(p(y|x) || p(y))"),
        ("confidence", scores.confidence, "mean probability of the likeliest class"),
        ("least_share", _least_share, "share of the rarest class"),
    ):
        floors = {"test": function(test)}
        values = Metric(function(fake), study.count, f"{text}, {judged}", floors, "test")
        found.metrics[name] = values
    label = study.looked["fake"].label
    if label is not None:
        right = float((fake.argmax(-1) == label).mean())
        text = "share of samples that are classified as asked for, the reverse of the score below; "
        floors = {"test": study.judge.accuracy}
        value = Metric(right, study.count, text + judged, floors, "higher")
        found.metrics["class_agreement"] = value


def _least_share(probabilities: np.ndarray) -> float:
    return float(scores.class_shares(probabilities).min())


def _conditional(study: Study, found: Findings) -> None:
    """A classifier trained on samples, tested on real images."""
    test, classes = study.looked["test"], study.run.info.num_classes

    def score(name: str) -> float:
        looked = study.looked[name]
        return conditional.accuracy_score(
            looked.image,
            looked.label,
            test.image,
            test.label,
            classes,
            seed=study.seed,
        )

    def measure() -> Metric:
        text = (
            f"test accuracy of a classifier of {study.count:,} samples, {conditional.STEPS:,} "
            "steps; the floor is one of as many training images"
        )
        return Metric(score("fake"), study.count, text, {"train": score("train")}, "higher")

    measured(found, "classification_accuracy_score", measure)


def _figures(study: Study) -> list:
    fake = study.looked["fake"]
    classes = fake.label
    if classes is None and fake.probabilities is not None and study.judge.classes:
        classes = fake.probabilities.argmax(-1)
    found = [galleries.grid(fake.image)]
    if classes is not None:
        found.append(galleries.by_class(fake.image, classes, study.run.info.num_classes))
    if "interpolate" in study.run.algorithm.heads:
        found.append(galleries.interpolations(study.run, study.state, study.seed))
    return found
