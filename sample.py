"""Samples from a trained run: python sample.py --workdir=runs/gan_digits --num=64 --seed=1.

Reads only the workdir: no data set, no Python config, no network. Beside the flags below it takes
--label, --prompt, --prompt_file, --interpolate and --reconstruct where the run can follow them, and
exactly the options of the run's own sampler, e.g. --temperature=0.8 for text.
"""

import argparse
import pathlib
import sys
from collections.abc import Mapping


def parse(argv: list[str]) -> tuple[argparse.Namespace, dict[str, list[str]]]:
    """The flags that every run takes, and all others as {name: [words]}."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--workdir", type=folder, required=True)
    parser.add_argument("--out", type=folder, default=pathlib.Path("generated_images"))
    parser.add_argument("--num", type=int, help="how many samples; default: 64")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--step", type=int, help="which checkpoint; default: the newest")
    parser.add_argument("--batch_size", type=int, default=64, help="samples per call")
    parser.add_argument("--ema", action="store_true", help="averaged parameters (the default)")
    parser.add_argument("--noema", action="store_true", help="raw parameters")
    parser.add_argument("--trust", action="append", default=[], help="a module of your own to run")
    flags, rest = parser.parse_known_args(argv)
    for name in ("num", "batch_size"):
        value = getattr(flags, name)
        if value is not None and value < 1:
            parser.error(f"--{name}={value}: must be at least 1")
    if flags.ema and flags.noema:
        parser.error("--ema and --noema: give one of them")
    options: dict[str, list[str]] = {}
    for word in rest:
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            given = options.setdefault(name, [])
            given += [value] if equals else []
        elif options:
            given.append(word)
        else:
            parser.error(f"{word}: unknown argument")
    return flags, options


def folder(text: str) -> pathlib.Path:
    """A path; none is not the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("must name a folder")
    return pathlib.Path(text)


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
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        print(f"error: --batch_size={flags.batch_size}: out of memory; give less", file=sys.stderr)
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
        request,
        samples,
        seeds,
        start,
        stored_config,
        vocabulary,
        written,
    )
    from aigc_jax import workdir as workdirs
    from aigc_jax.media import earlier, provenance

    if fault := seeds.fault(f"--seed={flags.seed}", flags.seed):
        raise ValueError(fault)
    step = checkpoint.choose(flags.workdir, flags.step)
    record = checkpoint.read_run(flags.workdir, step)
    with refusals.told():
        completed = stored_config.as_of_today(record["config"], flags.trust)[0] | config.UNDIVIDED
        run = build.run(completed, workdirs.info_of(record), flags.trust)
    tokenizer = vocabulary.stored(record, flags.trust)
    if flags.ema and not run.config["ema_decay"]:
        raise ValueError("--ema: the run keeps no averages, its config.ema_decay is 0")
    asked = request.read(run, tokenizer, flags.num, options)
    provenance.check_writable(flags.out)
    names = written.names(run, tokenizer, asked)
    earlier.check(flags.out, names)

    mesh = parallel.make_mesh(config.MESH | {"data": 1})
    state = start.restore(run, flags.workdir, mesh, step)
    state = state.replace(ema={}) if flags.noema else state
    with refusals.only_said():  # what was asked for is checked, the rest is as the run began
        drawn, labels = request.follow(asked, run, state, flags.seed, flags.batch_size)
    if labels is not None:
        print(written.told(asked, labels, run.info), file=sys.stderr)
    mark = samples.mark(
        run,
        raw=flags.noema,
        run=flags.workdir.resolve().name,
        step=int(state.step),
        config_digest=record["digest"],
        seed=flags.seed,
        **written.how(asked, labels),
    )
    written.check(drawn, tokenizer)
    if gone := set(earlier.remove(flags.out)) - set(names):
        print(f"removed {len(gone)} files of earlier samples from {flags.out}", file=sys.stderr)
    written.write(flags.out, drawn, tokenizer, mark, written.columns(asked, labels, run.info))
    if asked.head == "reconstruct":
        written.write_pairs(flags.out, asked.batch["image"], drawn["image"], mark)
    print(f"wrote {asked.num} samples to {flags.out}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
