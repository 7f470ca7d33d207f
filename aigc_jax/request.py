"""What a run is asked for on the command line, checked by what it can do before any work is done.

Flags that every run takes are read elsewhere; all others come as {name: [words]}.
"""

import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from aigc_jax import build, classes, core, likeliest, memory, ranges, samples
from aigc_jax.config import parse, unknown
from aigc_jax.data import images as image_sets
from aigc_jax.data import text_file, tokenizers
from aigc_jax.data.dirt import Unusable
from aigc_jax.media import images, points
from aigc_jax.names import is_code

NUM = 64  # samples where nobody says how many
BYTES = 32  # of memory for each number or token of a sample, its copies included
HEADS = ("interpolate", "reconstruct")
FLAGS = {"label": ("label",), "prompt": ("prompt", "prompt_file")}  # by what a sampler reads
Words = Mapping[str, Sequence[str]]


class Request(NamedTuple):
    """What to draw: row i of `cond` or of `batch` is about sample i."""

    num: int
    head: str  # one of `HEADS`, or "" for new samples
    batch: Mapping[str, np.ndarray]  # what the head works on
    cond: Mapping[
        str, np.ndarray
    ]  # what the sampler reads; of a head the labels, if they are given
    options: Mapping[str, Any]  # the sampler's, all of them; none of a head
    prompt: str
    sources: Sequence[str]  # the files that are reconstructed


def read(run: build.Run, tokenizer: Any, num: int | None, words: Words) -> Request:
    """What the words ask for.

    The run's own `config.sampling` is the default of every option of its sampler.

    Raises:
      ValueError: for an option that the run cannot follow, with what it accepts.
    """
    _check_names(run.algorithm, words)
    head = _head(words, num)
    return _of_head(run, head, words) if head else _of_sampler(run, tokenizer, num or NUM, words)


def _of_head(run: build.Run, head: str, words: Words) -> Request:
    num, batch = _rows(run, head, words)
    labels = _labels(run, head, num, words)
    cond = {} if labels is None else {"label": labels}
    return Request(num, head, batch, cond, {}, "", words.get("reconstruct", ()))


def _of_sampler(run: build.Run, tokenizer: Any, num: int, words: Words) -> Request:
    given, prompt = prompt_of(words)
    tokens = _tokens(tokenizer, given, prompt) if prompt else ()
    options = _options(run, words)
    _check_room(run, f"--num={num}", num, len(tokens) + options.get("max_tokens", 1))
    cond = samples.unprompted(run.algorithm, run.info, tokenizer, num)
    if "label" in cond:
        cond["label"] = _labels(run, "", num, words)
    if len(tokens):
        cond["prompt"] = np.tile(tokens, (num, 1))
        cond["prompt_length"] = np.full(num, len(tokens), np.int32)
    return Request(num, "", {}, cond, options, prompt, ())


def follow(
    asked: Request, run: build.Run, state: core.State, seed: int, batch_size: int
) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """(the samples, their labels i32 [num], None where there are none).

    Images of which nobody says the class are reconstructed under the likeliest one.
    """
    labels, size = asked.cond.get("label"), min(batch_size, asked.num)
    if not asked.head:
        draw = samples.sampler(run.algorithm, seed, asked.options, size)
        return draw(state, asked.num, asked.cond), labels
    if labels is None and "label" in run.algorithm.conditions:
        labels = likeliest.labels(run, state, asked.batch["image"], seed, size)
    rows = dict(asked.batch) | ({} if labels is None else {"label": labels})
    head = samples.head_of(run.algorithm, asked.head, seed)
    compute = lambda start, batch: head(state, batch)
    return samples.in_batches(compute, asked.num, size, rows), labels


def _check_names(algorithm: Any, words: Words) -> None:
    """Refuses by name every option that the run cannot follow."""
    accepted = list(samples.options_of(algorithm))
    accepted += [flag for name in algorithm.conditions for flag in FLAGS.get(name, ())]
    accepted += [head for head in HEADS if head in algorithm.heads]
    for name in words:
        if name == "label" and "label" not in accepted:
            raise ValueError(f"--label={' '.join(words[name])}: the run is unconditional")
        if name not in accepted:
            raise ValueError(unknown(f"--{name}", accepted))


def _head(words: Words, num: int | None) -> str:
    """The head that is asked for; what it cannot follow is refused."""
    asked = [head for head in HEADS if head in words]
    if not asked:
        return ""
    if len(asked) > 1:
        raise ValueError("--interpolate and --reconstruct: give one of them")
    for name in (*words, *(() if num is None else ("num",))):
        if name not in (*HEADS, "label"):
            raise ValueError(
                f"--{name}: says nothing about --{asked[0]}; accepted beside it: label"
            )
    return asked[0]


