"""Language models on tiny_shakespeare: nats per character over the whole validation split.

    python -m benchmarks.quality.text --seeds 0 1 2

The transformer and the LSTM at the same setting; then the transformer finetuned from Python
sources (one run of gpt_python, seed 0) beside the same steps from scratch, both on bytes, of which
the text has one per character.
"""

import sys

from aigc_jax import launch
from benchmarks import report
from benchmarks.quality import runs

PRETRAINED = "configs/gpt_python.py"
FINETUNED = "configs/gpt_finetune.py"


def score(name: str, finished: runs.Finished) -> dict:
    """The figures of one trained model."""
    return {
        "model": name,
        "seed": finished.run.config["seed"],
        "nll": runs.last_evaluation(finished)["nll"],
        "seconds": finished.seconds,
    }


def experiments(pretrained: runs.Finished) -> dict[str, tuple[str, runs.Overrides]]:
    """{name: (config, overrides)} of the models that are compared."""
    scratch = [("init_from", ""), ("data.tokenizer", "byte")]
    return {
        "gpt_shakespeare": ("configs/gpt_shakespeare.py", []),
        "lstm_shakespeare": ("configs/lstm_shakespeare.py", []),
        "gpt_finetune": (FINETUNED, [("init_from", str(pretrained.workdir))]),
        "gpt_finetune_scratch": (FINETUNED, scratch),
    }


def main(argv: list[str]) -> None:
    """Trains, prints a table and appends it to the results."""
    flags, given = runs.parse(runs.parser(__doc__), argv)
    launch.configure()
    pretrained = runs.train(PRETRAINED, 0, flags.out, given)
    rows, means = [], []
    for name, (spec, own) in experiments(pretrained).items():
        overrides = [("eval_batches", "0"), *own, *given]
        models = [runs.train(spec, seed, flags.out, overrides, name) for seed in flags.seeds]
        scored = [score(name, model) for model in models]
        means.append(report.summary(scored, "model") | {"model": name, "seed": "mean"})
        rows += [row | {"config": spec, "overrides": overrides} for row in scored]
    shown = [{k: row[k] for k in ("model", "seed", "nll", "seconds")} for row in rows]
    print(f"\ntiny_shakespeare, validation split\n\n{report.table([*shown, *means])}")
    print(report.append("quality_text", rows))


if __name__ == "__main__":
    main(sys.argv[1:])
