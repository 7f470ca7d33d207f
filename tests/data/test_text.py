"""Corpora, their splits and what is refused about them."""

import hashlib
import platform
import sys
import time

import numpy as np
import pytest

from aigc_jax.data import corpora, text, text_builders, tokenizers

OWN = "".join(f"{i} – the quick brown fox\n" for i in range(88)) + "zigzag " * 34


@pytest.fixture
def config(tmp_path):
    """A complete configuration of a text file of one's own."""
    (tmp_path / "own.txt").write_text(OWN, encoding="utf-8")
    return {
        "name": str(tmp_path / "own.txt"),
        "manual_dir": None,
        "data_dir": str(tmp_path / "data"),
        "context": 16,
        "tokenizer": "auto",
        "vocab_size": 300,
        "limit": None,
    }


def targets(split, tokenizer):
    """What the evaluation windows predict, as text."""
    batch = split.gather(split.arrays, np.arange(split.length))
    return tokenizer.decode(batch["tokens"][:, 1:][batch["mask"] == 1])


@pytest.fixture
def shakespeare(config, manual_dir):
    return {**config, "name": "tiny_shakespeare", "manual_dir": str(manual_dir), "context": 64}


def test_shakespeare_is_split_as_in_nanogpt(shakespeare, manual_dir):
    dataset = text.load(shakespeare)
    whole = next(manual_dir.rglob("input.txt")).read_text()
    assert (len(whole), len(whole[1003854:])) == (1115394, 111540)
    assert dataset.tokenizer.vocab == 65
    assert dataset.tokenizer.decode(dataset.train.arrays["tokens"]) == whole[:1003854]
    assert targets(dataset.eval, dataset.tokenizer) == whole[1003855:]
    assert dataset.train.length == 1003854 - 64


def test_shakespeare_is_known_before_it_is_there(shakespeare, config):
    nowhere = {**shakespeare, "manual_dir": None}
    started = time.perf_counter()
    described = text.describe(nowhere)
    assert time.perf_counter() - started < 3
    dataset = text.load(shakespeare)
    assert described == dataset.info
    assert text.describe({**nowhere, "limit": 5000}) == text.load({**shakespeare, "limit": 5000})[0]


def test_shakespeare_loads_again_without_files_or_tfds(shakespeare, monkeypatch):
    first = text.load(shakespeare)
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    again = text.load({**shakespeare, "manual_dir": None})
    np.testing.assert_array_equal(first.train.arrays["tokens"], again.train.arrays["tokens"])


def test_shakespeare_builder_is_a_tfds_data_source(manual_dir, tmp_path):
    builder = text_builders.tiny_shakespeare(manual_dir, tmp_path)
    builder.download_and_prepare()
    source = builder.as_data_source()
    whole = source["train"][0]["text"] + source["validation"][0]["text"]
    expected = text_builders.SHAKESPEARE["input.txt"].sha256
    assert hashlib.sha256(whole).hexdigest() == expected


def test_a_changed_original_is_refused(shakespeare, tmp_path):
    forged = tmp_path / "forged"
    forged.mkdir()
    (forged / "input.txt").write_bytes(b"x" * text_builders.SHAKESPEARE["input.txt"].size)
    with pytest.raises(ValueError, match="input.txt"):
        text.load({**shakespeare, "manual_dir": str(forged)})


@pytest.fixture
def library(tmp_path):
    """A folder that looks like Python's standard library."""
    files = {f"package/module_{i}.py": f"# module {i}\n".encode() for i in range(60)}
    files["latin.py"] = "# café\n".encode("latin-1")
    for name in ("site-packages/x.py", "test/x.py", "package/tests/x.py", "idlelib/x.py"):
        files[name] = b"excluded"
    files["package/notes.txt"] = b"excluded"
    for name, content in files.items():
        path = tmp_path / "lib" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "lib", {k: v for k, v in files.items() if v != b"excluded"}


