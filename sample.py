"""Samples from a trained run: python sample.py --workdir=runs/gan_digits --num=64 --seed=1.

Reads only the workdir: no data set, no Python config, no network. Beside the flags below it takes
exactly the options of the run's own sampler, e.g. --temperature=0.8 for text.
"""

import argparse
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np


def parse(argv: list[str]) -> tuple[argparse.Namespace, dict[str, list[str]]]:
    """The flags that every run takes, and all others as {name: [words]}."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--workdir", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("generated_images"))
    parser.add_argument("--num", type=int, default=64, help="how many samples")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--step", type=int, help="which checkpoint; default: the newest")
    parser.add_argument("--batch_size", type=int, default=64, help="samples per call")
    parser.add_argument("--ema", action="store_true", help="averaged parameters (the default)")
    parser.add_argument("--noema", action="store_true", help="raw parameters")
    parser.add_argument("--trust", action="append", default=[], help="a module of your own to run")
    flags, rest = parser.parse_known_args(argv)
    for name in ("num", "batch_size"):
        if getattr(flags, name) < 1:
            parser.error(f"--{name}={getattr(flags, name)}: must be at least 1")
    if flags.ema and flags.noema:
        parser.error("--ema and --noema: give one of them")
    options: dict[str, list[str]] = {}
    for word in rest:
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            options[name] = [value] if equals else []
        elif options:
            options[list(options)[-1]].append(word)
        else:
            parser.error(f"{word}: unknown argument")
    return flags, options


def main(argv: list[str]) -> int:
    """Draws samples into a folder; 0 when done, 2 for bad input."""
    flags, options = parse(argv)
    from aigc_jax import launch

    launch.configure()
    try:
        sample(flags, options)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def sample(flags: argparse.Namespace, options: Mapping[str, list[str]]) -> None:
    """Everything is checked before arrays are read or anything is compiled."""
    from aigc_jax import (
        build,
        checkpoint,
        config,
        parallel,
        refusals,
        samples,
        seeds,
        start,
        stored_config,
        workdir,
    )
    from aigc_jax.data import tokenizers
    from aigc_jax.media import images, music, points, provenance, text

    if fault := seeds.fault(f"--seed={flags.seed}", flags.seed):
        raise ValueError(fault)
    step = checkpoint.choose(flags.workdir, flags.step)
    record = checkpoint.read_run(flags.workdir, step)
    with refusals.told():
        completed = stored_config.as_of_today(record["config"], flags.trust)[0] | config.UNDIVIDED
        run = build.run(completed, workdir.info_of(record), flags.trust)
    tokenizer = record["tokenizer"] and tokenizers.from_json(record["tokenizer"])
    check_names(run.algorithm, options)
    names = samples.options_of(run.algorithm)
    chosen = {k: one(k, v) for k, v in options.items() if k in names}
    chosen = {k: config.parse(v, names[k], f"--{k}") for k, v in chosen.items()}
    head, batch = head_of(run, options)
    num = len(next(iter(batch.values()))) if head else flags.num
    cond = conditions(run, tokenizer, options, num)
    provenance.check_writable(flags.out)

    mesh = parallel.make_mesh(config.MESH | {"data": 1})
    state = start.restore(run, flags.workdir, mesh, step)
    state = state.replace(ema={}) if flags.noema else state
    if head:
        drawn = samples.head_of(run.algorithm, head, flags.seed)(state, batch | cond)
    else:
        drawn = samples.draw(run.algorithm, state, flags.seed, num, cond, chosen, flags.batch_size)
    mark = provenance.mark(
        run=flags.workdir.name,
        step=int(state.step),
        config_digest=record["digest"],
        seed=flags.seed,
    )
    if "tokens" in drawn:
        written = samples.texts_of(drawn, tokenizer)
        if tokenizer.name == "music":
            music.write_music(flags.out, [music.frames_of(piece) for piece in written], mark)
        else:
            print("\n----\n".join(written))
            text.write_texts(flags.out, written, mark)
    else:
        points.write(flags.out, drawn["image"], mark, cond.get("label"))
    if head == "reconstruct":
        pairs = images.side_by_side(batch["image"], drawn["image"])
        images.write_png(flags.out / "pairs.png", pairs, mark)
    print(f"wrote {len(next(iter(drawn.values())))} samples to {flags.out}", file=sys.stderr)


def check_names(algorithm: Any, options: Mapping[str, list[str]]) -> None:
    """Refuses by name every option that the run cannot follow.

    Raises:
      ValueError: with what it does accept.
    """
    from aigc_jax import samples
    from aigc_jax.config import unknown

    flags_of = {"label": ("label",), "prompt": ("prompt", "prompt_file")}
    accepted = list(samples.options_of(algorithm))
    accepted += [flag for name in algorithm.conditions for flag in flags_of.get(name, ())]
    accepted += [head for head in ("interpolate", "reconstruct") if head in algorithm.heads]
    for name in options:
        if name == "label" and "label" not in accepted:
            raise ValueError(f"--label={one(name, options[name])}: the run is unconditional")
        if name not in accepted:
            raise ValueError(unknown(f"--{name}", accepted))


def one(name: str, words: list[str]) -> str:
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


def head_of(run: Any, options: Mapping[str, list[str]]) -> tuple[str, dict[str, np.ndarray]]:
    """("interpolate" | "reconstruct" | "", the batch that head works on)."""
    from aigc_jax.media import images, points

    if "interpolate" in options and "reconstruct" in options:
        raise ValueError("--interpolate and --reconstruct: give one of them")
    if "interpolate" in options:
        count = whole("interpolate", one("interpolate", options["interpolate"]))
        if count < 2:
            raise ValueError(f"--interpolate={count}: must be at least 2, both ends counted")
        return "interpolate", {"fraction": np.linspace(0, 1, count, dtype=np.float32)}
    if "reconstruct" in options:
        shape = run.example.batch["image"].shape[1:]
        if shape == points.SHAPE:
            raise ValueError("--reconstruct: the run is about points of the plane, not images")
        if not options["reconstruct"]:
            raise ValueError("--reconstruct: give one or more image files")
        read = [images.read_image(path, shape) for path in options["reconstruct"]]
        return "reconstruct", {"image": np.stack(read)}
    return "", {}


def conditions(
    run: Any, tokenizer: Any, options: Mapping[str, list[str]], num: int
) -> dict[str, np.ndarray]:
    """One row per sample: labels (by default all classes in turn) or the prompt's tokens."""
    from aigc_jax import samples

    if "label" in options:
        label = whole("label", one("label", options["label"]))
        if not 0 <= label < run.info.num_classes:
            raise ValueError(f"--label={label}: must be 0 to {run.info.num_classes - 1}")
        return {"label": np.full(num, label, np.int32)}
    given, prompt = prompt_of(options)
    try:
        tokens = tokenizer.encode(prompt) if prompt else np.zeros(0, np.int32)
    except ValueError as error:
        raise ValueError(f"{given}: {error}") from None
    if not len(tokens):
        return samples.unprompted(run.algorithm, run.info, tokenizer, num)
    return {
        "prompt": np.tile(tokens, (num, 1)),
        "prompt_length": np.full(num, len(tokens), np.int32),
    }


def prompt_of(options: Mapping[str, list[str]]) -> tuple[str, str]:
    """(the option as it was given, the prompt); both empty without one."""
    from aigc_jax.data import text_file
    from aigc_jax.data.dirt import Unusable

    if "prompt" in options and "prompt_file" in options:
        raise ValueError("--prompt and --prompt_file: give one of them")
    if "prompt" in options:
        prompt = one("prompt", options["prompt"])
        return f"--prompt={prompt}", prompt
    if "prompt_file" not in options:
        return "", ""
    path = one("prompt_file", options["prompt_file"])
    given = f"--prompt_file={path}"
    try:
        return given, text_file.read(pathlib.Path(path))
    except Unusable as error:
        raise ValueError(f"{given}: {error.reason}; must be UTF-8 text") from None
    except OSError as error:
        raise ValueError(f"{given}: must be a file that can be read ({error.strerror})") from None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
