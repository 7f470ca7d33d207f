"""Every sample says that it is generated, and by what; a folder is tried before any work."""

import hashlib
import json

import pytest
from PIL import Image

from aigc_jax.media import provenance
from aigc_jax.media.text import write_texts

MARK = provenance.mark(run="runs/gpt", step=2000, config_digest="0f", seed=3)
TEXTS = ["line\r\nnext\n", "héllo — 東京", ""]


def test_a_mark_says_what_it_must():
    assert MARK == {
        "generated": True,
        "run": "runs/gpt",
        "step": 2000,
        "config_digest": "0f",
        "seed": 3,
        "software": "aigc_jax",
    }
    assert json.loads(provenance.to_text(MARK)) == MARK


def test_texts_are_written_exactly_with_a_mark_beside_each(tmp_path):
    paths = write_texts(tmp_path / "out", TEXTS, MARK)
    assert [path.name for path in paths] == ["000.txt", "001.txt", "002.txt", "samples.txt"]
    for i, (path, text) in enumerate(zip(paths[:3], TEXTS, strict=True)):
        assert path.read_bytes() == text.encode()
        own = {"index": i, "sha256": hashlib.sha256(text.encode()).hexdigest()}
        assert provenance.read(path) == {**MARK, **own}
    together = paths[3].read_bytes().decode()
    assert all(text in together for text in TEXTS)
    assert provenance.read(paths[3]).items() >= MARK.items()


def test_the_same_texts_give_the_same_bytes(tmp_path):
    write_texts(tmp_path / "a", TEXTS, MARK)
    write_texts(tmp_path / "b", TEXTS, dict(reversed(MARK.items())))
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert len(names) == 8
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_what_carries_no_mark_is_refused(tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "plain.png")
    (tmp_path / "plain.txt").write_text("by hand")
    for name in ("plain.png", "plain.txt"):
        with pytest.raises(ValueError, match=f"{name} carries no mark"):
            provenance.read(tmp_path / name)


def test_a_writable_folder_is_made_and_left_empty(tmp_path):
    folder = provenance.check_writable(tmp_path / "a" / "b")
    assert folder.is_dir()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("below", ["", "inside"])
def test_a_folder_that_cannot_be_written_is_named(tmp_path, below):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="file.*cannot be written.*accepted"):
        provenance.check_writable(tmp_path / "file" / below)
