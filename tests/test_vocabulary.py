"""Tokens of one's own: with a tokenizer that a checkpoint can name, or as ids."""

import json
import pathlib
import sys

import numpy as np
import pytest

from aigc_jax import build, core, finetune, names, refusals, samples, vocabulary, workdir
from aigc_jax.data import tokenizers
from aigc_jax.data.dataset import Dataset, Info, Split, rows

OWN = """
import numpy as np
from aigc_jax.data.tokenizers import Tokenizer

def words(*, known, shift=0):
    id_of = {word: (i + shift) % len(known) for i, word in enumerate(known)}
    encode = lambda text: np.array([id_of[word] for word in text.split()], np.int32)
    decode = lambda ids: " ".join(known[(i - shift) % len(known)] for i in ids)
    return Tokenizer("own_words:words", len(known), encode, decode, 0, {"known": known})

def make(*, with_tokenizer: bool = True):
    from test_vocabulary import tokens_of
    return tokens_of(words(known=("to", "be", "or", "not")) if with_tokenizer else None, 4)
"""


def tokens_of(tokenizer, vocab):
    """A data set of 8 rows of 5 ids."""
    ids = np.arange(40, dtype=np.int32).reshape(8, 5) % max(vocab, 1)
    info = Info("own", {"train": 6, "test": 2}, "test", {"tokens": (5,)}, {"tokens": "int32"})
    splits = (Split(len(part), {"tokens": part}, rows) for part in (ids[:6], ids[6:]))
    return Dataset(info._replace(vocab=vocab), *splits, tokenizer)


