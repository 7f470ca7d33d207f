"""Pictures of an evaluation: samples, classes, nearest training images, interpolations."""

import jax
import numpy as np

from aigc_jax import build, classes, core, seeds
from aigc_jax.data.dataset import Info, Split
from aigc_jax.evaluation import features, tables
from aigc_jax.evaluation.results import Figure
from aigc_jax.media import images, points
from aigc_jax.metrics import pictures

SHOWN = 100
MOST_CLASSES = 20
PER_CLASS = 12
LOOKED_UP, NEAREST = 16, 3
PATHS, STOPS = 6, 12


def grid(made: np.ndarray) -> Figure:
    """The first samples, nothing chosen."""
    text = f"The first {min(SHOWN, len(made))} samples of the seed; nothing is chosen."
    return Figure("samples", "Samples", text, points.overview(made[:SHOWN]))


def by_class(made: np.ndarray, labels: np.ndarray, info: Info) -> Figure:
    """The first samples of each class, a row each; blank where there are fewer.

    Args:
      made: uint8 or f32 [N, H, W, C].
    """
    shown = min(info.num_classes, MOST_CLASSES)
    rows = np.ones((shown, PER_CLASS, *made.shape[1:]), np.float32)
    for i in range(shown):
        found = made[labels == i][:PER_CLASS]
        rows[i, : len(found)] = pictures.scaled(found)
    named = ", ".join(classes.names_of(info)[:shown]) or f"0 to {shown - 1}"
    text = f"A row of the first {PER_CLASS} samples for each class: {named}."
    pixels = images.grid(rows.reshape(-1, *made.shape[1:]), columns=PER_CLASS)
    return Figure("classes", "Samples by class", text, pixels)


def flat(images: np.ndarray) -> np.ndarray:
    """Images [N, H, W, C] as [N, H W C]."""
    return images.reshape(len(images), -1)


def nearest(made: np.ndarray, rows: np.ndarray, split: Split) -> Figure:
    """Samples, each followed by its nearest training images in pixels.

    Args:
      made: samples [n, H, W, C], uint8 or f32.
      rows: of the training split, the nearest to each sample [N, k], N at least n.
      split: the training split.
    """
    count, nearest = len(made), rows.shape[1]
    real = features.images_of(split, rows[:count].reshape(-1))
    real = pictures.scaled(real).reshape(count, nearest, *made.shape[1:])
    pairs = np.concatenate([pictures.scaled(made)[:, None], real], axis=1)
    text = (
        f"Each sample, then the {nearest} training images nearest to it in pixels, four samples a "
        "row. A sample that equals its neighbour is a copy."
    )
    pixels = images.grid(pairs.reshape(-1, *made.shape[1:]), columns=4 * (1 + nearest))
    return Figure("nearest", "Nearest training images", text, pixels)


def shares(made: np.ndarray, test: np.ndarray, info: Info) -> Figure:
    """How often each class is the likeliest, as a table.

    Args:
      made: the likeliest classes of samples, integers [N].
      test: those of test images, [M].
      info: of the data, with the names of its classes.
    """
    names = classes.names_of(info) or range(info.num_classes)
    counts = [np.bincount(found, minlength=info.num_classes) / len(found) for found in (made, test)]
    lines = [["class", "samples", "test images"]]
    lines += [
        [str(name), f"{one:.2%}", f"{other:.2%}"]
        for name, one, other in zip(names, *counts, strict=True)
    ]
    text = f"The likeliest class of {len(made):,} samples and of {len(test):,} test images."
    return Figure("class_shares", "Shares of classes", text, text=tables.aligned(lines, (1, 2)))


def interpolations(run: build.Run, state: core.State, seed: int) -> Figure:
    """Paths between two latents each, a row per path."""
    head = run.algorithm.heads["interpolate"]
    compute = jax.jit(lambda state, batch, key: head(core.averaged(state), batch, key))
    rows = []
    for i in range(PATHS):
        batch = {"fraction": np.linspace(0, 1, STOPS, dtype=np.float32)}
        if "label" in run.algorithm.conditions:
            batch["label"] = np.full(STOPS, i % run.info.num_classes, np.int32)
        key = core.stream((seed + i) % len(seeds.RANGE), core.SAMPLE)
        rows.append(compute(state, batch, key)["image"])
    text = f"From one latent to another in {STOPS} steps on an arc, {PATHS} pairs"
    if "label" in run.algorithm.conditions:
        labels = [i % run.info.num_classes for i in range(PATHS)]
        text += f" of {classes.described(labels, run.info)}"
    pixels = images.grid(np.concatenate(rows), columns=STOPS)
    return Figure("interpolations", "Interpolations", f"{text}.", pixels)
