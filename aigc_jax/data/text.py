"""Text as next-token data: tiny_shakespeare, Python's own sources, or the user's file or folder.

A configuration holds `name` (a known set or a path), `data_dir`, `manual_dir`, `context` (T),
`tokenizer` ("auto", "char", "byte" or "bpe"), `vocab_size` (of BPE), `limit` (characters, or
bytes of python_text; None: everything) and `max_rejected` (of a folder's files). `load.options`
completes it.
"""

import difflib
import json
import math
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from aigc_jax.data import corpora, tokenizers
from aigc_jax.data.cache import cached, digest
from aigc_jax.data.corpus import Corpus, as_bytes, as_text
from aigc_jax.data.dataset import Dataset, Info
from aigc_jax.data.dirt import say
from aigc_jax.data.tokenizers import Tokenizer
from aigc_jax.data.windows import compact, eval_count, eval_windows, train_windows

KINDS = ("char", "byte", "bpe")


def describe(config: Mapping[str, Any], tokenizer: Tokenizer | None = None) -> Info:
    """What `load` would say, without preparing anything.

    With BPE the sizes are upper bounds: those of one token per byte.
    """
    kind = kind_of(config, tokenizer)
    whole = corpora.outline(config)
    corpus = _limited(whole, config)
    if tokenizer is not None:
        vocab = tokenizer.vocab
    elif kind == "char":
        vocab = len(_characters(whole))
    else:
        vocab = 256 if kind == "byte" else config["vocab_size"]
    encoding = as_text if kind == "char" else as_bytes
    lengths = [len(encoding(part)) for part in (corpus.train, corpus.evaluation)]
    return _info(config, lengths, vocab, corpus)


def load(config: Mapping[str, Any], tokenizer: Tokenizer | None = None) -> Dataset:
    """Training windows at every offset, and validation windows that predict every token once.

    Args:
      config: see the module.
      tokenizer: of a pretrained run, used as it is; by default one is made of the text.

    Raises:
      ValueError: the text is not UTF-8, too short for a context, outside the tokenizer's
        vocabulary, or the configuration asks for another kind of tokenizer than the one given.
    """
    kind = kind_of(config, tokenizer)
    whole = corpora.read(config)
    if whole.note:
        say(whole.note)
    corpus = _limited(whole, config)
    if kind == "bpe":
        tokenizer, train, validation = _bpe_tokens(config, corpus, tokenizer)
    else:
        if tokenizer is None:
            tokenizer = tokenizers.byte() if kind == "byte" else tokenizers.char(_characters(whole))
        accepted = as_bytes if kind == "byte" else as_text
        train = tokenizer.encode(accepted(corpus.train))
        validation = tokenizer.encode(accepted(corpus.evaluation))
    info = _info(config, [len(train), len(validation)], tokenizer.vocab, corpus)
    context = info.shapes["tokens"][0] - 1
    return Dataset(
        info,
        train_windows(compact(train), context),
        eval_windows([validation], context),
        tokenizer,
    )


def kind_of(config: Mapping[str, Any], tokenizer: Tokenizer | None) -> str:
    """The kind of tokenizer that a configuration means.

    "auto" is the kind of `tokenizer` if there is one, else bytes for python_text, else characters.

    Raises:
      ValueError: there is no such kind, or `tokenizer` is of another one.
    """
    asked = config["tokenizer"]
    if asked not in ("auto", *KINDS):
        near = difflib.get_close_matches(str(asked), KINDS, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"data.tokenizer = {asked!r}: accepted are auto, {', '.join(KINDS)}{hint}")
    if tokenizer is None:
        if asked == "bpe" and config["vocab_size"] <= 256:
            raise ValueError(
                f"data.vocab_size = {config['vocab_size']}: BPE accepts more than the 256 bytes"
            )
        automatic = "byte" if config["name"] == "python_text" else "char"
        return automatic if asked == "auto" else asked
    given = f"{tokenizer.name} with a vocabulary of {tokenizer.vocab}"
    if tokenizer.name not in KINDS or asked not in ("auto", tokenizer.name):
        raise ValueError(
            f"data.tokenizer = {asked!r}: the pretrained run's tokenizer is {given}; accepted for "
            f"text are {', '.join(KINDS)}, and 'auto' takes the pretrained run's"
        )
    if asked == "bpe" and config["vocab_size"] != tokenizer.vocab:
        raise ValueError(
            f"data.vocab_size = {config['vocab_size']}: the pretrained run's tokenizer is {given}; "
            "data.tokenizer = 'auto' takes it"
        )
    return tokenizer.name


def _characters(corpus: Corpus) -> str:
    """Those of validation belong to the vocabulary too, or it could not be encoded."""
    return "".join(set(as_text(corpus.train)) | set(as_text(corpus.evaluation)))


def _info(config: Mapping[str, Any], lengths: list[int], vocab: int, corpus: Corpus) -> Info:
    """Checks that both parts have a window, and counts the windows."""
    context = config["context"]
    for part, length in zip(("training", corpus.eval_split), lengths, strict=True):
        if length < context + 1:
            longest, limit = min(lengths) - 1, config["limit"]
            raise ValueError(
                f"data.name = {config['name']!r}: the {part} part has {length} tokens, and a "
                f"data.context of {context} needs {context + 1}; accepted are a longer text"
                + (f", a higher data.limit than {limit}" if limit else "")
                + (f" or a context of at most {longest}" if longest > 0 else "")
            )
    return Info(
        name=config["name"],
        sizes={"train": lengths[0] - context, corpus.eval_split: eval_count(lengths[1], context)},
        eval_split=corpus.eval_split,
        shapes={"tokens": (context + 1,)},
        dtypes={"tokens": "int32"},
        vocab=vocab,
        fingerprint=corpus.fingerprint,
        rejected=corpus.rejected,
    )


def _limited(corpus: Corpus, config: Mapping[str, Any]) -> Corpus:
    """The first `limit` characters (or bytes) of train, and the same share of evaluation."""
    limit = config["limit"]
    context = config["context"]
    if not limit or limit >= len(corpus.train):
        return corpus
    if limit < context + 1:
        raise ValueError(
            f"data.limit = {limit}: a data.context of {context} needs {context + 1}; accepted are "
            "None (everything) or more than the context"
        )
    share = math.ceil(len(corpus.evaluation) * limit / len(corpus.train))
    evaluation = corpus.evaluation[: max(share, context + 1)]
    return corpus._replace(train=corpus.train[:limit], evaluation=evaluation)


def _bpe_tokens(
    config: Mapping[str, Any], corpus: Corpus, tokenizer: Tokenizer | None
) -> tuple[Tokenizer, np.ndarray, np.ndarray]:
    """BPE takes seconds on a large text, so that the ids and the merges are kept as a file."""
    made_of = dict(tokenizer.content) if tokenizer else {"vocab_size": config["vocab_size"]}
    parts = [as_text(part) for part in (corpus.train, corpus.evaluation)]

    def encoded():
        model = tokenizer or tokenizers.bpe(parts[0], made_of["vocab_size"])
        train, validation = map(model.encode, parts)
        content = np.frombuffer(json.dumps(tokenizers.to_json(model)).encode(), np.uint8)
        return {"train": compact(train), "validation": compact(validation), "tokenizer": content}

    folder = pathlib.Path(config["data_dir"]) / "arrays" / f"bpe-{digest([made_of, *parts])}"
    arrays = cached(folder, encoded)
    made = tokenizers.from_json(json.loads(arrays["tokenizer"].tobytes()))
    return made, arrays["train"], arrays["validation"]