def test_python_files_are_sorted_and_tests_are_left_out(library):
    root, files = library
    corpus = corpora.python_text(root)
    held_out = {
        name for name in files if int(hashlib.sha256(name.encode()).hexdigest(), 16) % 20 == 0
    }
    assert held_out
    assert corpus.train == b"".join(files[name] for name in sorted(set(files) - held_out))
    assert corpus.evaluation == b"".join(files[name] for name in sorted(held_out))
    assert corpus.fingerprint == {
        "sha256": hashlib.sha256(corpus.train + corpus.evaluation).hexdigest(),
        "bytes": sum(map(len, files.values())),
        "python": platform.python_version(),
    }


def test_a_new_python_file_does_not_move_the_others(library):
    root, _ = library
    before = corpora.python_text(root)
    (root / "zzz.py").write_bytes(b"# zzz\n")
    after = corpora.python_text(root)
    assert before.fingerprint["sha256"] != after.fingerprint["sha256"]
    assert (after.train + after.evaluation).replace(b"# zzz\n", b"") == (
        before.train + before.evaluation
    )


def test_python_text_is_bytes_and_described_as_loaded(config):
    config = {**config, "name": "python_text", "limit": 5000}
    dataset = text.load(config)
    assert dataset.info == text.describe(config)
    assert dataset.tokenizer.name == "byte"
    assert dataset.train.length == 5000 - 16
    assert dataset.info.fingerprint["bytes"] > 10**6  # of the whole corpus
    assert 0.03 < dataset.eval.length * 16 / 5000 < 0.09  # evaluation shrinks in proportion


def test_the_last_tenth_of_an_own_file_is_for_validation(config):
    dataset = text.load(config)
    cut = len(OWN) * 9 // 10
    assert dataset.tokenizer.decode(dataset.train.arrays["tokens"]) == OWN[:cut]
    assert targets(dataset.eval, dataset.tokenizer) == OWN[cut + 1 :]
    assert dataset.info.vocab == len(set(OWN))
    assert dataset.info.fingerprint["sha256"] == hashlib.sha256(OWN.encode()).hexdigest()


@pytest.mark.parametrize("kind", ["char", "byte", "bpe"])
def test_an_own_file_is_described_as_loaded(config, kind):
    config = {**config, "tokenizer": kind}
    described, loaded = text.describe(config), text.load(config).info
    assert described.vocab == loaded.vocab
    if kind == "bpe":  # an upper bound until the merges are trained
        assert all(described.sizes[s] >= loaded.sizes[s] > 0 for s in loaded.sizes)
    else:
        assert described == loaded


