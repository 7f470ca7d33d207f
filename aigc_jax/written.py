"""Samples that were asked for, as files: of images, of points, of texts or of music."""

import pathlib
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from aigc_jax import build, classes, samples
from aigc_jax.data.dataset import Info
from aigc_jax.media import images, music, points, provenance, text
from aigc_jax.request import Request

# The endings of a sample's own files, and the files of all of them.
FILES = {
    "images": (("png",), ("grid.png", "samples.npz")),
    "points": ((), ("grid.png", "samples.npz")),
    "text": (("txt", "json"), ("samples.txt", "samples.json")),
    "music": (("mid", "wav", "png", "json"), ("grid.png",)),
}


def names(run: build.Run, tokenizer: Any, asked: Request) -> list[str]:
    """The files that `write` and `write_pairs` make of a request."""
    kind = "points" if run.info.shapes.get("image") == points.SHAPE else "images"
    if "tokens" in run.info.shapes:
        kind = "music" if tokenizer.name == "music" else "text"
    endings, together = FILES[kind]
    each = [f"{stem}.{ending}" for stem in provenance.stems(asked.num) for ending in endings]
    return [*each, *together, *(["pairs.png"] if asked.head == "reconstruct" else [])]


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
    if labels is not None and info.class_names:
        found["label_name"] = classes.named(labels, info)
    if asked.sources:
        found["source"] = [pathlib.Path(source).name for source in asked.sources]
    return found


def check(drawn: Mapping[str, np.ndarray], tokenizer: Any) -> None:
    """Samples that files can hold, to be asked before earlier ones are removed.

    Raises:
      ValueError: images or points that are not finite, or no piece of music with a whole frame.
    """
    if "image" in drawn:
        images.to_uint8(drawn["image"])
    elif tokenizer.name == "music":
        music.check([music.frames_of(piece) for piece in samples.texts_of(drawn, tokenizer)])


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
        pieces = [music.frames_of(piece) for piece in written]
        music.write_music(folder, pieces, mark, each)
        if empty := [i for i, piece in enumerate(pieces) if not len(piece)]:
            print(f"pieces {empty} ended before their first frame: no files", file=sys.stderr)
    else:
        print("\n----\n".join(written))
        text.write_texts(folder, written, mark, each)


def write_pairs(
    folder: pathlib.Path, originals: np.ndarray, rebuilt: np.ndarray, mark: Mapping[str, Any]
) -> None:
    """`pairs.png`: each image with its reconstruction beside it."""
    images.write_png(folder / "pairs.png", images.side_by_side(originals, rebuilt), mark)