@pytest.fixture
def own_words(tmp_path, monkeypatch):
    """The user's module, importable and not imported yet."""
    (tmp_path / "own_words.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.syspath_prepend(str(pathlib.Path(__file__).parent))
    yield
    sys.modules.pop("own_words", None)


def record_of(dataset):
    return json.loads(json.dumps(workdir.about({}, dataset)))


def config(function="own_words:make", **options):
    return {"data": {"name": function, **options}, "init_params": ()}


def test_tokens_without_a_tokenizer_are_texts_of_ids(own_words):
    dataset = build.load_data(config(with_tokenizer=False))
    drawn = {"tokens": np.array([[0, 3, 1], [2, 2, 0]]), "length": np.array([3, 2])}
    again = vocabulary.stored(record_of(dataset))
    for tokenizer in (dataset.tokenizer, again):
        assert samples.texts_of(drawn, tokenizer) == ["0 3 1", "2 2"]
        assert tokenizer.encode(" 3  0\n1 ").tolist() == [3, 0, 1]
        for word in ("4", "-1", "x", "1.0", "²"):
            with pytest.raises(ValueError, match=f"token '{word}' at position 1: .* 0 to 3"):
                tokenizer.encode(f"0 {word}")
    unprompted = samples.unprompted(
        core.Algorithm(*[None] * 4, conditions=("prompt",)), dataset.info, dataset.tokenizer, 2
    )
    assert unprompted["prompt"].tolist() == [[0], [0]]


def test_a_run_that_was_stored_without_a_tokenizer_gets_ids():
    record = {"tokenizer": None, "data": {"shapes": {"tokens": [5]}, "vocab": 7}}
    assert vocabulary.stored(record).decode([6, 0]) == "6 0"
    assert vocabulary.stored({"tokenizer": None, "data": {"shapes": {"image": []}}}) is None


def test_an_own_tokenizer_is_made_again_from_a_checkpoint_by_its_name(own_words):
    record = record_of(build.load_data(config()))
    assert record["tokenizer"] == {"name": "own_words:words", "known": ["to", "be", "or", "not"]}
    again = vocabulary.stored(record, ["own_words"])
    assert again.decode(again.encode("not to be")) == "not to be"


def test_the_code_of_a_stored_tokenizer_is_imported_only_with_trust(own_words):
    record = record_of(build.load_data(config()))
    del sys.modules["own_words"]
    for trust in ([], ["own"], ["own_words.other"]):
        with pytest.raises(ValueError, match="repeat the command with --trust=own_words"):
            vocabulary.stored(record, trust)
        assert "own_words" not in sys.modules
    assert vocabulary.stored(record, ["own_words"]).vocab == 4


def test_a_pretrained_run_lends_its_code_only_to_data_of_the_same_module(own_words, monkeypatch):
    record = record_of(build.load_data(config()))
    monkeypatch.setattr(finetune.checkpoint, "steps", lambda path: [1])
    monkeypatch.setattr(finetune.checkpoint, "read_run", lambda path: record)
    del sys.modules["own_words"]
    for data in ("tiny_shakespeare", "other:make", ""):
        with pytest.raises(ValueError, match=r"config.init_from = 'run': .*'own_words:words'"):
            finetune.tokenizer_of("run", data)
        assert "own_words" not in sys.modules
    assert finetune.tokenizer_of("run", "own_words:make").name == "own_words:words"


BROKEN = {
    "vocab": (lambda t: t._replace(vocab=5), r"vocabulary of 5; accepted is Info.vocab = 4"),
    "start": (lambda t: t._replace(start=4), r"start = 4; accepted is an id, 0 to 3"),
    "named": (lambda t: t._replace(name="words"), r"named 'words'; accepted is 'module:function'"),
    "absent": (lambda t: t._replace(name="own_words:none"), "can't be made again"),
    "arrays": (lambda t: t._replace(content={"known": np.zeros(3)}), "can't be made again"),
    "keys": (lambda t: t._replace(content={"all": ["a"]}), r"words\(all\): TypeError"),
    "other": (lambda t: t._replace(content={**t.content, "shift": 1}), "is another than what"),
    "class": (lambda t: object(), "is a object; accepted is a data.tokenizers.Tokenizer"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_tokenizer_that_samples_could_not_use_is_refused_before_training(name, own_words):
    change, told = BROKEN[name]
    words = names.find("own_words:words", (), "test")
    broken = tokens_of(change(words(known=["to", "be", "or", "not"])), 4)
    with pytest.raises(ValueError, match=f"data.name = 'own': its tokenizer .*{told}"):
        vocabulary.completed(broken)
    with refusals.only_said() as said:
        assert vocabulary.completed(broken) is broken
    assert len(said) == 1


@pytest.mark.parametrize("ids", [[4], [-1], [0.5], [[1, 2]]])
def test_prompts_outside_of_the_vocabulary_are_refused(ids):
    def encode(text):
        return np.array(ids)

    with pytest.raises(ValueError, match="accepted is a row of ids, 0 to 3"):
        tokenizers.prompted(tokenizers.ids(4)._replace(encode=encode), "any")
    given = tokenizers.prompted(tokenizers.ids(4), "3 0")
    assert (given.tolist(), given.dtype) == ([3, 0], np.int32)
    assert tokenizers.prompted(tokenizers.ids(4), " ").shape == (0,)


@pytest.mark.parametrize("tokenizer", [tokenizers.char("abc"), tokenizers.byte()])
def test_a_stored_tokenizer_has_the_vocabulary_of_the_model(tokenizer):
    record = record_of(tokens_of(tokenizer, tokenizer.vocab))
    assert vocabulary.stored(record).vocab == tokenizer.vocab
    record["data"]["vocab"] += 1
    with pytest.raises(ValueError, match=f"vocabulary of {tokenizer.vocab} now"):
        vocabulary.stored(record)


def test_what_an_own_tokenizer_raises_at_a_prompt_is_bad_input(own_words):
    own = build.load_data(config()).tokenizer
    assert tokenizers.prompted(own, "not to").tolist() == [3, 0]
    with pytest.raises(ValueError, match="tokenizer 'own_words:words' refuses it: KeyError"):
        tokenizers.prompted(own, "not two")


def test_known_tokenizers_of_own_data_are_taken_as_they_are():
    for tokenizer in (tokenizers.char("to be"), tokenizers.byte(), tokenizers.music()):
        dataset = tokens_of(tokenizer, tokenizer.vocab)
        assert vocabulary.completed(dataset) is dataset


def test_tokens_need_the_number_of_ids():
    with pytest.raises(ValueError, match="Info.vocab = 0; accepted is the number of ids"):
        vocabulary.completed(tokens_of(None, 0))


def test_own_data_goes_with_the_tokenizer_of_the_parameters():
    given = tokenizers.char("abcd")
    assert vocabulary.completed(tokens_of(None, 4), given).tokenizer is given
    assert vocabulary.completed(tokens_of(None, 5), given).tokenizer.name == "ids"
    same = tokens_of(tokenizers.char("abcd"), 4)
    assert vocabulary.completed(same, given) is same
    with pytest.raises(ValueError, match="for other texts; accepted is the same one"):
        vocabulary.completed(tokens_of(tokenizers.char("abce"), 4), given)
