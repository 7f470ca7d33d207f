"""Time from the start of a process to a fixed loss: `train.py` beside a PyTorch script.

    python -m benchmarks.speed.end_to_end

The perceptron VAE of configs/vae_mnist.py with a constant learning rate, once per round and seed:
`train.py` with an empty ("cold") and with a filled ("cached") compilation cache, and
`twins/script.py` eager and compiled, cold and cached. Both sides read the same prepared images,
evaluate on the whole test split every --eval_every steps and draw samples there. The time runs from
the start of the process, imports and compilation included, to the first evaluation at or below
--target nats. Prints the times and appends a row to benchmarks/results/end_to_end.jsonl.
"""

import argparse
import importlib.metadata
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aigc_jax import build, config
from benchmarks import report
from benchmarks.speed import measure, quiet

CONFIG = "configs/vae_mnist.py"
LATENTS, BATCH, RATE = 20, 128, 1e-3
# Variant -> (mode of the script, None for train.py; its compilation cache).
VARIANTS = {
    "ours_cold": (None, "xla"),
    "ours_cached": (None, "xla"),
    "eager": ("eager", "inductor"),
    "compiled_cold": ("compile", "inductor"),
    "compiled_cached": ("compile", "inductor"),
}
PAIRS = {
    "vs_eager_cold": ("eager", "ours_cold"),
    "vs_eager_cached": ("eager", "ours_cached"),
    "vs_compiled_cold": ("compiled_cold", "ours_cold"),
    "vs_compiled_cached": ("compiled_cached", "ours_cached"),
}


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--target", type=float, default=105.0, help="negative ELBO, nats")
    parser.add_argument("--steps", type=int, default=4000, help="by which it must be reached")
    parser.add_argument("--eval_every", type=int, default=250)
    parser.add_argument("--data", default="mnist", help="images that are made 28x28")
    return parser.parse_args(argv)


def overrides(flags: argparse.Namespace, seed: int) -> dict[str, Any]:
    """What is changed of the config for a run of one seed."""
    return {
        "seed": seed,
        "steps": flags.steps,
        "batch_size": BATCH,
        "log_every": flags.eval_every,
        "eval_every": flags.eval_every,
        "eval_batches": 0,
        "save_every": flags.steps,
        "algorithm.latent_dim": LATENTS,
        "optimizer.model.learning_rate": RATE,
        "optimizer.model.learning_rate_schedule": "constant",
        "data.name": flags.data,
        "data.image_size": 28,
    }


def words(flags: argparse.Namespace, seed: int, mode: str | None, folder: pathlib.Path) -> list:
    """The command line of train.py (mode None) or of the script; `folder` gets what it writes."""
    if mode is None:
        given = [f"--config.{key}={value}" for key, value in overrides(flags, seed).items()]
        return ["train.py", f"--config={CONFIG}", f"--workdir={folder}", *given]
    numbers = {"steps": flags.steps, "eval_every": flags.eval_every, "log_every": flags.eval_every}
    numbers |= {"batch": BATCH, "rate": RATE, "seed": seed}
    given = [f"--{key}={value}" for key, value in numbers.items()]
    arrays = f"--arrays={folder.parent.parent / 'arrays'}"
    script = ["-m", "benchmarks.speed.twins.script", f"--mode={mode}"]
    return [*script, arrays, f"--out={folder}", *given]


def reached(rows: Sequence[Mapping[str, Any]], target: float) -> Mapping[str, Any]:
    """The first evaluation with a negative ELBO of at most `target` nats.

    Raises:
      ValueError: if there is none; says how close it came.
    """
    evaluations = [row for row in rows if row["split"] != "train"]
    for row in evaluations:
        if -row["elbo"] <= target:
            return row
    best = min((-row["elbo"] for row in evaluations), default=float("inf"))
    raise ValueError(f"--target={target}: not reached, the best was {best:.2f}; give more --steps")


