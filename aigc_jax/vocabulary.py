"""How a run's tokens become text and back: a known tokenizer, one of the user's own, or ids.

A tokenizer of one's own is a `data.tokenizers.Tokenizer` that a data function returns in its
`Dataset`. Its `name` is "module:function", like that of any other code of the user's, and its
`content` JSON: `function(**content)` makes an equal one. A checkpoint holds both, so that samples
need no data; what a stored run names is imported only from modules that are trusted.
"""

import json
from collections.abc import Collection, Mapping
from typing import Any

from aigc_jax import refusals
from aigc_jax.data import tokenizers
from aigc_jax.data.dataset import Dataset
from aigc_jax.data.tokenizers import Tokenizer
from aigc_jax.names import find

PROBED = 256  # ids that two tokenizers are compared by


def stored(record: Mapping[str, Any], trust: Collection[str] | None = None) -> Tokenizer | None:
    """The tokenizer of a stored run; ids for tokens without one, None for data without tokens.

    Raises:
      ValueError: it is of a module that is not in `trust`, can't be made, or has not the model's
        vocabulary.
    """
    content, data = record["tokenizer"], record["data"]
    if content is None:
        return tokenizers.ids(data["vocab"]) if "tokens" in data["shapes"] else None
    made = _made(content, trust)
    if "tokens" in data["shapes"] and made.vocab != data["vocab"]:
        raise ValueError(
            f"tokenizer {content['name']!r}: has a vocabulary of {made.vocab} now, and the run's "
            f"model one of {data['vocab']}"
        )
    return made


def own(content: Mapping[str, Any] | None) -> str:
    """The user's module that a stored tokenizer needs, "" for none."""
    module, colon, _ = str((content or {}).get("name", "")).partition(":")
    return module if colon else ""


def _made(content: Mapping[str, Any], trust: Collection[str] | None) -> Tokenizer:
    if not own(content):
        return tokenizers.from_json(content)
    name = content["name"]
    make = find(name, (), "the tokenizer's name", trust)
    given = {key: value for key, value in content.items() if key != "name"}
    try:
        return make(**given)
    except Exception as error:  # of code that is not ours
        raise ValueError(f"tokenizer {name!r}: {name}({', '.join(given)}): {error!r}") from error


def completed(
    dataset: Dataset, given: Tokenizer | None = None, trust: Collection[str] | None = None
) -> Dataset:
    """A data set of the user's with a tokenizer, if it has tokens: its own, the given one, or ids.

    `given` is that of a pretrained or stored run; the data's own has to be equal to it.

    Raises:
      ValueError: `info.vocab` is no number of ids, or the tokenizer breaks its contract.
    """
    info, tokenizer = dataset.info, dataset.tokenizer
    if "tokens" not in info.shapes:
        return dataset
    named = f"data.name = {info.name!r}"
    if info.vocab < 1:
        raise ValueError(
            f"{named}: has tokens, and Info.vocab = {info.vocab}; accepted is the number of ids"
        )
    if tokenizer is None:
        fits = given is not None and given.vocab == info.vocab
        return dataset._replace(tokenizer=given if fits else tokenizers.ids(info.vocab))
    if fault := _fault(tokenizer, info.vocab, trust):
        refusals.refuse(f"{named}: its tokenizer {fault}")
    elif given is not None and given.vocab == info.vocab and not _equal(given, tokenizer):
        refusals.refuse(
            f"{named}: its tokenizer ({tokenizer.name}) has as many ids as that of the run whose "
            f"parameters are used ({given.name}), for other texts; accepted is the same one"
        )
    return dataset


def _fault(tokenizer: Any, vocab: int, trust: Collection[str] | None) -> str:
    """What breaks the contract, as a phrase with what is accepted; "" if nothing does."""
    if not isinstance(tokenizer, Tokenizer):
        return f"is a {type(tokenizer).__name__}; accepted is a data.tokenizers.Tokenizer, or None"
    if tokenizer.vocab != vocab:
        return f"has a vocabulary of {tokenizer.vocab}; accepted is Info.vocab = {vocab}"
    if not 0 <= tokenizer.start < vocab:
        return f"has start = {tokenizer.start}; accepted is an id, 0 to {vocab - 1}"
    known = ", ".join(tokenizers.MADE)
    if ":" not in tokenizer.name and tokenizer.name not in tokenizers.MADE:
        return (
            f"is named {tokenizer.name!r}; accepted is 'module:function' of what makes it of its "
            f"content, or a known one ({known})"
        )
    try:
        content = json.loads(json.dumps(tokenizers.to_json(tokenizer)))
        again = _made(content, trust)
    except (TypeError, ValueError) as error:
        return f"can't be made again from what a checkpoint would hold: {error}"
    if not isinstance(again, Tokenizer) or not _equal(again, tokenizer):
        return f"is another than what {tokenizer.name} makes of its content: so would be samples"
    return ""


def _equal(one: Tokenizer, other: Tokenizer) -> bool:
    """Whether two make the same texts of the first ids."""
    facts = [(t.name, t.vocab, t.start) for t in (one, other)]
    if facts[0] != facts[1]:
        return False
    return all(one.decode([i]) == other.decode([i]) for i in range(min(one.vocab, PROBED)))
