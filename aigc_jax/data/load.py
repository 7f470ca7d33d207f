"""The front door: a data set by its name or path."""

import difflib
import inspect
import os
import pathlib
from collections.abc import Mapping
from typing import Annotated, Any

from aigc_jax import ranges
from aigc_jax.data import (
    builders,
    contents,
    folder,
    images,
    inspection,
    music,
    points,
    prepared,
    stacked,
    text,
)
from aigc_jax.data.dataset import Dataset, Info
from aigc_jax.data.pixels import BACKGROUNDS
from aigc_jax.ranges import above, at_least, between, only_with
from aigc_jax.refusals import refuse

TEXTS = ("python_text", "tiny_shakespeare")
MUSIC = ("jsb_chorales",)
# The options that each kind of set reads, beside its name and its folders.
FILES = ("splits", "background", "bits")  # of a folder
IMAGES = ("image_size", "channels", "limit", "max_memory_gib", "max_rejected", *FILES)
READ = {
    text: ("context", "tokenizer", "vocab_size", "limit", "max_rejected", "splits"),
    music: ("context", "tokenizer", "transpose", "limit", "max_rejected", "splits"),
    points: ("limit",),
    stacked: ("image_size", "channels", "limit"),
}


def options(
    *,
    name: str,
    manual_dir: str | None = None,
    data_dir: str | None = None,
    image_size: Annotated[int | None, at_least(1)] = None,
    channels: int | None = None,
    context: Annotated[int, at_least(1)] = 64,
    tokenizer: str = "auto",
    vocab_size: Annotated[int, at_least(1), only_with("tokenizer", "bpe")] = 1024,
    limit: Annotated[int | None, at_least(1)] = None,
    transpose: Annotated[int, between(0, 12)] = 0,
    max_memory_gib: Annotated[float, above(0)] = 1.0,
    max_rejected: Annotated[float, between(0, 1)] = 0.01,
    splits: str = "",
    background: str = "",
    bits: Annotated[int | None, between(8, 16)] = None,
) -> dict[str, Any]:
    """The data section of a config, checked and completed.

    Args:
      name: a known set, the path of a folder of images, texts or MIDI files or of a UTF-8 text
        file, or a set that TFDS has prepared under `data_dir`.
      manual_dir: folder with original files, looked for in `manual_dir/<set>/` and in
        `manual_dir`; by default the environment variable AIGC_MANUAL_DIR.
      data_dir: where sets are prepared and cached; by default .data in the current folder.
      image_size: resizes images to squares of so many pixels.
      channels: 1, 3 or 4; by default what the images have.
      context: tokens that a model of text or music sees, T.
      tokenizer: of text: "auto", "char", "byte" or "bpe".
      vocab_size: of a BPE tokenizer.
      limit: only the first so many images, points, pieces of music, or characters of text, are
        trained on.
      transpose: training pieces of music come in their own key and in those up to so many
        semitones below and above it.
      max_memory_gib: images that take more than this decoded are streamed.
      max_rejected: share of the files of a folder that may be unusable; they are left out.
      splits: the folder inside of a folder that is trained on, and after a comma the one that
        evaluation takes; "none": all are classes; by default train/ and test/, if they are there.
      background: what transparent pictures of 1 or 3 channels are laid on: "white", "grey" or
        "black"; "none" takes their colours as they are stored.
      bits: that the values of pictures of 16 bits use; the upper 8 of them are taken.

    Raises:
      ValueError: names the key, its value and what is accepted.
    """
    config = dict(locals())
    ranges.check(options, config, "config.data")
    if channels not in (None, *images.MODES):
        raise ValueError(f"data.channels = {channels!r}: accepted are {sorted(images.MODES)}")
    if background not in BACKGROUNDS:
        accepted = ", ".join(filter(None, BACKGROUNDS))
        raise ValueError(f"data.background = {background!r}: accepted are {accepted}")
    config["manual_dir"] = manual_dir or os.environ.get("AIGC_MANUAL_DIR")
    config["data_dir"] = data_dir or ".data"
    return config