def timed(
    command: Sequence[str], caches: Mapping[str, str], folder: pathlib.Path, target: float
) -> tuple[float, int]:
    """Seconds from the start of the process to the target, and the steps it took there."""
    folder.mkdir(parents=True)
    start = time.time()
    with (folder / "output.txt").open("w") as output:
        done = subprocess.run(
            [sys.executable, *command],
            cwd=report.ROOT,
            env=os.environ | caches,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode:
        raise ValueError(f"{command[0]}: failed\n{(folder / 'output.txt').read_text()[-2000:]}")
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    row = reached([json.loads(line) for line in lines], target)
    return row["time"] - start, row["step"]


def one_round(flags: argparse.Namespace, seed: int, root: pathlib.Path) -> dict[str, tuple]:
    """{variant: (seconds, steps)} of one seed, every cache empty before its cold variant."""
    found, folder = {}, root / str(seed)
    for variant, (mode, cache) in VARIANTS.items():
        caches = {
            "JAX_COMPILATION_CACHE_DIR": str(folder / cache),
            "TORCHINDUCTOR_CACHE_DIR": str(folder / cache),
        }
        command = words(flags, seed, mode, folder / variant)
        found[variant] = timed(command, caches, folder / variant, flags.target)
        print(f"seed {seed}, {variant}: {found[variant][0]:.1f} s", flush=True)
    return found


def prepare(flags: argparse.Namespace, folder: pathlib.Path) -> None:
    """Prepares the data set for train.py and writes the same images for the script."""
    given = [(key, str(value)) for key, value in overrides(flags, 0).items()]
    dataset = build.load_data(build.configured(config.load(CONFIG), given))
    folder.mkdir()
    np.save(folder / "train.npy", dataset.train.arrays["image"])
    np.save(folder / "test.npy", dataset.eval.arrays["image"])


def row_of(flags: argparse.Namespace, rounds: Sequence[Mapping[str, tuple]]) -> dict[str, Any]:
    """The row that is recorded.

    seconds and steps_taken hold {variant: values by round}; vs_* are medians over rounds of
    PyTorch's time over ours, above 1 where ours is faster, with the least and greatest round in
    vs_*_low and vs_*_high. Beside them `main` records others_cpu_before, the share of the CPUs
    that other processes used before the first round.
    """
    seconds = {name: [taken[name][0] for taken in rounds] for name in VARIANTS}
    steps = {name: [taken[name][1] for taken in rounds] for name in VARIANTS}
    row = {"workload": "vae_mnist", "data": flags.data, "target": flags.target, "batch": BATCH}
    row |= {"steps": flags.steps, "eval_every": flags.eval_every, "rounds": len(rounds)}
    row |= {"torch": importlib.metadata.version("torch")}
    for name, (theirs, ours) in PAIRS.items():
        ratios = measure.ratio(seconds[theirs], seconds[ours])
        row |= dict(zip((name, f"{name}_low", f"{name}_high"), ratios, strict=True))
    return row | {"seconds": seconds, "steps_taken": steps}


def text(row: Mapping[str, Any]) -> str:
    """The times of a row by seed, and its ratios with their spread."""
    lines = [
        {"seconds": name} | {f"seed {i}": f"{took:.1f}" for i, took in enumerate(times)}
        for name, times in row["seconds"].items()
    ]
    ratios = [f"{n}: {row[n]:.2f} ({row[n + '_low']:.2f}-{row[n + '_high']:.2f})" for n in PAIRS]
    return "\n".join([f"to {row['target']:g} nats", "", report.table(lines), "", *ratios])


def main(argv: Sequence[str]) -> int:
    """0 when every run reached the target; 2 where one did not or nothing can be run."""
    flags = parse(argv)
    busy = quiet.share_now()
    if busy is not None and busy > quiet.LIMIT:
        print(f"warning: other processes use {100 * busy:.0f} % of the CPUs", file=sys.stderr)
    try:
        with tempfile.TemporaryDirectory() as root:
            prepare(flags, pathlib.Path(root) / "arrays")
            rounds = [one_round(flags, seed, pathlib.Path(root)) for seed in range(flags.rounds)]
        row = row_of(flags, rounds) | {"others_cpu_before": busy}
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    path = report.append("end_to_end", [row])
    print(f"\n{text(row)}\n{path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
