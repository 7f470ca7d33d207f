"""Next-token models of text and music: likelihoods of a whole split, samples, attention maps."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from aigc_jax import build, core, feed
from aigc_jax import samples as drawing
from aigc_jax.data.dataset import Dataset, Split
from aigc_jax.evaluation import chorales
from aigc_jax.evaluation.results import (
    Figure,
    Findings,
    Metric,
    attempt,
    floors_of,
    measured,
    nothing,
)
from aigc_jax.media import heatmaps
from aigc_jax.metrics import text as metrics

TOKENS = 512  # of each sample
SHOWN = 4  # sampled texts in the report
EXCERPT = 48  # tokens of an attention map
AT_ONCE = 8192  # tokens per evaluation batch


class Scored(NamedTuple):
    """What a model makes of a split."""

    nats: float  # the sum over all counted tokens
    tokens: np.ndarray  # i32 [N], the counted ones in order


def findings(
    run: build.Run,
    state: core.State,
    dataset: Dataset,
    *,
    seed: int,
    samples: int = 16,
    drawn_as: str = "",
    say: Callable[[str], None],
) -> Findings:
    """Likelihoods, samples beside real data, and attention maps of a run on text or music.

    Args:
      run: what is evaluated.
      state: its trained state; averaged parameters are used where there are any.
      dataset: its data, with its tokenizer.
      seed: of the samples.
      samples: how many are drawn.
      drawn_as: how they are drawn, in words.
      say: gets what is being done.
    """
    found = nothing()
    say(f"the {dataset.info.eval_split} split, every token once")
    attempt(found, "nll", lambda: _scores(found, run, state, dataset, seed))
    say(f"{samples} samples")
    attempt(found, "samples", lambda: _samples(found, run, state, dataset, samples, seed, drawn_as))
    if "attention" in run.algorithm.heads:
        add = lambda: found.figures.append(_attention(run, state, dataset, seed))
        attempt(found, "attention (figure)", add)
    return found


def _scores(
    found: Findings, run: build.Run, state: core.State, dataset: Dataset, seed: int
) -> None:
    """What is measured of held-out data."""
    scored = score(run, state, dataset.eval)
    _likelihoods(found, dataset, scored)
    if is_music(dataset):
        chorales.add_nll(found, dataset, scored.nats / len(scored.tokens))
        if "logits" in run.algorithm.heads:
            logits = drawing.head_of(run.algorithm, "logits", seed)
            pairs = ((b, logits(state, b)["logits"]) for b in batches(run, dataset.eval))
            attempt(found, "accuracy", lambda: chorales.add_accuracies(found, pairs))


def _samples(
    found: Findings,
    run: build.Run,
    state: core.State,
    dataset: Dataset,
    num: int,
    seed: int,
    drawn_as: str,
) -> None:
    """What is measured of samples, beside held-out data."""
    drawn = draw(run, state, dataset.tokenizer, num, seed)
    if is_music(dataset):
        chorales.add_samples(found, dataset, drawn, drawn_as)
    else:
        _texts(found, dataset, drawn, _counted(run, dataset.eval), drawn_as)


def is_music(dataset: Dataset) -> bool:
    """Whether tokens are notes of four voices."""
    return dataset.tokenizer.name == "music"


def batches(run: build.Run, split: Split) -> Iterator[dict[str, np.ndarray]]:
    """The whole split in order; `mask` f32 [B, T] is 0 also in rows that only fill a batch up."""
    rows = max(1, AT_ONCE // run.example.batch["tokens"].shape[1])
    gather = feed.gather_of(split)
    for item, weight in feed.evaluation_items(split, min(rows, split.length)):
        batch = run.normalise(None, gather(split.arrays, item))
        batch = {name: np.asarray(value) for name, value in batch.items()}
        mask = batch.get("mask", np.ones_like(batch["tokens"][:, 1:], np.float32))
        yield batch | {"mask": mask * weight[:, None]}


def score(run: build.Run, state: core.State, split: Split) -> Scored:
    """The split's likelihood: what training evaluates, summed over tokens."""

    @jax.jit
    def total(state, batch):
        values = run.algorithm.eval(core.averaged(state), batch, core.stream(0, core.EVAL))
        return (values["nll"] * batch["mask"].sum(axis=-1)).sum()

    nats = sum(float(total(state, batch)) for batch in batches(run, split))
    return Scored(nats, _counted(run, split))


def _counted(run: build.Run, split: Split) -> np.ndarray:
    """The counted tokens of a split in order, i32 [N]."""
    found = [batch["tokens"][:, 1:][batch["mask"] > 0] for batch in batches(run, split)]
    return np.concatenate(found)


def draw(
    run: build.Run, state: core.State, tokenizer: Any, num: int, seed: int
) -> list[np.ndarray]:
    """Ids of unprompted samples of `TOKENS` new tokens, with the run's own sampling options."""
    options = drawing.check_options(run.algorithm, run.config["sampling"])
    if "max_tokens" in drawing.options_of(run.algorithm):
        options["max_tokens"] = TOKENS
    cond = drawing.unprompted(run.algorithm, run.info, tokenizer, num)
    drawn = drawing.draw(run.algorithm, state, seed, num, cond, options)
    return [row[1:n] for row, n in zip(drawn["tokens"], drawn["length"], strict=True)]


