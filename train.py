"""Trains a generator: python train.py --config=configs/gan_digits.py --workdir=runs/gan_digits."""

import argparse
import os
import pathlib
import sys

USAGE = """
--config.KEY=VALUE overrides any value of the config, e.g. --config.algorithm.beta=4.
Interrupted or finished, the same command goes on from the newest checkpoint in the workdir.
"""


def parse(argv: list[str]) -> tuple[argparse.Namespace, list[tuple[str, str]]]:
    """The flags, and the overrides as pairs of dotted key and text."""
    parser = argparse.ArgumentParser(description=__doc__, epilog=USAGE, allow_abbrev=False)
    parser.add_argument("--config", required=True, help="file.py, file.py:argument or config.json")
    parser.add_argument("--workdir", type=_folder, help="default: runs/<name of the config>")
    parser.add_argument(
        "--describe",
        nargs="?",
        const="plain",
        choices=("plain", "compiled"),
        help="print the run and stop; compiled: with what each device moves and holds",
    )
    # Taken out before, since to argparse a word with a space in it is no flag, nor is "-1" a value.
    words, overrides, rest = [], [], list(argv)
    while rest:
        word = rest.pop(0)
        key, equals, value = word.partition("=")
        if not key.startswith("--config."):
            words.append(word)
            continue
        if not equals and not rest:
            parser.error(f"{word}: has no value; overrides are --config.KEY=VALUE")
        overrides.append((key.removeprefix("--config."), value if equals else rest.pop(0)))
    flags, unknown = parser.parse_known_args(words)
    if unknown:
        parser.error(f"{unknown[0]}: unknown; overrides are --config.KEY=VALUE")
    return flags, overrides


def _folder(text: str) -> pathlib.Path:
    """The path of a workdir; "" would be the current folder."""
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError(f"{text!r} names no folder; for this one give .")
    return pathlib.Path(text)


def default_workdir(spec: str) -> pathlib.Path:
    """runs/NAME or runs/NAME-ARGUMENT of a Python config; the folder of a stored one."""
    from aigc_jax import config

    path, argument = config.file_and_argument(spec)
    if path.endswith(".json"):
        return pathlib.Path(path).parent
    return pathlib.Path("runs") / "-".join(filter(None, (pathlib.Path(path).stem, argument)))


def main(argv: list[str]) -> int:
    """Trains or describes; returns the exit code, as `aigc_jax.failure` lists them."""
    flags, overrides = parse(argv)
    # Imported after the flags are read, so that --help and their errors come at once.
    from aigc_jax import build, config, failure, launch, loop, refusals
    from aigc_jax.workdir import continues

    try:
        workdir = flags.workdir or default_workdir(flags.config)
        sys.path.insert(0, "")
        with refusals.only_said() as said:
            completed = build.configured(config.load(flags.config), overrides)
        if said and not continues(workdir, completed):
            raise ValueError(said[0])
        refusals.tell(said)
        launch.configure(completed["deterministic"])
        if flags.describe:
            from aigc_jax import describe

            with loop.rules_for(workdir, completed):
                print(describe.report(completed, compiled=flags.describe == "compiled"))
            return failure.DONE
        stopped = failure.stopped_code(os.environ)
        launch.initialize_from_env(completed["heartbeat_seconds"])
        with failure.leaving():
            step = int(loop.train(completed, workdir).step)
        launch.part()
    except Exception as error:
        if not failure.explained(error):
            raise
        print(f"error: {failure.explained(error)}", file=sys.stderr)
        return failure.exit_code(error)
    return failure.DONE if step == completed["steps"] else stopped


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
