"""Samples that were asked for, as files: of images, of points, of texts or of music."""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from aigc_jax import classes, samples
from aigc_jax.data.dataset import Info
from aigc_jax.media import images, music, points, text
from aigc_jax.request import Request


def told(asked: Request, labels: np.ndarray, info: Info) -> str:
    """The line that says which classes were drawn."""
    found = "the likeliest, for want of --label: " if _inferred(asked, labels) else ""
    return found + classes.described(labels, info)


def _inferred(asked: Request, labels: np.ndarray | None) -> bool:
    return labels is not None and "label" not in asked.cond


def how(asked: Request, labels: np.ndarray | None) -> dict[str, Any]:
    """What the mark of every file says of the request; see `provenance.mark`."""
    said = {"head": asked.head, "prompt": asked.prompt, "options": dict(asked.options)}
    said |= {"num": asked.num} if asked.head == "interpolate" else {}
    said |= {"labels": "the likeliest"} if _inferred(asked, labels) else {}
    return {name: value for name, value in said.items() if value}


def columns(asked: Request, labels: np.ndarray | None, info: Info) -> dict[str, Any]:
    """What is said of each sample by itself: {name: values [num]}."""
    found = {} if labels is None else {"label": np.asarray(labels, np.int32)}
    if labels is not None and classes.names_of(info):
        found["label_name"] = classes.named(labels, info)
    if asked.sources:
        found["source"] = [pathlib.Path(source).name for source in asked.sources]
    return found


def write(
    folder: pathlib.Path,
    drawn: Mapping[str, np.ndarray],
    tokenizer: Any,
    mark: Mapping[str, Any],
    each: Mapping[str, Any],
) -> None:
    """Writes what the sampler or a head gave; texts are printed, too."""
    if "tokens" not in drawn:
        points.write(folder, drawn["image"], mark, each)
        return
    written = samples.texts_of(drawn, tokenizer)
    if tokenizer.name == "music":
        music.write_music(folder, [music.frames_of(piece) for piece in written], mark, each)
    else:
        print("\n----\n".join(written))
        text.write_texts(folder, written, mark, each)


def write_pairs(
    folder: pathlib.Path, originals: np.ndarray, rebuilt: np.ndarray, mark: Mapping[str, Any]
) -> None:
    """`pairs.png`: each image with its reconstruction beside it."""
    images.write_png(folder / "pairs.png", images.side_by_side(originals, rebuilt), mark)
