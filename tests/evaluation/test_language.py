"""An untrained model of text and one of music, evaluated; numbers against their definitions."""

import io
import math
import wave

import jax
import numpy as np
import pytest

from aigc_jax import build, core
from aigc_jax.data import music as notation
from aigc_jax.data import tokenizers
from aigc_jax.data.dataset import Dataset, Info, Split
from aigc_jax.data.windows import eval_windows, piece_windows
from aigc_jax.evaluation import chorales, language, results
from aigc_jax.metrics import music as rules

SMALL = {"layers": 2, "heads": 2, "dim": 16}


def config(network="Transformer", **data):
    arguments = SMALL if network == "Transformer" else {"dim": 16, "layers": 1}
    raw = {
        "batch_size": 4,
        "algorithm": {"name": "attention", "network": network, "network_args": arguments},
        "sampling": {"temperature": 0.9},
        "data": data,
    }
    return build.complete(raw)


def found_of(completed, info, dataset, monkeypatch):
    monkeypatch.setattr(language, "TOKENS", 36)
    run = build.run(completed, info)
    state = run.algorithm.init(jax.random.key(0))
    said = []
    found = language.findings(run, state, dataset, seed=0, samples=4, say=said.append)
    assert said[1:] == ["4 samples"]
    assert not found.refused
    return run, state, found


@pytest.mark.parametrize("network", ["Transformer", "RnnLanguageModel"])
def test_text(network, tmp_path, monkeypatch):
    asked = {"name": "python_text", "context": 24, "limit": 4000, "data_dir": str(tmp_path)}
    completed = config(network, **asked)
    dataset = build.load_data(completed)
    run, state, found = found_of(completed, dataset.info, dataset, monkeypatch)
    values = {name: metric.value for name, metric in found.metrics.items()}

    nats, count = 0.0, 0
    for row in range(dataset.eval.length):  # one window at a time, from the logits
        batch = dataset.eval.gather(dataset.eval.arrays, np.array([row]))
        logits = run.algorithm.heads["logits"](state, batch, jax.random.key(0))["logits"]
        logp = np.asarray(jax.nn.log_softmax(logits))[0, np.arange(24), batch["tokens"][0, 1:]]
        nats -= float((logp * batch["mask"][0]).sum())
        count += int(batch["mask"].sum())
    assert count == len(dataset.eval.arrays["tokens"]) - 24 - 1  # all but the first and the fill
    assert values["nll"] == pytest.approx(nats / count, rel=1e-5)
    assert values["perplexity"] == pytest.approx(math.exp(nats / count), rel=1e-5)
    assert values["bits_per_byte"] == pytest.approx(nats / count / math.log(2), rel=1e-5)
    assert values["bits_per_char"] >= values["bits_per_byte"]
    assert set(values) - {"nll", "perplexity", "bits_per_char", "bits_per_byte"} == {
        *("distinct_1", "distinct_2", "distinct_3", "longest_copy"),
    }
    corpus = dataset.tokenizer.decode(dataset.train.arrays["tokens"])
    figures = {figure.name: figure for figure in found.figures}
    assert figures["longest_copy"].text in corpus
    assert len(figures["longest_copy"].text) == values["longest_copy"]
    assert ("attention" in figures) == (network == "Transformer")
    assert all("real validation" in found.metrics[n].floors for n in ("distinct_2", "longest_copy"))


@pytest.fixture
def chorale_set():
    """Two pieces to train on and two held out, of random chords that are held for a beat."""
    rng = np.random.default_rng(0)
    draw = lambda beats: np.sort(rng.integers(50, 75, (beats, 4)))[:, ::-1].repeat(4, axis=0)
    pieces = [draw(beats) for beats in (9, 7, 8, 6)]
    train, test = ([notation.notes(piece) for piece in half] for half in (pieces[:2], pieces[2:]))
    splits = piece_windows(train, 32, notation.BEAT), eval_windows(test, 32)
    info = Info(
        name="jsb_chorales",
        sizes={"train": splits[0].length, "test": splits[1].length},
        eval_split="test",
        shapes={"tokens": (33,), "mask": (32,)},
        dtypes={"tokens": "int32", "mask": "float32"},
        vocab=48,
    )
    return pieces, Dataset(info, *splits, tokenizers.music())