def _likelihoods(found: Findings, dataset: Dataset, scored: Scored) -> None:
    """nll and perplexity per token; of text, bits per character and byte."""
    count, split = len(scored.tokens), dataset.info.eval_split
    whole = f"the whole {split} split of {dataset.info.name}, {count:,} tokens, each predicted once"
    nll = scored.nats / count
    add = lambda name, value, words, unit: measured(
        found, name, lambda: Metric(value(), count, words, {}, "lower", unit)
    )
    add("nll", lambda: nll, whole, "nats/token")
    add("perplexity", lambda: metrics.perplexity(nll), f"exp(nll); {whole}", "")
    if is_music(dataset) or dataset.tokenizer.name == "ids":
        return
    text = dataset.tokenizer.decode(scored.tokens)
    byte = dataset.tokenizer.name == "byte"
    counts = {"char": len(text), "byte": count if byte else len(text.encode())}
    for unit, number in counts.items():
        words = f"nats / ln 2 over the {number:,} {unit}s of that text; {whole}"
        per = lambda number=number: metrics.bits_per(scored.nats, number)
        add(f"bits_per_{unit}", per, words, f"bits/{unit}")


def _texts(
    found: Findings,
    dataset: Dataset,
    drawn: list[np.ndarray],
    held_out: np.ndarray,
    drawn_as: str = "",
) -> None:
    """How varied samples are and what they copy, beside as much held-out text."""
    decode, split = dataset.tokenizer.decode, dataset.info.eval_split
    made = [decode(row) for row in drawn]
    starts = np.linspace(0, max(len(held_out) - TOKENS, 0), len(drawn)).astype(int)
    real = [decode(held_out[start : start + TOKENS]) for start in starts]
    size, floor_name = f"{len(made)} samples of {len(drawn[0])} tokens{drawn_as}", f"real {split}"
    for n in (1, 2, 3):

        def distinct(n=n) -> Metric:
            count = lambda texts: metrics.distinct_n([text.split() for text in texts], n)
            words, value = f"different {n}-grams of words over all of them; {size}", count(made)
            below = floors_of(found, f"distinct_{n}", {floor_name: lambda: count(real)})
            return Metric(value, len(made), words, below, floor_name)

        measured(found, f"distinct_{n}", distinct)
    shown = "\n\n".join(f"--- {i} ---\n{text}" for i, text in enumerate(made[:SHOWN]))
    caption = f"{SHOWN} of {size}, from the start token, unprompted."
    found.figures.append(Figure("texts", "Samples", caption, text=shown))
    held = [held_out[start : start + TOKENS] for start in starts]
    measured(found, "longest_copy", lambda: _copied(found, dataset, drawn, held, size))


def _copied(
    found: Findings,
    dataset: Dataset,
    drawn: list[np.ndarray],
    held: list[np.ndarray],
    size: str,
) -> Metric:
    """The longest copy of the training text, in characters or, of tokens without text, in tokens.

    Raises:
      ValueError: the training tokens are not at hand.
    """
    arrays, split, decode = dataset.train.arrays or {}, dataset.info.eval_split, _decode_of(dataset)
    if "tokens" not in arrays:
        raise ValueError("needs the training tokens in memory, as an array named tokens")
    corpus = decode(np.ravel(arrays["tokens"]))
    length, copied = metrics.longest_copy([decode(row) for row in drawn], corpus)
    named = f"real {split}"
    longest = lambda: float(metrics.longest_copy([decode(row) for row in held], corpus)[0])
    below = floors_of(found, "longest_copy", {named: longest})
    if dataset.tokenizer.name == "ids":
        unit, copied = "tokens", dataset.tokenizer.decode([ord(token) for token in copied])
    else:
        unit = "characters"
    caption = f"The {length} {unit} in a row of {size} that stand in the training text."
    found.figures.append(Figure("longest_copy", "Longest copy", caption, text=copied))
    words = f"the longest part of a sample that stands in the training text; {size}"
    return Metric(float(length), len(drawn), words, below, named, unit)


def _decode_of(dataset: Dataset) -> Callable[[np.ndarray], str]:
    """ids -> text; of ids without text a string with a character for each, to search in."""
    if dataset.tokenizer.name == "ids":
        return lambda row: "".join(map(chr, np.asarray(row).tolist()))
    return dataset.tokenizer.decode


def _attention(run: build.Run, state: core.State, dataset: Dataset, seed: int) -> Figure:
    """The maps of the beginning of the evaluation split."""
    batch = next(batches(run, dataset.eval))
    tokens = batch["tokens"][:1, : EXCERPT + 1]
    maps = drawing.head_of(run.algorithm, "attention", seed)(state, {"tokens": tokens})["attention"]
    excerpt = " ".join(dataset.tokenizer.decode(tokens[0, :-1]).split())
    caption = (
        f"Softmax weights of every layer and head over the first {maps.shape[-1]} tokens of the "
        f"{dataset.info.eval_split} split. A row is the token that looks, a column the one looked "
        f"at; white is 0, dark is 1, on a square-root scale. The excerpt: {excerpt}"
    )
    return Figure("attention", "Attention maps", caption, heatmaps.attention(maps[0]))
