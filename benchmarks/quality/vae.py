"""The evidence lower bound of a VAE on the whole test split, over seeds.

    python -m benchmarks.quality.vae --config=configs/vae_mnist.py --seeds 0 1 2

negative_elbo is in nats per image, with one draw of z each, on dynamically binarised images unless
the config says otherwise; rate and distortion are its parts.
"""

import sys

from aigc_jax import launch
from benchmarks import report
from benchmarks.quality import runs


def score(finished: runs.Finished) -> dict:
    """The figures of one trained VAE."""
    values = runs.last_evaluation(finished)
    return {
        "seed": finished.run.config["seed"],
        "negative_elbo": -values["elbo"],
        "rate": values["rate"],
        "distortion": values["distortion"],
        "seconds": finished.seconds,
    }


def main(argv: list[str]) -> None:
    """Trains, prints a table and appends it to the results."""
    parser = runs.parser(__doc__)
    parser.add_argument("--config", default="configs/vae_mnist.py")
    flags, overrides = runs.parse(parser, argv)
    launch.configure()
    overrides = [("eval_batches", "0"), *overrides]
    rows = [score(runs.train(flags.config, seed, flags.out, overrides)) for seed in flags.seeds]
    print(f"\n{flags.config}, test split\n\n{report.table([*rows, report.summary(rows)])}")
    about = {"config": flags.config, "overrides": overrides}
    print(report.append("quality_vae", [about | row for row in rows]))


if __name__ == "__main__":
    main(sys.argv[1:])
