"""Tokenizers are exact inverses, JSON round trips and strict about what they know."""

import json
import subprocess
import sys

import numpy as np
import pytest

from aigc_jax.data import tokenizers

TEXT = "To be, or not to be:\n\nthat is the question — naïve 東京 \U0001f3ad\r\n\tend" * 20
MUSIC = "| 72 67 64 48\n72 67 . 48\n"


def make(name):
    return {
        "char": lambda: tokenizers.char(TEXT),
        "byte": tokenizers.byte,
        "bpe": lambda: tokenizers.bpe(TEXT, 290),
        "music": tokenizers.music,
    }[name]()


@pytest.mark.parametrize("name", ["char", "byte", "bpe", "music"])
def test_decoding_inverts_encoding_also_after_json(name):
    tokenizer = make(name)
    text = MUSIC if name == "music" else TEXT
    ids = tokenizer.encode(text)
    assert ids.dtype == np.int32
    assert ids.ndim == 1
    assert 0 <= ids.min() <= ids.max() < tokenizer.vocab
    assert tokenizer.decode(ids) == text
    again = tokenizers.from_json(json.loads(json.dumps(tokenizers.to_json(tokenizer))))
    assert (again.name, again.vocab, again.start) == (name, tokenizer.vocab, tokenizer.start)
    np.testing.assert_array_equal(again.encode(text), ids)
    assert again.decode(ids) == text
    assert len(tokenizer.encode("")) == 0


def test_char_ids_are_ranks_among_the_sorted_characters():
    tokenizer = tokenizers.char("banana\n")
    assert tokenizer.vocab == 4
    np.testing.assert_array_equal(tokenizer.encode("\nabn"), [0, 1, 2, 3])
    assert tokenizer.decode([tokenizer.start]) == "\n"


def test_unknown_character_is_named_with_its_place():
    tokenizer = tokenizers.char("abc\U0001f3ad")
    with pytest.raises(ValueError, match=r"character 'é' at position 2 .* 4 known"):
        tokenizer.encode("a\U0001f3adé")
    with pytest.raises(ValueError, match="'B' at position 0"):
        tokenizer.encode("B")


def test_unknown_note_is_named_with_its_place():
    with pytest.raises(ValueError, match="note '35' at position 2 .* 48 known"):
        tokenizers.music().encode("| 72 35")


def test_bytes_are_utf8_and_broken_utf8_is_shown():
    byte = tokenizers.byte()
    np.testing.assert_array_equal(byte.encode("é"), [0xC3, 0xA9])
    np.testing.assert_array_equal(byte.encode(b"\xff\n"), [0xFF, byte.start])
    assert byte.decode([0x41, 0xFF]) == "A\ufffd"


def test_bpe_compresses_and_encodes_what_it_never_saw():
    tokenizer = make("bpe")
    assert tokenizer.vocab == 290
    assert len(tokenizer.encode(TEXT)) < len(TEXT.encode()) / 2
    unseen = "Ünseen \x00 \u2028 ẞ\n\n\n"
    assert tokenizer.decode(tokenizer.encode(unseen)) == unseen


def test_bpe_is_the_same_in_another_process():
    text = "the cat and the hat sat on that mat; " * 50 + "".join(map(chr, range(200, 900)))
    code = (
        "import json, sys; from aigc_jax.data import tokenizers as t; "
        "print(json.dumps(t.to_json(t.bpe(json.loads(sys.argv[1]), 300))))"
    )
    command = [sys.executable, "-c", code, json.dumps(text)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert json.loads(printed) == tokenizers.to_json(tokenizers.bpe(text, 300))


@pytest.mark.parametrize(("size", "message"), [(256, "256 bytes"), (5000, "tokens only")])
def test_bpe_refuses_a_vocabulary_it_cannot_have(size, message):
    with pytest.raises(ValueError, match=f"vocab_size = {size}.*{message}"):
        tokenizers.bpe("abc abc", size)


def test_an_unknown_kind_is_refused_with_the_list():
    with pytest.raises(ValueError, match="'word' is not one of char, byte, bpe, music"):
        tokenizers.from_json({"name": "word"})


def test_music_text_has_one_frame_per_line():
    tokenizer = tokenizers.music()
    assert tokenizer.decode(tokenizer.encode("| 72 . 64 48 71 62 59 43 | 36")) == (
        "| 72 . 64 48\n71 62 59 43\n| 36 "
    )
    assert tokenizer.decode([tokenizer.start]).strip() == "|"


def test_what_music_decodes_to_is_accepted_as_text_and_as_a_prompt():
    tokenizer, rng = tokenizers.music(), np.random.default_rng(0)
    for length in (0, 1, 3, 4, 5, 203):
        ids = rng.integers(0, tokenizer.vocab, length)
        np.testing.assert_array_equal(tokenizer.encode(tokenizer.decode(ids)), ids)
        piece = np.where(ids == tokenizer.start, 1, ids)  # one piece, maybe within a frame
        begun = [tokenizer.start, *piece]
        for given in (piece, begun):
            np.testing.assert_array_equal(tokenizer.prompt(tokenizer.decode(given)), begun)
