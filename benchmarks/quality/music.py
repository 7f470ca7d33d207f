"""A transformer on the chorales of J. S. Bach: nats per note over the whole test split, and rules.

    python -m benchmarks.quality.music --seeds 0 1 2

Trains configs/gpt_chorales.py and evaluates it as `python -m aigc_jax.evaluate` does: nats per
token and per frame of four, accuracy over all notes and over those that change, and what 16
samples of 128 frames do with the rules of part-writing, beside the real test chorales. Below stand
n-grams, which only count.
"""

import sys
from collections.abc import Mapping

from aigc_jax import build, launch
from aigc_jax.data.dataset import Dataset
from aigc_jax.evaluation import language
from aigc_jax.evaluation.results import Metric
from benchmarks import report
from benchmarks.quality import ngrams, runs

CONFIG = "configs/gpt_chorales.py"
SCORES = ("nll", "nll_per_frame", "accuracy", "accuracy_on_changes")
RULES = (
    *("voice_crossing", "parallel_fifths", "parallel_octaves", "leaps", "in_range"),
    "longest_copied_run",
)


def score(finished: runs.Finished, dataset: Dataset) -> tuple[dict, Mapping[str, Metric]]:
    """(the figures of one trained model, what they are with their values for real music)."""
    seed = finished.run.config["seed"]
    found = language.findings(finished.run, finished.state, dataset, seed=seed, say=print)
    values = {name: found.metrics[name].value for name in (*SCORES, *RULES)}
    return {"seed": seed, **values, "seconds": finished.seconds}, found.metrics


def beside(metrics: Mapping[str, Metric]) -> dict:
    """The row of real music: what the same rules count there."""
    floors = {name: next(iter(metrics[name].floors.values())) for name in RULES}
    return {"seed": "real test", **floors}


def main(argv: list[str]) -> None:
    """Trains, evaluates, prints tables and appends the results."""
    flags, given = runs.parse(runs.parser(__doc__), argv)
    launch.configure()
    overrides, rows = [("eval_batches", "0"), *given], []
    for seed in flags.seeds:
        finished = runs.train(CONFIG, seed, flags.out, overrides)
        dataset = build.load_data(finished.run.config)
        row, metrics = score(finished, dataset)
        rows.append(row)
    mean = report.summary(rows)
    columns = lambda names: [
        {name: row.get(name, "") for name in ("seed", *names)}
        for row in [*rows, mean, beside(metrics)]
    ]
    counted = ngrams.floors(finished.run.config["data"])
    below = [{"seed": name, "nll": nll, "nll_per_frame": 4 * nll} for name, nll in counted.items()]
    scores = columns((*SCORES, "seconds"))[:-1]
    print(f"\njsb_chorales, the whole test split\n\n{report.table([*scores, *below])}")
    print(f"\n16 samples of 128 frames\n\n{report.table(columns(RULES))}")
    print(
        report.append("quality_music", [{"config": CONFIG, "overrides": given} | r for r in rows])
    )


if __name__ == "__main__":
    main(sys.argv[1:])
