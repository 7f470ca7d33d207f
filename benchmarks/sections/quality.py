"""Tables of sample quality and likelihood: rows of `results/quality_*.jsonl` -> Markdown."""

from collections.abc import Callable, Sequence

from benchmarks.sections import cells
from benchmarks.sections.cells import Row

TEXT = {
    "gpt_shakespeare": "`gpt_shakespeare`, 2000 steps at nanoGPT's setting for a CPU",
    "lstm_shakespeare": "`lstm_shakespeare`, equal steps and batch",
    "gpt_finetune": "`gpt_finetune`, 500 steps from `gpt_python`",
    "gpt_finetune_scratch": "the same 500 steps from scratch",
}
GAN = {
    "configs/gan_digits.py": "`gan_digits`",
    "configs/gan_mnist.py": "`gan_mnist`, class-conditional",
}
VAE = {"configs/vae_mnist.py": "`vae_mnist`", "configs/vae_digits.py": "`vae_digits`"}
BURDA, IWAE = "configs/vae_burda.py", "configs/vae_burda.py:iwae"
LIKELIHOOD = {
    BURDA: "`vae_burda`, 160 passes",
    IWAE: "`vae_burda:iwae`, K = 5 in training, 60 passes",
}
# Burda et al. 2016 (arXiv 1509.00519) after 3280 passes, nats.
PUBLISHED = {
    BURDA: "86.76, as cited by later papers",
    IWAE: "85.54, as cited by later papers",
}
# What the benchmarks themselves set; runs with any other override are experiments.
OWN_OVERRIDES = {"eval_batches", "init_from", "data.tokenizer"}


def _standard(rows: Sequence[Row]) -> list[Row]:
    """The rows whose configs nobody changed."""
    return [row for row in rows if {key for key, _ in row["overrides"]} <= OWN_OVERRIDES]


def _column(name: str, decimals: int, scale: float = 1.0, unit: str = "") -> Callable:
    return lambda rows: cells.mean(rows, name, decimals, scale, unit)


def text(rows: Sequence[Row]) -> str:
    """Validation losses on tiny Shakespeare."""
    rows = _standard(rows)
    groups = {label: cells.of_seeds(rows, model=model) for model, label in TEXT.items()}
    columns = {"nats per character": _column("nll", 3)}
    return cells.table(groups, "model", columns, "python -m benchmarks.quality.text")


def gan(rows: Sequence[Row]) -> str:
    """What a classifier of real images says of samples."""
    rows = _standard(rows)
    groups = {label: cells.of_seeds(rows, config=config) for config, label in GAN.items()}
    columns = {
        "rarest class": _column("least_share", 1, 100, " %"),
        "confidence": _column("confidence", 3),
        "distance": _column("distance", 3),
        "classifier's test accuracy": lambda rows: f"{100 * rows[0]['classifier_accuracy']:.1f} %",
    }
    return cells.table(groups, "config", columns, "python -m benchmarks.quality.gan")


def gan_agreement(rows: Sequence[Row]) -> str:
    """The share of `gan_mnist`'s samples that are classified as what they were drawn for."""
    chosen = cells.of_seeds(_standard(rows), config="configs/gan_mnist.py")
    return cells.mean(chosen, "agreement", 1, 100, " %") if chosen else "(not measured yet)"


def vae(rows: Sequence[Row]) -> str:
    """The evidence lower bound and its parts."""
    rows = _standard(rows)
    groups = {label: cells.of_seeds(rows, config=config) for config, label in VAE.items()}
    columns = {
        "−ELBO": _column("negative_elbo", 2),
        "rate": _column("rate", 2),
        "distortion": _column("distortion", 2),
    }
    return cells.table(groups, "config", columns, "python -m benchmarks.quality.vae")


def _burda(rows: Sequence[Row], config: str) -> list[Row]:
    whole = {"iw_samples": 500, "limit": None}
    return cells.of_seeds(_standard(rows), config=config, **whole)


def likelihood(rows: Sequence[Row]) -> str:
    """The importance-weighted bound of 500 draws, beside the published one."""
    groups = {label: _burda(rows, config) for config, label in LIKELIHOOD.items()}
    columns = {
        "bound, K = 500": _column("iw_bound", 2),
        "−ELBO": _column("negative_elbo", 2),
        "active units": _column("active_units", 1),
        "published, 3280 passes": lambda rows: PUBLISHED[rows[0]["config"]],
    }
    return cells.table(groups, "config", columns, "python -m benchmarks.quality.likelihood")


def likelihood_time(rows: Sequence[Row]) -> str:
    """How long either took to train."""
    vae, iwae = (cells.minutes(_burda(rows, config)) for config in (BURDA, IWAE))
    return f"{vae} (VAE) and {iwae} (IWAE)"