def _check_idle(config: Mapping[str, Any], known: Any) -> None:
    """Options that the set of a config does not read must be at their defaults."""
    read = READ.get(known, IMAGES)
    if not pathlib.Path(config["name"]).is_dir():
        read = tuple(name for name in read if name not in FILES)
    for name, parameter in inspect.signature(options).parameters.items():
        idle = name not in ("name", "manual_dir", "data_dir", *read)
        if idle and config[name] != parameter.default:
            refuse(
                f"config.data.{name} = {config[name]!r}: does nothing with data.name = "
                f"{config['name']!r}, which reads {', '.join(read)}"
            )


def _unknown(config: Mapping[str, Any]) -> ValueError:
    name = config["name"]
    known = sorted([*builders.SETS, *points.SETS, stacked.NAME, *TEXTS, *MUSIC])
    others = prepared.names(config["data_dir"])
    near = difflib.get_close_matches(str(name), [*known, *others], 1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return ValueError(
        f"data.name = {name!r}: {hint}Accepted are {', '.join(known)}, the path of a folder of "
        "images, texts or MIDI files or of a UTF-8 text file, and what TFDS has prepared in "
        "array_record under "
        f"{config['data_dir']} ({', '.join(others) or 'nothing so far'})"
    )


def _image_origin(config: Mapping[str, Any]) -> images.Origin | None:
    """The image set that a config names, if it names one."""
    name = config["name"]
    if name in builders.SETS:
        return images.known(name, config["manual_dir"], config["data_dir"])
    if name and pathlib.Path(name).is_dir():
        chosen = ("image_size", "channels", "max_rejected", "data_dir", *FILES)
        return folder.origin(name, **{key: config[key] for key in chosen})
    found = prepared.find(name, config["data_dir"])
    if not found:
        return None
    origin = prepared.origin(name, found, config["image_size"])
    if origin.info.shapes["image"][2] == 4 and config["channels"] in (1, 3):
        refuse(
            f"config.data.channels = {config['channels']}: the images of {name!r} may be "
            "transparent, which would be lost; accepted are 4 and None"
        )
    return origin


def _set_of(config: Mapping[str, Any]) -> Any:
    """The module that knows the set that a config names, None if only an image set can have it."""
    name = config["name"]
    if name in builders.SETS:
        return None
    if name in points.SETS:
        return points
    if name == stacked.NAME:
        return stacked
    if name in MUSIC:
        return music
    if name in TEXTS or pathlib.Path(name).is_file():
        return text
    if name and pathlib.Path(name).is_dir():
        own = {inspection.TEXTS: text, inspection.MUSIC: music}
        return own.get(contents.kind_of(name, config["max_rejected"]))
    return None


def describe(config: Mapping[str, Any], tokenizer: Any = None) -> Info:
    """What is known of a data set without preparing it: takes milliseconds, downloads nothing.

    Of a folder of images names, sizes and, the first time, headers are read.

    Args:
      config: keywords of `options`.
      tokenizer: of a pretrained run, for text and music.

    Raises:
      ValueError: nothing has that name (says what does), or the folder or file is unusable.
    """
    config = options(**config)
    known = _set_of(config)
    origin = None if known else _image_origin(config)
    if not known and not origin:
        raise _unknown(config)
    _check_idle(config, known)
    if known:
        return known.describe(config, tokenizer)
    return images.describe(origin, config["image_size"], config["channels"], config["limit"])


def load(config: Mapping[str, Any], tokenizer: Any = None) -> Dataset:
    """The prepared data set; arguments and errors as in `describe`.

    Raises:
      FileNotFoundError: neither network nor files; says which files to put where.
    """
    config = options(**config)
    known = _set_of(config)
    if known:
        return known.load(config, tokenizer)
    origin = _image_origin(config)
    if not origin:
        raise _unknown(config)
    chosen = ("data_dir", "image_size", "channels", "limit", "max_memory_gib")
    return images.load(origin, **{key: config[key] for key in chosen})
