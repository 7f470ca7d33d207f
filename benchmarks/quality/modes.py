"""Which Gaussians of a mixture does a GAN forget? Methods side by side, over seeds.

    python -m benchmarks.quality.modes --data grid ring --seeds 0 1 2

Trains configs/gan_grid.py and configs/gan_ring.py with each of their methods, draws 2,500 samples
of the averaged generator and counts, as PacGAN does (Lin et al., arXiv 1712.04086),

- modes: those with a sample of high quality, within 3 standard deviations of their mean;
- high_quality: the share of such samples;
- reverse_kl: KL in nats of the samples' modes from uniform, each sample counted for its nearest
  mode; reverse_kl_hq: the same of samples of high quality alone, PacGAN's own value.

The published rows took 400,000 steps of larger networks: they are no target for these budgets.
"""

import sys

import numpy as np

from aigc_jax import build, core, launch, samples
from aigc_jax.data import points
from aigc_jax.metrics import modes
from benchmarks import report
from benchmarks.quality import runs

SAMPLES = 2500
METHODS = ("ns", "ns_r1", "rp_r1r2", "wgan_gp", "pac2")
# Table 1 of PacGAN: modes, high-quality share, reverse KL of samples of high quality.
PUBLISHED = {
    "ring": {
        "GAN": ("6.3 ± 0.5", "0.982 ± 0.002", "0.45 ± 0.09"),
        "PacGAN2": ("7.9 ± 0.1", "0.956 ± 0.020", "0.07 ± 0.03"),
    },
    "grid": {
        "GAN": ("17.3 ± 0.8", "0.948 ± 0.007", "0.70 ± 0.07"),
        "PacGAN2": ("23.8 ± 0.7", "0.913 ± 0.008", "0.13 ± 0.04"),
    },
}


def score(run: build.Run, state: core.State) -> modes.Modes:
    """What 2,500 samples of a trained generator cover, with its averaged parameters."""
    mixture = points.SETS[run.info.name]()
    seed, options = run.config["seed"], run.config["sampling"]
    drawn = samples.draw(run.algorithm, state, seed, SAMPLES, {}, options, batch_size=SAMPLES)
    coordinates = mixture.scale * drawn["image"].reshape(-1, 2)
    return modes.gaussian_modes(coordinates, mixture.means, mixture.deviation)


def measured(data: str, method: str, seed: int, flags, overrides: runs.Overrides) -> dict:
    """The row of one run, which is trained or, where it is done already, read."""
    finished = runs.train(f"configs/gan_{data}.py:{method}", seed, flags.out, overrides)
    found = score(finished.run, finished.state)
    return {
        "data": data,
        "method": method,
        "seed": seed,
        "modes": found.found,
        "high_quality": found.high_quality,
        "reverse_kl": found.reverse_kl,
        "reverse_kl_hq": found.reverse_kl_high_quality,
        "seconds": finished.seconds,
    }


def summary(rows: list[dict]) -> dict:
    """One line of the table: mean ± standard deviation over the seeds of a method."""
    line = {"method": rows[0]["method"]}
    for name in ("modes", "high_quality", "reverse_kl", "reverse_kl_hq", "seconds"):
        values = [row[name] for row in rows]
        known = None not in values and np.isfinite(values).all()
        line[name] = report.mean_and_spread(values) if known else ""
    return line


def published(data: str) -> list[dict]:
    """PacGAN's lines for the same table."""
    names = ("modes", "high_quality", "reverse_kl_hq")
    lines = PUBLISHED[data].items()
    return [
        {"method": f"{name}, published", **dict(zip(names, v, strict=True))} for name, v in lines
    ]


def main(argv: list[str]) -> None:
    """Trains, counts, prints a table for each data set and appends all rows to the results."""
    parser = runs.parser(__doc__)
    parser.add_argument("--data", nargs="+", choices=list(PUBLISHED), default=["grid", "ring"])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    flags, overrides = runs.parse(parser, argv)
    launch.configure()
    for data in flags.data:
        lines, rows = [], []
        for method in flags.methods:
            found = [measured(data, method, seed, flags, overrides) for seed in flags.seeds]
            print(f"\n{report.table(found)}\n", flush=True)
            lines.append(summary(found))
            rows += found
        floor = (len(points.SETS[data]().means) - 1) / (2 * SAMPLES)
        print(f"\n{data}, {SAMPLES} samples; true samples have a reverse KL of {floor:.4f}\n")
        print(report.table([*lines, *published(data)]))
        print(report.append("quality_modes", [{"overrides": overrides, **row} for row in rows]))


if __name__ == "__main__":
    main(sys.argv[1:])