def test_bpe_is_trained_on_the_training_part_only_and_kept(config, monkeypatch):
    config = {**config, "tokenizer": "bpe"}
    first = text.load(config)
    expected = tokenizers.bpe(OWN[: len(OWN) * 9 // 10], 300)
    assert first.tokenizer.content == expected.content
    monkeypatch.setattr(tokenizers, "bpe", None)  # the second time nothing is trained
    again = text.load(config)
    np.testing.assert_array_equal(first.train.arrays["tokens"], again.train.arrays["tokens"])
    assert again.tokenizer.content == expected.content


@pytest.mark.parametrize("kind", ["char", "byte", "bpe"])
def test_a_pretrained_tokenizer_is_used_as_it_is(config, kind):
    other = OWN + "Words that only the other corpus has: ÄÖÜ"
    given = {
        "char": lambda: tokenizers.char(other),
        "byte": tokenizers.byte,
        "bpe": lambda: tokenizers.bpe(other, 280),
    }[kind]()
    dataset = text.load(config, given)
    assert dataset.info.vocab == given.vocab == text.describe(config, given).vocab
    assert dataset.tokenizer.content == given.content
    assert given.decode(dataset.train.arrays["tokens"]) == OWN[: len(OWN) * 9 // 10]


@pytest.mark.parametrize("call", [text.describe, text.load])
def test_a_conflicting_tokenizer_is_refused(config, call):
    with pytest.raises(ValueError, match="tokenizer = 'byte'.*char with a vocabulary of 3"):
        call({**config, "tokenizer": "byte"}, tokenizers.char("abc"))
    with pytest.raises(ValueError, match="music"):
        call(config, tokenizers.music())
    small = tokenizers.bpe(OWN, 260)
    with pytest.raises(ValueError, match="vocab_size = 300.*260"):
        call({**config, "tokenizer": "bpe"}, small)


def test_a_character_that_the_pretrained_vocabulary_lacks_is_named(config):
    with pytest.raises(ValueError, match="'–' at position 2"):
        text.load(config, tokenizers.char(OWN.replace("–", "-")))


@pytest.mark.parametrize("call", [text.describe, text.load])
def test_unusable_text_is_refused_by_name(config, tmp_path, call):
    (tmp_path / "latin.txt").write_bytes(b"good text, then " + "é".encode("latin-1") + b" more")
    with pytest.raises(ValueError, match="latin.txt.*0xe9 at offset 16"):
        call({**config, "name": str(tmp_path / "latin.txt")})
    with pytest.raises(ValueError, match="absent.txt.*cannot be read"):
        call({**config, "name": str(tmp_path / "absent.txt")})
    for length, part in ((5, "training"), (100, "validation")):
        (tmp_path / "short.txt").write_text("x" * length)
        with pytest.raises(ValueError, match=f"short.txt.*{part} part has .*context of 16"):
            call({**config, "name": str(tmp_path / "short.txt")})
    with pytest.raises(ValueError, match="limit = 16.*17"):
        call({**config, "limit": 16})
    with pytest.raises(ValueError, match="'bite'.*auto, char, byte, bpe.*mean 'byte'"):
        call({**config, "tokenizer": "bite"})
    with pytest.raises(ValueError, match="vocab_size = 256"):
        call({**config, "tokenizer": "bpe", "vocab_size": 256})


def test_a_text_of_exactly_a_context_is_accepted(config, tmp_path):
    (tmp_path / "short.txt").write_text("ab" * 85)  # 153 and 17 characters
    dataset = text.load({**config, "name": str(tmp_path / "short.txt")})
    assert (dataset.train.length, dataset.eval.length) == (153 - 16, 1)


@pytest.mark.parametrize("call", [text.describe, text.load])
@pytest.mark.parametrize("kind", ["char", "byte", "bpe"])
def test_texts_without_a_window_are_refused_by_what_would_be_accepted(config, tmp_path, call, kind):
    def told(content, **options):
        (tmp_path / "tiny.txt").write_text(content)
        chosen = {**config, "name": str(tmp_path / "tiny.txt"), "tokenizer": kind, **options}
        with pytest.raises(ValueError, match=r"data\.(name|vocab_size) = .*accepted") as caught:
            call(chosen)
        assert "at most -1" not in str(caught.value)
        assert "at most 0" not in str(caught.value)
        return str(caught.value)

    assert "is empty" in told("")
    for context in (1, 2):
        told("a", context=context)  # no character is left to train on
        told("ab", context=context)
    assert kind == "bpe" or "context of at most 1" in told("hello to you", context=8)


@pytest.mark.parametrize("context", [1, 3])
def test_a_text_of_one_character_has_a_vocabulary_of_one(config, tmp_path, context):
    (tmp_path / "own.txt").write_text("a" * 100)
    config = {**config, "tokenizer": "char", "context": context}
    dataset = text.load(config)
    assert (dataset.info, dataset.info.vocab) == (text.describe(config), 1)
    assert targets(dataset.eval, dataset.tokenizer) == "a" * 9
    assert dataset.tokenizer.start == 0


def test_a_text_with_nothing_to_merge_is_said_to_be_of_bytes(config, tmp_path):
    (tmp_path / "own.txt").write_text("\n" * 300)
    with pytest.raises(ValueError, match=r"data.vocab_size = 300: .* 256 tokens only; .*'byte'"):
        text.load({**config, "tokenizer": "bpe"})


def test_a_limit_that_leaves_too_few_tokens_is_named(config):
    with pytest.raises(ValueError, match="a higher data.limit than 20"):
        text.load({**config, "tokenizer": "bpe", "vocab_size": 265, "limit": 20})
