"""The likelihood of MNIST's test images under VAE and IWAE, beside the published figures.

    python -m benchmarks.quality.likelihood --seeds 0 1 2 --iw_samples 5000

Dynamically binarised, once for each image; nats. iw_bound is the importance-weighted bound on
-log p(x) of --iw_samples draws per image, negative_elbo is of the same draws, active_units is out
of 50. Each of --configs is trained on every seed or, where its workdir has all its steps, only
read; the rest of the four configs are listed as not measured yet. Published: the figures of Burda
et al. (arXiv 1509.00519) for 3280 passes, as cited by later papers. GPU rows: give
--configs=configs/vae_burda.py:published, and :published_iwae50.
"""

import sys

from aigc_jax import build, launch
from aigc_jax.evaluation import likelihood
from benchmarks import report
from benchmarks.quality import runs

BASE = "configs/vae_burda.py"
# What is published of the same objective and number of samples; short schedules do not reach it.
PUBLISHED = {
    BASE: "86.76 (3280 passes)",
    f"{BASE}:iwae": "85.54 (3280 passes)",
    f"{BASE}:published": "86.76",
    f"{BASE}:published_iwae50": "84.78",
}
MEASURED = ("iw_bound", "negative_elbo", "active_units")
UNMEASURED = "not measured yet"


def score(finished: runs.Finished, iw_samples: int, limit: int | None) -> dict:
    """The figures of one trained model."""
    dataset = build.load_data(finished.run.config)
    found = likelihood.findings(
        finished.run,
        finished.state,
        dataset,
        iw_samples=iw_samples,
        limit=limit,
        seed=finished.run.config["seed"],
        say=lambda text: print(text, flush=True),
    )
    print(f"iw_bound: {found.metrics['iw_bound'].protocol}")
    values = {name: found.metrics[name].value for name in MEASURED}
    return {"seed": finished.run.config["seed"], **values, "seconds": finished.seconds}


def shown(spec: str, row: dict) -> dict:
    """One line of the table, the published figure beside ours."""
    values = {name: row.get(name, UNMEASURED) for name in ("seed", *MEASURED, "seconds")}
    return {"config": spec, **values, "published": PUBLISHED.get(spec, "")}


def main(argv: list[str]) -> None:
    """Trains, bounds, prints a table and appends it to the results."""
    parser = runs.parser(__doc__)
    parser.add_argument("--configs", nargs="+", default=[BASE, f"{BASE}:iwae"])
    parser.add_argument("--iw_samples", type=int, default=5000)
    parser.add_argument("--limit", type=int, default=None, help="images of the split, all without")
    flags, overrides = runs.parse(parser, argv)
    launch.configure()
    rows, lines = [], []
    for spec in flags.configs:
        models = [runs.train(spec, seed, flags.out, overrides) for seed in flags.seeds]
        scored = [score(model, flags.iw_samples, flags.limit) for model in models]
        mean = report.summary([row | {"seconds": ""} for row in scored])
        lines += [shown(spec, row) for row in [*scored, mean | {"seconds": ""}]]
        about = {"config": spec, "overrides": overrides, "iw_samples": flags.iw_samples}
        rows += [about | {"limit": flags.limit} | row for row in scored]
    lines += [shown(spec, {}) for spec in PUBLISHED if spec not in flags.configs]
    print(f"\nThe test split, dynamically binarised; K = {flags.iw_samples:,}\n")
    print(report.table(lines))
    print(report.append("quality_likelihood", rows))


if __name__ == "__main__":
    main(sys.argv[1:])
