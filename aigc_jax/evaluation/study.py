"""What the parts of an evaluation of images share: samples and real images, and their features.

What cannot be looked at is said where it is needed: `seen` raises the reason.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from aigc_jax import build, core
from aigc_jax.data.dataset import Dataset, Split
from aigc_jax.evaluation import features
from aigc_jax.evaluation.results import Findings, attempt, floors_of, reason_of

KINDS = {"fake": "samples", "train": "training images"} | {
    "other": "other training images",
    "test": "test images",
}


class Looked(NamedTuple):
    """Images of one kind, and what the judge makes of them.

    Samples are held as the data hold images, real ones read again where they are needed: as floats
    together, large pictures are many times the data set.
    """

    read: Callable  # number n -> the first n images as they are held, uint8 or f32 [n, H, W, C]
    count: int
    label: np.ndarray | None
    features: np.ndarray | None
    probabilities: np.ndarray | None
    refusal: str = ""  # why there are no features


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
    asked: int = 0  # samples that the FID is of, if more than `count`


def count_of(dataset: Dataset, samples_asked: int) -> int:
    """How many images of each kind are compared: no more than half of the training split."""
    return max(1, min(samples_asked, dataset.train.length // 2))


def labelled(study: Study) -> bool:
    """Whether samples are drawn of a class."""
    return "label" in study.run.algorithm.conditions


def look_at_real(study: Study, found: Findings) -> None:
    """Training and test images in a fixed order, which no seed of a run changes.

    It is a random one, so that the first of them are like all, and so are the samples that take
    their labels, of data that are sorted by class too. There are no "other" training images where
    there is only one.
    """
    train, test, count = study.dataset.train, study.dataset.eval, study.count
    beyond = min(count, train.length - count)
    chosen = {
        "train": (train, features.compared_rows(train, count)),
        "other": (train, features.compared_rows(train, beyond, count)),
        "test": (test, features.compared_rows(test, min(count, test.length))),
    }
    for name, (split, indices) in chosen.items():
        if len(indices):
            look = lambda name=name, split=split, indices=indices: study.looked.update(
                {name: _look(study, split, indices)}
            )
            attempt(found, KINDS[name], look)


def _look(study: Study, split: Split, indices: np.ndarray) -> Looked:
    label = features.labels(split, indices) if "label" in study.run.info.shapes else None
    read = lambda num: features.images_of(split, indices[:num])
    parts = (batch["image"] for batch in features.blocks(split, indices))
    return _judged(study, read, len(indices), label, parts)


def look_at_fakes(study: Study, found: Findings) -> None:
    """Samples, with the labels of the training images that they are compared with."""
    label = seen(study, "train").label if labelled(study) else None
    drawn = study.draw(study.count, {} if label is None else {"label": label})["image"]
    image = features.stored(drawn, study.run.info)
    parts = (image[rows] for rows in features.slices(len(image), image.shape[1:]))
    study.looked["fake"] = _judged(study, lambda num: image[:num], len(image), label, parts)


def _judged(
    study: Study, read: Callable, count: int, label: np.ndarray | None, parts: Iterable[np.ndarray]
) -> Looked:
    """The images with what the judge makes of their `parts`, or why it makes nothing of them."""
    if not study.judge:
        return Looked(read, count, label, None, None, study.refusal)
    try:
        return Looked(read, count, label, *features.judged(study.judge, parts))
    except Exception as error:  # of a user's own function: pixels are compared all the same
        return Looked(read, count, label, None, None, reason_of(error))


def seen(study: Study, name: str, of: str = "read") -> Any:
    """The images of one kind, or with `of` their features or probabilities.

    Raises:
      ValueError: there are none, and why.
    """
    if name not in study.looked:
        raise ValueError(f"there are no {KINDS[name]}")
    looked = study.looked[name]
    if getattr(looked, of) is None:
        raise ValueError(f"{KINDS[name]} have no {of}: {looked.refusal}")
    return looked if of == "read" else getattr(looked, of)


def compared(study: Study, found: Findings, name: str, distance: Callable) -> tuple[Any, dict]:
    """(the distance of fakes from training images, the same of real images as floors)."""
    of = lambda kind: distance(seen(study, kind, "features"), seen(study, "train", "features"))
    value = of("fake")
    kinds = {"train | train": "other", "test | train": "test"}
    return value, floors_of(found, name, {k: lambda kind=v: of(kind) for k, v in kinds.items()})


def against(study: Study) -> str:
    """What is compared with what, in words."""
    given = ", each given the label of one of them" if labelled(study) else ""
    given += ", rounded to 8 bits" if study.run.info.dtypes["image"] == "uint8" else ""
    counts = {kind: looked.count for kind, looked in study.looked.items()}
    other, test = (counts.get(kind, 0) for kind in ("other", "test"))
    return (
        f"{study.count:,} samples against {study.count:,} training images{given}; "
        f"{study.judge.name}; floors of {other:,} other training and {test:,} test images"
    )


def is_picture(study: Study) -> bool:
    """Whether an image is more than one place: a point of the plane is none to look at."""
    return study.run.info.shapes["image"][:2] != (1, 1)
