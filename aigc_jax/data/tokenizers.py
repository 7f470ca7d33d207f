"""Text to integers and back: characters, bytes, locally trained BPE, notes, and ids as they are.

A tokenizer is a tuple of pure functions. What it was made of is JSON, so that it lives inside a
checkpoint: `from_json(to_json(tokenizer))` is the same tokenizer.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

MUSIC_WORDS = ("|", ".", *map(str, range(36, 82)))  # start of a piece, silence, MIDI pitches
PIECE = 2**16  # characters that are looked up at a time
LONGEST = 2**12  # characters of a line that BPE sees at a time
BATCH = 2**8  # lines that are encoded at a time


class Tokenizer(NamedTuple):
    """`decode(encode(text)) == text` for what `encode` accepts; of notes and ids but for spaces.

    `encode` raises ValueError for other texts; `decode` takes any ids, as a model makes them.
    """

    name: str  # one of `MADE`, or "module:function" of the user's own; see `vocabulary`
    vocab: int  # ids are 0 .. vocab - 1
    encode: Callable[[str], np.ndarray]  # text -> int32 [length]
    decode: Callable[[Sequence[int]], str]  # ids [length] -> text
    start: int  # the id from which a generation without a prompt goes on
    content: Mapping[str, Any]  # what it is made of, as JSON
    # text -> the ids that a model goes on from, where these are not those of `encode`
    prompt: Callable[[str], np.ndarray] | None = None


def _unknown(unit: str, value: str, position: int, known: Sequence[str]) -> ValueError:
    listed = " ".join(map(repr, known[:100])) + (" ..." if len(known) > 100 else "")
    return ValueError(
        f"{unit} {value!r} at position {position} is outside the vocabulary of the {len(known)} "
        f"known {unit}s: {listed}"
    )


def char(text: str) -> Tokenizer:
    """One id per character; the vocabulary is the sorted characters of `text`.

    `encode` raises ValueError at a character outside it.
    """
    return _of_characters("".join(sorted(set(text))))


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def _of_characters(characters: str) -> Tokenizer:
    if not characters:
        raise ValueError("a char tokenizer needs a text with at least one character, got none")
    known = _code_points(characters)

    def encode(text):
        ids = np.empty(len(text), np.int32)
        for at in range(0, len(text), PIECE):  # the search takes 16 times the text's memory
            codes = _code_points(text[at : at + PIECE])
            found = np.minimum(np.searchsorted(known, codes), len(known) - 1)
            strange = known[found] != codes
            if strange.any():
                position = at + int(np.argmax(strange))
                raise _unknown("character", text[position], position, characters)
            ids[at : at + PIECE] = found
        return ids

    def decode(ids):
        return "".join(characters[i] for i in np.asarray(ids).tolist())

    content = {"name": "char", "characters": characters}
    start = max(characters.find("\n"), 0)
    return Tokenizer("char", len(characters), encode, decode, start, content)


def byte() -> Tokenizer:
    """One id per byte of UTF-8, vocabulary 256.

    `encode` also takes bytes; `decode` shows what is not UTF-8 as U+FFFD.
    """

    def encode(text):
        raw = text if isinstance(text, bytes) else text.encode()
        return np.frombuffer(raw, np.uint8).astype(np.int32)

    def decode(ids):
        return np.asarray(ids, np.uint8).tobytes().decode("utf-8", "replace")

    return Tokenizer("byte", 256, encode, decode, ord("\n"), {"name": "byte"})


def bpe(text: str, vocab_size: int) -> Tokenizer:
    """Byte-level byte-pair encoding trained on `text`: deterministic, without network.

    The vocabulary is the 256 bytes and the vocab_size - 256 most useful merges (Sennrich et al.,
    2016, arXiv:1508.07909), so every text has an encoding. Lines are encoded one by one, those of
    more than 4,096 characters in pieces of so many.

    Raises:
      ValueError: `vocab_size` is at most 256, or more than the text has pairs to merge.
    """
    from tokenizers import Tokenizer as Model
    from tokenizers import decoders, models, pre_tokenizers, trainers

    if vocab_size <= 256:
        raise ValueError(f"data.vocab_size = {vocab_size}: BPE needs more than the 256 bytes")
    model = Model(models.BPE())
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    model.train_from_iterator(_lines(text), trainer)
    if (found := model.get_vocab_size()) < vocab_size:
        accepted = f"at most {found}" if found > 256 else "no BPE, but data.tokenizer = 'byte'"
        raise ValueError(
            f"data.vocab_size = {vocab_size}: the training text of {len(text)} characters has "
            f"pairs for {found} tokens only; accepted is {accepted}"
        )
    return _of_merges(model.to_str())


def _lines(text: str) -> Iterator[str]:
    """The lines of a text with their ends; a long one in pieces, for time and memory's sake."""
    for line in text.splitlines(keepends=True):
        yield from (line[at : at + LONGEST] for at in range(0, len(line), LONGEST))