def _rows(run: build.Run, head: str, words: Words) -> tuple[int, dict[str, np.ndarray]]:
    """(how many samples a head gives, the batch that it works on)."""
    if head == "interpolate":
        count = whole("interpolate", one("interpolate", words[head]))
        if count < 2:
            raise ValueError(f"--interpolate={count}: must be at least 2, both ends counted")
        _check_room(run, f"--interpolate={count}", count)
        return count, {"fraction": np.linspace(0, 1, count, dtype=np.float32)}
    shape = run.example.batch["image"].shape[1:]
    if shape == points.SHAPE:
        raise ValueError("--reconstruct: the run is about points of the plane, not images")
    if shape[-1] not in images.MODES:
        raise ValueError(f"--reconstruct: no image file has {shape[-1]} channels, as the run's do")
    if not words[head]:
        raise ValueError("--reconstruct: give one or more image files")
    return len(words[head]), {"image": np.stack([_image(run, path) for path in words[head]])}


def _image(run: build.Run, path: str) -> np.ndarray:
    """A file, decoded as those that the run was trained on."""
    data, shape = run.config["data"], run.example.batch["image"].shape[1:]
    own = is_code(data["name"])
    how = {} if own else {key: data[key] for key in ("background", "bits")}
    try:
        return image_sets.read(path, shape, **how)
    except ValueError as error:
        raise ValueError(f"--reconstruct: {error}") from None


def _check_room(run: build.Run, given: str, num: int, length: int = 0) -> None:
    """Refuses what would take more memory than there is: all samples are held until written.

    Args:
      given: the option that says how many.
      length: tokens of each, of a run on texts.
    """
    shape = (length,) if "tokens" in run.info.shapes else run.info.shapes["image"]
    drawn_alone = len(shape) > 1 and shape != points.SHAPE  # points are all in one picture
    enlarged = max(1, images.TILE // max(shape[:2])) ** 2 if drawn_alone else 1
    each = math.prod(shape) * (BYTES + 3 * enlarged)
    there = memory.host()
    if num * each > there:
        raise ValueError(
            f"{given}: would take about {num * each / 2**30:,.0f} GiB of memory, and there are "
            f"{there / 2**30:,.0f}; accepted are up to {there // each:,} samples of that size"
        )


def _labels(run: build.Run, head: str, num: int, words: Words) -> np.ndarray | None:
    """One label for each sample, i32 [num]; None: the head's images tell, or there are none.

    New samples take the labels in turn, by default all classes; a path holds one.
    """
    info = run.info
    if "label" not in run.algorithm.conditions:
        return None
    asked = [classes.index(word, info) for word in words.get("label", ())]
    if "label" in words and not asked:
        raise ValueError(f"--label: takes one or more classes: {classes.accepted(info)}")
    if head == "interpolate" and len(asked) != 1:
        raise ValueError(
            f"--interpolate: a path holds one class; give --label, {classes.accepted(info)}"
        )
    if head == "reconstruct" and len(asked) not in (0, 1, num):
        raise ValueError(f"--label: {len(asked)} for {num} images; give one, or one for each")
    if head == "reconstruct" and not asked:
        if likeliest.HEAD not in run.algorithm.heads:
            raise ValueError(f"--reconstruct: which class? Give --label, {classes.accepted(info)}")
        return None
    return np.resize(np.array(asked or range(info.num_classes), np.int32), num)


def _options(run: build.Run, words: Words) -> dict[str, Any]:
    """Every option of the sampler: as asked for, else as stored with the run, else its default."""
    defaults = samples.options_of(run.algorithm)
    chosen = {k: one(k, v) for k, v in words.items() if k in defaults}
    chosen = {k: parse(v, defaults[k], f"--{k}") for k, v in chosen.items()}
    for name, fault in ranges.faults(run.algorithm.sample, chosen):
        raise ValueError(f"--{name}={one(name, words[name])}: {fault}")
    return samples.check_options(run.algorithm, run.config["sampling"]) | chosen


def _tokens(tokenizer: Any, given: str, prompt: str) -> np.ndarray:
    """The ids of a prompt i32 [length]."""
    try:
        return tokenizers.prompted(tokenizer, prompt)
    except ValueError as error:
        raise ValueError(f"{given}: {error}") from None


def prompt_of(words: Words) -> tuple[str, str]:
    """(the option as it was given, the prompt); both empty without one."""
    if "prompt" in words and "prompt_file" in words:
        raise ValueError("--prompt and --prompt_file: give one of them")
    if "prompt" in words:
        prompt = one("prompt", words["prompt"])
        return f"--prompt={prompt}", prompt
    if "prompt_file" not in words:
        return "", ""
    path = one("prompt_file", words["prompt_file"])
    given = f"--prompt_file={path}"
    try:
        return given, text_file.read(pathlib.Path(path))
    except Unusable as error:
        raise ValueError(f"{given}: {error.reason}; must be UTF-8 text") from None
    except OSError as error:
        raise ValueError(f"{given}: must be a file that can be read ({error.strerror})") from None


def one(name: str, words: Sequence[str]) -> str:
    """The one value of an option."""
    if len(words) != 1:
        raise ValueError(f"--{name}={' '.join(words)}: takes exactly one value")
    return words[0]


def whole(name: str, text: str) -> int:
    """An integer option."""
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"--{name}={text}: must be a whole number") from None