def test_music(chorale_set, monkeypatch):
    pieces, dataset = chorale_set
    completed = config(name="jsb_chorales", context=32)
    run, _, found = found_of(completed, dataset.info, dataset, monkeypatch)
    assert run.config["sampling"] == {"temperature": 0.9}
    metrics = found.metrics
    assert metrics["nll"].value == pytest.approx(math.log(48), rel=0.1)  # untrained: uniform
    assert metrics["nll_per_frame"].value == pytest.approx(4 * metrics["nll"].value)
    assert metrics["accuracy"].samples == 4 * 14 * 4
    test = pieces[2:]
    assert metrics["leaps"].floors == {"real test": rules.leaps(test)}
    assert metrics["parallel_fifths"].floors == {"real test": rules.parallels(test, 7)}
    assert not {"distinct_1", "bits_per_char"} & set(metrics)
    figures = {figure.name: figure for figure in found.figures}
    assert {"pianorolls", "pianoroll_real", "audio_0", "audio_real", "attention"} <= set(figures)
    with wave.open(io.BytesIO(figures["audio_real"].audio)) as file:
        assert file.getnframes() / file.getframerate() > 9 * 0.1875  # as long as the samples


def test_accuracies_of_batches_are_those_of_all_notes_together():
    rng = np.random.default_rng(0)
    tokens, logits = rng.integers(0, 3, (6, 13)), rng.normal(size=(6, 12, 3))
    mask = (np.arange(12) < np.array([12, 8, 4, 4, 8, 12])[:, None]).astype(np.float32)
    parts = [
        ({"tokens": tokens[rows], "mask": mask[rows]}, logits[rows])
        for rows in (slice(0, 1), slice(1, 4), slice(4, 6))
    ]
    together = rules.accuracy(logits, tokens, mask)
    for name, (share, count) in chorales.accuracies(parts).items():
        assert (share, count) == (pytest.approx(together[name][0]), together[name][1])


def test_averaged_parameters_are_evaluated(chorale_set):
    _, dataset = chorale_set
    completed = config(name="jsb_chorales", context=32) | {"ema_decay": 0.9}
    run = build.run(completed, dataset.info)
    state = run.algorithm.init(jax.random.key(0))
    moved = state.replace(params=jax.tree.map(lambda x: x + 1, state.params))
    raw = core.averaged(state).replace(ema={})
    scores = [language.score(run, s, dataset.eval).nats for s in (state, moved, raw)]
    assert scores[0] == scores[1] == pytest.approx(scores[2], rel=1e-6)


@pytest.mark.parametrize("kind", ["char", "byte", "bpe", "ids"])
def test_texts_of_every_tokenizer_are_reported_in_its_units(kind, monkeypatch):
    monkeypatch.setattr(language, "TOKENS", 30)
    text = "to be or not to be, that is the question.\n" * 40
    made = {
        "char": lambda: tokenizers.char(text),
        "byte": tokenizers.byte,
        "bpe": lambda: tokenizers.bpe(text, 270),
        "ids": lambda: tokenizers.ids(1200),
    }[kind]()
    train = np.arange(1200, dtype=np.int32) if kind == "ids" else made.encode(text)
    info = Info("own", {"train": 9, "test": 9}, "test", {}, {}, vocab=made.vocab)
    dataset = Dataset(info, Split(9, {"tokens": train}), Split(9), made)
    copied = np.concatenate([train[100:117], train[3:4]])  # 17 tokens in a row
    found = results.nothing()
    language._texts(found, dataset, [copied, copied[::-1]], train[:200])
    language._likelihoods(found, dataset, language.Scored(1.0, train[:200]))
    assert not found.refused
    per_unit = {"bits_per_char", "bits_per_byte"}
    assert per_unit & set(found.metrics) == (set() if kind == "ids" else per_unit)
    copy = found.metrics["longest_copy"]
    assert copy.unit == ("tokens" if kind == "ids" else "characters")
    assert copy.floors["real test"] >= (30 if kind == "ids" else len(made.decode(train[:30])))
    shown = {figure.name: figure.text for figure in found.figures}["longest_copy"]
    if kind == "ids":
        assert (copy.value, shown) == (17, " ".join(map(str, range(100, 117))))
    else:
        assert copy.value >= len(made.decode(train[100:117]))
    streamed = dataset._replace(train=Split(9, source=[{}]))
    language._texts(found, streamed, [copied], train[:200])
    assert "in memory" in found.refused["longest_copy"]
