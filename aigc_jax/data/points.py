"""Mixtures of Gaussians in the plane, on which a generator that forgets modes is found out.

A point (x, y) is an image float32 [1, 1, 2] in [-1, 1], its coordinates divided by the `scale` of
its set, with the component it was drawn from as its label. 100,000 points are trained on, as by
PacGAN (Lin et al., arXiv 1712.04086).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from aigc_jax.data.dataset import Dataset, Info, Split, rows

SIZES = {"train": 100_000, "test": 10_000}
SEED = 0


class Mixture(NamedTuple):
    """Equally likely Gaussians in the plane, in the units of the papers."""

    means: np.ndarray  # [K, 2]
    deviation: float  # of each coordinate
    scale: float  # what coordinates are divided by: the data stays clear of the borders of tanh


def ring() -> Mixture:
    """8 Gaussians of variance 1e-4 on a circle of radius 2."""
    angles = 2 * np.pi * np.arange(8) / 8
    return Mixture(2 * np.stack([np.cos(angles), np.sin(angles)], axis=-1), 0.01, 2.5)


def grid() -> Mixture:
    """25 Gaussians of standard deviation 0.05 at {-4, -2, 0, 2, 4} x {-4, -2, 0, 2, 4}."""
    line = np.arange(-4.0, 5.0, 2.0)
    means = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2)
    return Mixture(means, 0.05, 5.0)


SETS = {"ring": ring, "grid": grid}


def describe(config: Mapping[str, Any], tokenizer: Any = None) -> Info:
    """What is known of a set of points; `config` is that of `load.options`.

    Raises:
      ValueError: for an option that resizes images.
    """
    for key in ("image_size", "channels"):
        if config[key] is not None:
            raise ValueError(
                f"data.{key} = {config[key]}: {config['name']} holds points of the plane; accepted "
                "is None"
            )
    train = min(SIZES["train"], config["limit"] or SIZES["train"])
    return Info(
        name=config["name"],
        sizes={**SIZES, "train": train},
        eval_split="test",
        shapes={"image": (1, 1, 2), "label": ()},
        dtypes={"image": "float32", "label": "int32"},
        num_classes=len(SETS[config["name"]]().means),
        fingerprint={"version": "1.0.0", "seed": SEED},
    )


def load(config: Mapping[str, Any], tokenizer: Any = None) -> Dataset:
    """The points, drawn anew, the same ones every time; arguments and errors as in `describe`."""
    info, mixture = describe(config), SETS[config["name"]]()
    splits = []
    for stream, name in enumerate(SIZES):
        drawn = draw(mixture, SIZES[name], np.random.default_rng([SEED, stream]))
        kept = {key: array[: info.sizes[name]] for key, array in drawn.items()}
        splits.append(Split(info.sizes[name], kept, rows))
    return Dataset(info, *splits, mixture=mixture)


def draw(mixture: Mixture, count: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Points {"image": f32 [N, 1, 1, 2], "label": i32 [N]}, N = `count`, divided by the scale."""
    label = rng.integers(len(mixture.means), size=count)
    noise = rng.standard_normal((count, 2))
    points = (mixture.means[label] + mixture.deviation * noise) / mixture.scale
    image = points.astype(np.float32).reshape(count, 1, 1, 2)
    return {"image": image, "label": label.astype(np.int32)}
