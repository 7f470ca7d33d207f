"""Pictures of a latent: reconstructions, traversals of its dimensions, paths between images."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from aigc_jax import build, core, samples
from aigc_jax.evaluation.results import Figure
from aigc_jax.media import images

PAIRS = 32
MOST_DIMENSIONS, REACH, STOPS = 10, 3.0, 9
PATHS = 8


class Shown(NamedTuple):
    """A run and the held-out images that its pictures are of, `PAIRS` or more if there are."""

    run: build.Run
    state: core.State
    seed: int
    real: np.ndarray  # f32 [N, H, W, C]
    rebuilt: np.ndarray  # f32 [N, H, W, C], through the posterior mean
    label: np.ndarray | None  # i32 [N]


def reconstructions(shown: Shown) -> Figure:
    """Held-out images, each beside its reconstruction."""
    text = "Held-out images, each with its reconstruction from the posterior mean to its right."
    pixels = images.side_by_side(shown.real[:PAIRS], shown.rebuilt[:PAIRS])
    return Figure("reconstructions", "Reconstructions", text, pixels)


def traversals(shown: Shown, kl: np.ndarray) -> Figure:
    """The dimensions of most KL [D], a row each, from -3 to 3 around one image's posterior mean."""
    chosen = np.argsort(-kl, kind="stable")[:MOST_DIMENSIONS]
    latent = np.tile(_encoded(shown, np.arange(1)), (len(chosen), STOPS, 1))
    for row, dimension in enumerate(chosen):
        latent[row, :, dimension] = np.linspace(-REACH, REACH, STOPS)
    made = _decode(shown, latent.reshape(-1, kl.size), _labels(shown, np.zeros(latent.shape[:2])))
    rates = ", ".join(f"{d}: {kl[d]:.2f}" for d in chosen)
    text = (
        "The first held-out image's posterior mean with one latent dimension after another set to "
        f"-3 .. 3. A row for each dimension that carries most, in nats, {rates}."
    )
    return Figure("traversals", "Latent traversals", text, images.grid(made, columns=STOPS))


def paths(shown: Shown) -> Figure:
    """From one held-out image to another, straight between their posterior means.

    Of the same class, if the model is told one: a path holds one label.
    """
    pairs = _pairs(shown)
    count = len(pairs)
    ends = _encoded(shown, pairs.reshape(-1)).reshape(count, 2, 1, -1)
    fraction = np.linspace(0, 1, STOPS, dtype=np.float32)[None, :, None]
    latent = (1 - fraction) * ends[:, 0] + fraction * ends[:, 1]  # [count, STOPS, D]
    labels = _labels(shown, np.repeat(pairs[:, 0], STOPS))
    made = _decode(shown, latent.reshape(-1, latent.shape[-1]), labels)
    real = shown.real[pairs][:, :, None]  # [count, 2, 1, H, W, C]
    made = made.reshape(count, STOPS, *shown.real.shape[1:])
    rows = np.concatenate([real[:, 0], made, real[:, 1]], 1)
    text = (
        "Two held-out images at the ends of each row, of one class if the model is told classes, "
        "and what is decoded on the straight line between their posterior means."
    )
    pixels = images.grid(rows.reshape(-1, *shown.real.shape[1:]), columns=STOPS + 2)
    return Figure("paths", "From image to image", text, pixels)


def _pairs(shown: Shown) -> np.ndarray:
    """The numbers i64 [pairs, 2] of held-out images that paths lead from and to.

    Raises:
      ValueError: there are no two that a path may join.
    """
    numbers = np.arange(len(shown.real))
    labels = _labels(shown, numbers).get("label", np.zeros(len(numbers), np.int32))
    alike = [numbers[labels == label] for label in dict.fromkeys(labels.tolist())]
    pairs = [same[i : i + 2] for same in alike for i in range(0, len(same) - 1, 2)]
    if not pairs:
        raise ValueError(f"{len(numbers)} held-out images hold no two of one class to join")
    # Of every class its first pair, then its second one, as long as there is room.
    rank = [i for same in alike for i in range(len(same) // 2)]
    return np.stack([pairs[i] for i in np.argsort(rank, kind="stable")[:PATHS]])


def _encoded(shown: Shown, of: np.ndarray) -> np.ndarray:
    """The posterior means [N, D] of the images numbered `of`."""
    batch = {"image": shown.real[of]} | _labels(shown, of)
    return _head(shown, "encode")(shown.state, batch)["latent"]


def _decode(shown: Shown, latent: np.ndarray, labels: dict[str, np.ndarray]) -> np.ndarray:
    """The images of latents [M, D], with the labels of a conditional model."""
    batch = {"latent": latent.astype(np.float32)} | labels
    return _head(shown, "decode")(shown.state, batch)["image"]


def _head(shown: Shown, name: str) -> Callable:
    return samples.head_of(shown.run.algorithm, name, shown.seed)


def _labels(shown: Shown, of: np.ndarray) -> dict[str, np.ndarray]:
    """{"label": those of the images numbered `of`}, nothing where the model reads none."""
    if "label" not in shown.run.algorithm.conditions:
        return {}
    return {"label": shown.label[np.asarray(of, np.int32).reshape(-1)]}