def _of_merges(serialised: str) -> Tokenizer:
    from tokenizers import Tokenizer as Model

    model = Model.from_str(serialised)

    def encode(text):
        lines, pieces = _lines(text), [np.zeros(0, np.int32)]
        while batch := list(itertools.islice(lines, BATCH)):
            pieces += [np.array(x.ids, np.int32) for x in model.encode_batch_fast(batch)]
        return np.concatenate(pieces)

    def decode(ids):
        return model.decode(np.asarray(ids).tolist())

    start = int(encode("\n")[0])
    content = {"name": "bpe", "model": serialised}
    return Tokenizer("bpe", model.get_vocab_size(), encode, decode, start, content)


def music() -> Tokenizer:
    """One id per word of four-voice music: "|" starts a piece, "." is silence, else a MIDI pitch.

    Text holds one frame per line, soprano to bass: "| 72 67 64 48". `encode` raises ValueError at
    another word. A prompt is the beginning of one piece, with "|" or without; a model fills up its
    last frame.
    """
    id_of = {word: i for i, word in enumerate(MUSIC_WORDS)}
    start = id_of["|"]

    def encode(text):
        words = text.split()
        for position, word in enumerate(words):
            if word not in id_of:
                raise _unknown("note", word, position, MUSIC_WORDS)
        return np.array([id_of[word] for word in words], np.int32)

    def prompt(text):
        ids = encode(text)
        if start in ids[1:]:
            raise ValueError("'|' starts a piece: accepted only as a prompt's first word")
        lines = [line.split() for line in text.replace("|", " ").splitlines()]
        lines = [line for line in lines if line]
        for number, line in enumerate(lines[:-1], 1):
            if len(line) % 4:  # all that follows would be sung by other voices
                raise ValueError(
                    f"line {number} has {len(line)} notes ({' '.join(line)}): accepted are frames "
                    "of four, soprano to bass, and fewer only at the end"
                )
        return (
            ids if ids[:1].tolist() == [start] else np.concatenate([[start], ids], dtype=np.int32)
        )

    def decode(ids):
        lines, voices = [], 0
        for word in (MUSIC_WORDS[i] for i in np.asarray(ids).tolist()):
            voices = 0 if word == "|" else voices % 4 + 1
            lines.append(word + ("\n" if voices == 4 else " "))
        return "".join(lines)

    content = {"name": "music"}
    return Tokenizer("music", len(MUSIC_WORDS), encode, decode, start, content, prompt)


def prompted(tokenizer: Tokenizer, text: str) -> np.ndarray:
    """The ids int32 [length] that a model goes on from, given a prompt.

    A model of windows that begin anywhere in a text is shown the text as it is; one of windows that
    begin at fixed places needs what stands there, such as the start of a piece.

    Raises:
      ValueError: the text is outside the vocabulary, or cannot be a beginning.
    """
    try:
        tokens = np.asarray((tokenizer.prompt or tokenizer.encode)(text))
    except Exception as error:
        if ":" not in tokenizer.name:
            raise
        raise ValueError(f"tokenizer {tokenizer.name!r} refuses it: {error!r}") from error
    whole = tokens.ndim == 1 and (not tokens.size or np.issubdtype(tokens.dtype, np.integer))
    if not whole or ((tokens < 0) | (tokens >= tokenizer.vocab)).any():  # of one of the user's own
        raise ValueError(
            f"tokenizer {tokenizer.name!r} encodes it as {tokens.dtype}{list(tokens.shape)} up to "
            f"{tokens.max(initial=0)}; accepted is a row of ids, 0 to {tokenizer.vocab - 1}"
        )
    return tokens.astype(np.int32)


def ids(vocab: int) -> Tokenizer:
    """The ids themselves in decimals, "3 17 4", of tokens that nobody has words for.

    `encode` raises ValueError at what is no id.
    """

    def encode(text):
        words = text.split()
        for position, word in enumerate(words):
            if not (word.isascii() and word.isdigit() and int(word) < vocab):
                raise ValueError(
                    f"token {word!r} at position {position}: the run's tokens have no text; "
                    f"accepted are ids, 0 to {vocab - 1}, with spaces between them"
                )
        return np.array([int(word) for word in words], np.int32)

    def decode(ids):
        return " ".join(map(str, np.asarray(ids).tolist()))

    return Tokenizer("ids", vocab, encode, decode, 0, {"name": "ids", "vocab": vocab})


def to_json(tokenizer: Tokenizer) -> dict[str, Any]:
    """What `from_json`, or for one of the user's own `vocabulary.stored`, makes an equal one of."""
    return {**tokenizer.content, "name": tokenizer.name}


def from_json(content: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer that `to_json` described.

    Raises:
      ValueError: the content names no kind of tokenizer that exists.
    """
    if content.get("name") not in MADE:
        raise ValueError(f"tokenizer {content.get('name')!r} is not one of {', '.join(MADE)}")
    return MADE[content["name"]](content)


# How a known kind is made of its content.
MADE: Mapping[str, Callable[[Mapping[str, Any]], Tokenizer]] = {
    "char": lambda content: _of_characters(content["characters"]),
    "byte": lambda content: byte(),
    "bpe": lambda content: _of_merges(content["model"]),
    "music": lambda content: music(),
    "ids": lambda content: ids(content["vocab"]),
}
