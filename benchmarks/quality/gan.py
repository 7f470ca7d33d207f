"""Are generated images like real ones, and all of them? A classifier of real images judges.

    python -m benchmarks.quality.gan --config=configs/gan_digits.py --seeds 0 1 2

Trains the config on each seed, draws 1,000 samples and measures

- least_share: the fraction of the rarest class, at least 0.03;
- confidence: the mean probability of the likeliest class, at least 0.9;
- distance: the mean pairwise distance in pixel space over that of real test images, at least 0.8.

The classifier sees only real images and must reach 97 % (digits) or 98 % (MNIST) on the test split.
"""

import sys

import numpy as np

from aigc_jax import build, config, launch, preprocess, samples
from aigc_jax.data.dataset import Dataset
from aigc_jax.evaluation import features
from aigc_jax.metrics import neighbours, scores
from benchmarks import report
from benchmarks.quality import runs

SAMPLES = 1000


def judge(probabilities: np.ndarray, labels: np.ndarray | None = None) -> dict:
    """What a classifier says of images by its probabilities [N, K].

    {"shares": fraction of each class, "least_share": the smallest, "confidence": mean probability
    of the likeliest class} and, with the labels [N] they were made for, "agreement": the fraction
    classified so.
    """
    shares = scores.class_shares(probabilities)
    said = {
        "shares": shares.round(4).tolist(),
        "least_share": float(shares.min()),
        "confidence": scores.confidence(probabilities),
    }
    if labels is None:
        return said
    return said | {"agreement": scores.agreement(probabilities, labels)}


def distance(images: np.ndarray, real: np.ndarray) -> float:
    """Mean distance in pixel space between two images [N, H, W, C], over that of real ones."""
    mean = lambda x: neighbours.mean_pairwise_distance(x.reshape(len(x), -1))
    return mean(images) / mean(real)


def score(finished: runs.Finished, classifier: features.Judge, real: np.ndarray) -> dict:
    """The figures of one trained generator, with its averaged parameters."""
    run, seed = finished.run, finished.run.config["seed"]
    cond = samples.unprompted(run.algorithm, run.info, None, SAMPLES)
    drawn = samples.draw(
        run.algorithm, finished.state, seed, SAMPLES, cond, run.config["sampling"], batch_size=100
    )
    said = judge(classifier.apply(drawn["image"])[1], cond.get("label"))
    apart = distance(drawn["image"], real)
    return {"seed": seed, **said, "distance": apart, "seconds": finished.seconds}


def real_images(dataset: Dataset) -> np.ndarray:
    """Up to as many test images f32 [N, H, W, C] as there are samples."""
    raw = dataset.eval.gather(dataset.eval.arrays, slice(SAMPLES))
    return np.asarray(preprocess.normalise(raw)["image"])


def main(argv: list[str]) -> None:
    """Trains, judges, prints a table and appends it to the results."""
    parser = runs.parser(__doc__)
    parser.add_argument("--config", default="configs/gan_digits.py")
    flags, overrides = runs.parse(parser, argv)
    launch.configure()
    dataset = build.load_data(build.configured(config.load(flags.config), overrides))
    classifier, real = features.trained(dataset, flags.out), real_images(dataset)
    rows = []
    for seed in flags.seeds:
        finished = runs.train(flags.config, seed, flags.out, overrides)
        rows.append(score(finished, classifier, real))
    shown = [{k: v for k, v in row.items() if k != "shares"} for row in rows]
    print(f"\n{flags.config}; the classifier's test accuracy is {classifier.accuracy:.4f}\n")
    print(report.table([*shown, report.summary(shown)]))
    about = {"config": flags.config, "overrides": overrides}
    about["classifier_accuracy"] = classifier.accuracy
    print(report.append("quality_gan", [about | row for row in rows]))


if __name__ == "__main__":
    main(sys.argv[1:])
