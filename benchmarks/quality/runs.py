"""Training one config on several seeds, as every quality benchmark does."""

import argparse
import json
import pathlib
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from aigc_jax import build, config, core, finetune, loop

Overrides = Sequence[tuple[str, str]]


class Finished(NamedTuple):
    """A trained run."""

    run: build.Run
    state: core.State
    workdir: pathlib.Path
    seconds: float | None  # from the start to the last checkpoint; None if it had begun before


def parser(description: str) -> argparse.ArgumentParser:
    """The flags that all quality benchmarks take."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    made.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/quality"))
    return made


def parse(made: argparse.ArgumentParser, argv: Sequence[str]) -> tuple[Any, list[tuple[str, str]]]:
    """The flags, and "--config.KEY=VALUE" words as overrides."""
    flags, rest = made.parse_known_args(argv)
    overrides = []
    for word in rest:
        key, equals, value = word.partition("=")
        if not key.startswith("--config.") or not equals:
            made.error(f"{word}: unknown; overrides are --config.KEY=VALUE")
        overrides.append((key.removeprefix("--config."), value))
    return flags, overrides


def train(
    spec: str, seed: int, out: pathlib.Path, overrides: Overrides, label: str = ""
) -> Finished:
    """Trains the config `spec` on one seed in `out/<label>-<seed>`, or goes on with what is there.

    A run that has done its steps is only read. The label is by default the config's name.
    """
    label = label or pathlib.Path(spec).name.replace(".py", "").replace(":", "-")
    completed = build.configured(config.load(spec), [*overrides, ("seed", str(seed))])
    workdir = out / f"{label}-{seed}"
    fresh = not (workdir / "config.json").exists()
    start = time.perf_counter()
    state = loop.train(completed, workdir)
    if int(state.step) < completed["steps"]:
        raise SystemExit(f"{workdir} was stopped at step {int(state.step)}: nothing to report yet")
    seconds = time.perf_counter() - start if fresh else None
    tokenizer = finetune.tokenizer_of(completed["init_from"])
    run = build.run(completed, build.describe_data(completed, tokenizer))
    return Finished(run, state, workdir, seconds)


def last_evaluation(finished: Finished) -> dict[str, float]:
    """The evaluation after the last step, over the whole split that the data set evaluates on."""
    with (finished.workdir / "metrics.jsonl").open() as file:
        rows = [json.loads(line) for line in file]
    return [row for row in rows if row["split"] == finished.run.info.eval_split][-1]
