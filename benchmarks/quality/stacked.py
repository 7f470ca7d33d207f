"""How many of the 1000 numbers of Stacked MNIST does a GAN make?

    python -m benchmarks.quality.stacked --arguments plain pac2 --seeds 0 1 2
    python -m benchmarks.quality.stacked --arguments cpu cpu_pac2 --seeds 0

Trains configs/gan_stacked.py with each argument (`plain` is none) and draws 26,000 samples of the
averaged generator, as VEEGAN and PacGAN do (arXiv 1705.07761, 1712.04086). The project's
classifier of MNIST at the size of the run's images reads every channel:

- modes: numbers of three digits that are there at least once;
- kl: KL in nats of the samples' numbers from uniform.

The published rows are of other networks at 28x28; those of `cpu` arguments are scaled down, and
comparable with each other only.
"""

import sys

from aigc_jax import build, core, launch, samples
from aigc_jax.data.dataset import Dataset
from aigc_jax.evaluation import stacked
from benchmarks import report
from benchmarks.quality import runs

BATCH = 500
ARGUMENTS = ("plain", "pac2", "cpu", "cpu_pac2")
# Tables 2 and 3 of PacGAN: its own DCGAN, and what VEEGAN reports of one.
PUBLISHED = (
    {"method": "DCGAN, published by PacGAN", "modes": "78.9 ± 6.5", "kl": "4.50 ± 0.13"},
    {"method": "DCGAN, published by VEEGAN", "modes": "99.0", "kl": "3.40"},
    {"method": "PacDCGAN2, published by PacGAN", "modes": "1000", "kl": "0.06"},
)


def score(run: build.Run, state: core.State, dataset: Dataset) -> dict[str, float]:
    """{"modes", "kl"} of 26,000 samples with averaged parameters, {"floor"} of true triples."""
    seed, options = run.config["seed"], run.config["sampling"]

    def draw(count):
        return samples.draw(run.algorithm, state, seed, count, {}, options, BATCH)["image"]

    found = stacked.findings(dataset, run.config["data"]["data_dir"] or ".data", draw).metrics
    kl = found["modes_kl"]
    return {"modes": found["modes"].value, "kl": kl.value, "floor": min(kl.floors.values())}


def measured(argument: str, seed: int, flags, overrides: runs.Overrides) -> dict:
    """The row of one run, which is trained or, where it is done already, read."""
    spec = "configs/gan_stacked.py" + ("" if argument == "plain" else f":{argument}")
    finished = runs.train(spec, seed, flags.out, overrides)
    found = score(finished.run, finished.state, build.load_data(finished.run.config))
    return {"method": argument, "seed": seed, **found, "seconds": finished.seconds}


def summary(rows: list[dict]) -> dict:
    """One line of the table: mean ± standard deviation over the seeds of an argument."""
    line = {"method": rows[0]["method"]}
    for name in ("modes", "kl", "seconds"):
        values = [row[name] for row in rows]
        line[name] = "" if None in values else report.mean_and_spread(values)
    return line


def main(argv: list[str]) -> None:
    """Trains, counts, prints a table and appends all rows to the results."""
    parser = runs.parser(__doc__)
    parser.add_argument("--arguments", nargs="+", choices=ARGUMENTS, default=["plain", "pac2"])
    flags, overrides = runs.parse(parser, argv)
    launch.configure()
    lines, rows = [], []
    for argument in flags.arguments:
        found = [measured(argument, seed, flags, overrides) for seed in flags.seeds]
        print(f"\n{report.table(found)}\n", flush=True)
        lines.append(summary(found))
        rows += found
    print(f"\n26,000 samples; true triples have a KL of {rows[0]['floor']:.4f}\n")
    print(report.table([*lines, *PUBLISHED]))
    print(report.append("quality_stacked", [{"overrides": overrides, **row} for row in rows]))


if __name__ == "__main__":
    main(sys.argv[1:])
