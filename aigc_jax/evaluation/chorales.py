"""Generated four-voice music beside real one: accuracy, part-writing, copies, pictures, sound."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from aigc_jax.data import music as notation
from aigc_jax.data.dataset import Dataset, Info
from aigc_jax.evaluation.results import Figure, Findings, Metric, attempt, floors_of, measured
from aigc_jax.media import music as pictures
from aigc_jax.metrics import music as rules

SHOWN, HEARD = 3, 2  # pieces in the report
RULES = {
    "voice_crossing": (rules.voice_crossing, "share of frames with a voice below the next lower"),
    "parallel_fifths": (lambda pieces: rules.parallels(pieces, 7), "per 100 chord changes"),
    "parallel_octaves": (lambda pieces: rules.parallels(pieces, 0), "per 100 chord changes"),
    "leaps": (rules.leaps, f"share of melodic moves over {rules.LEAP} semitones"),
    "in_range": (rules.in_range, "share of pitches in the range of their voice"),
}


def add_nll(found: Findings, dataset: Dataset, nll: float) -> None:
    """Adds the loss of a frame of the held-out split, from the nats per token."""
    frames = sum(map(len, notation.pieces_of(dataset.eval.arrays["tokens"])))
    whole = f"the whole {dataset.info.eval_split} split"
    words = f"nll of a frame's four notes; {whole}, each note predicted once"
    metric = Metric(4 * nll, frames, words, {}, "lower", "nats/frame")
    measured(found, "nll_per_frame", lambda: metric)


def add_accuracies(
    found: Findings, scored: Iterable[tuple[Mapping[str, np.ndarray], np.ndarray]]
) -> None:
    """Adds how often the likeliest note is right; arguments as in `accuracies`."""
    for name, (share, count) in accuracies(scored).items():
        which = "notes that differ from the frame before" if "changes" in name else "notes"
        words = f"the likeliest token is right, over {count:,} {which} of the held-out split"
        metric = Metric(share, count, words, {}, "higher")
        measured(found, name, lambda metric=metric: metric)


def add_samples(
    found: Findings, dataset: Dataset, drawn: Sequence[np.ndarray], drawn_as: str = ""
) -> None:
    """Adds what is measured of samples beside the held-out music.

    Args:
      found: gets it.
      dataset: the chorales or other music, prepared.
      drawn: ids of the samples.
      drawn_as: how they are drawn, in words.
    """
    made = [piece for row in drawn for piece in notation.pieces_of(row)[:1]]
    real = notation.pieces_of(dataset.eval.arrays["tokens"])
    size = f"{len(made)} samples of {len(made[0])} frames{drawn_as}"
    beside = f"real {dataset.info.eval_split}"
    for name, (rule, words) in RULES.items():

        def measure(name=name, rule=rule, words=words) -> Metric:
            value = rule(made)
            below = floors_of(found, name, {beside: lambda: rule(real)})
            return Metric(value, len(made), f"{words}; {size}", below, beside)

        measured(found, name, measure)
    copies = lambda: _copies(found, dataset, made, real, size)
    attempt(found, "longest_copied_run", copies)
    attempt(found, "pieces (figures)", lambda: _figures(found, dataset.info, made, real))


def accuracies(
    scored: Iterable[tuple[Mapping[str, np.ndarray], np.ndarray]],
) -> dict[str, tuple[float, int]]:
    """`rules.accuracy` of (batch with tokens and mask, logits) pairs together."""
    parts = [rules.accuracy(logits, batch["tokens"], batch["mask"]) for batch, logits in scored]
    totals = {}
    for name in parts[0]:
        shares, counts = np.array([part[name] for part in parts]).T
        count = counts.sum()
        totals[name] = (float(np.where(counts > 0, shares * counts, 0).sum() / count), int(count))
    return totals


def _copies(
    found: Findings, dataset: Dataset, made: list[np.ndarray], real: list[np.ndarray], size: str
) -> None:
    """The longest copied run of samples, beside that of as many held-out pieces of their length."""
    corpus = notation.pieces_of(dataset.train.arrays["tokens"])
    beside = f"{dataset.info.eval_split} | train"
    alike = [piece[: len(made[0])] for piece in real[: len(made)]]
    run, floor = (rules.longest_copied_run(p, corpus, any_key=True) for p in (made, alike))
    words = f"frames in a row that stand in a training piece, in whatever key; {size}"
    found.metrics["longest_copied_run"] = Metric(
        *(float(run), len(made), words, {beside: float(floor)}, beside, "frames")
    )


def _figures(found: Findings, info: Info, made: list[np.ndarray], real: list[np.ndarray]) -> None:
    first = f"the first piece of the {info.eval_split} split of {info.name}"
    excerpt = [real[0][: len(made[0])]]
    mark = {"generated": True, "software": "aigc_jax"}
    shown = "A frame is a sixteenth note; bars are counted from the first one."
    caption = f"The first {SHOWN}. {shown}"
    found.figures.append(Figure("pianorolls", "Samples", caption, pictures.picture(made[:SHOWN])))
    caption = f"From {first}. {shown}"
    found.figures.append(Figure("pianoroll_real", "Real", caption, pictures.picture(excerpt)))
    for i, piece in enumerate(made[:HEARD]):
        audio, words = pictures.wav(piece, mark), "Synthesised; generated music."
        found.figures.append(Figure(f"audio_{i}", f"Sample {i + 1} to hear", words, audio=audio))
    audio = pictures.wav(excerpt[0], {**mark, "generated": False})
    words = f"Synthesised in the same way from {first}."
    found.figures.append(Figure("audio_real", "The real one to hear", words, audio=audio))
