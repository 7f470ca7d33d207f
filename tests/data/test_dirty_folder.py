"""Folders of images as they are found: what is left out, what stands in, and what stops a run."""

import io
import json
import os
import pathlib
import subprocess
import sys

import commands
import numpy as np
import pytest
from PIL import Image

from aigc_jax import refusals
from aigc_jax.data import folder, image_file, images

GOOD = 30
ROOT = pathlib.Path(__file__).parents[2]


def encoded(value, name="PNG", mode="L", size=(8, 8), **options):
    """The bytes of a picture with a gradient, brighter by `value`."""
    ramp = np.add.outer(np.arange(size[1]), np.arange(size[0])) * 5 + value
    file = io.BytesIO()
    Image.fromarray(ramp.astype(np.uint8)).convert(mode).save(file, name, **options)
    return file.getvalue()


def damaged_inside(value=0):
    """A PNG with a whole header and end whose pixels can't be unpacked."""
    raw = bytearray(encoded(value))
    at = raw.index(b"IDAT") + 6
    raw[at : at + 8] = b"\xff" * 8
    return bytes(raw)


DIRT = {
    "empty.png": b"",
    "text.jpg": b"no image",
    "gif.png": encoded(0, "GIF"),
    "cut.png": encoded(0)[:-30],
    "cut.jpg": encoded(0, "JPEG", size=(64, 64))[:-90],
    "header.png": encoded(0)[:20],
    "odd.png": encoded(0, size=(9, 8)),
    "colour.png": encoded(0, mode="RGB"),
}


@pytest.fixture
def own(tmp_path):
    """A folder of 30 good images of 8 x 8 pixels."""
    (tmp_path / "own").mkdir()
    for i in range(GOOD):
        (tmp_path / "own" / f"{i:02}.png").write_bytes(encoded(3 * i))
    return tmp_path / "own"


def load(root, tmp_path, max_rejected=1.0, **options):
    chosen = [options.get(name) for name in ("image_size", "channels")]
    data_dir = tmp_path / "data"
    origin = folder.origin(root, *chosen, max_rejected, data_dir)
    return images.load(origin, data_dir=data_dir, **options)


def pictures(dataset):
    """All images of both splits, whether in memory or streamed, [N, H, W, C] in order."""
    found = []
    for split in (dataset.train, dataset.eval):
        source = split.arrays["image"] if split.source is None else split.source
        rows = (source[i] for i in range(split.length))
        found += [row if isinstance(row, np.ndarray) else row["image"] for row in rows]
    return np.stack(found)


def test_a_dirty_folder_gives_the_clean_ones_set(own, tmp_path, capsys):
    clean = load(own, tmp_path)
    for name, raw in DIRT.items():
        (own / name).write_bytes(raw)
    (own / "nowhere.png").symlink_to("absent.png")
    dirty = load(own, tmp_path)
    assert dirty.info.rejected == len(DIRT) + 1
    assert dirty.info._replace(rejected=0) == clean.info  # the fingerprint too: a run goes on
    np.testing.assert_array_equal(pictures(dirty), pictures(clean))
    said = capsys.readouterr().out
    assert f"{len(DIRT) + 1} of {GOOD + len(DIRT) + 1} files" in said
    assert "and 4 more" in said


def test_the_share_that_may_be_left_out_is_a_limit(own, tmp_path):
    for name in ("a.png", "b.png", "c.png", "d.png", "e.png", "f.png"):
        (own / name).write_bytes(b"")
    with pytest.raises(ValueError, match=r"6 of 36 files \(17 %\)") as caught:
        load(own, tmp_path, max_rejected=0.16)
    said = str(caught.value)
    assert "a.png is empty; b.png" in said
    assert "f.png" not in said
    assert "and 1 more" in said
    assert "data.max_rejected = 0.16" in said
    assert f"python -m aigc_jax.data.clean {own} --out=" in said
    assert load(own, tmp_path, max_rejected=6 / 36).info.rejected == 6


def test_one_percent_is_the_default_limit(own, tmp_path):
    (own / "a.png").write_bytes(b"")
    with pytest.raises(ValueError, match="1 of 31 files"):
        folder.origin(own, None, None)


@pytest.mark.parametrize("memory", [1.0, 1e-9])
def test_another_file_stands_in_for_what_decoding_finds_damaged(own, tmp_path, memory, capsys):
    clean = pictures(load(own, tmp_path))
    for name in ("03.png", "17.png"):
        (own / name).write_bytes(damaged_inside())
    first = load(own, tmp_path, max_memory_gib=memory)
    assert first.info.sizes == load(own, tmp_path, max_memory_gib=2 - memory).info.sizes
    seen = pictures(first)
    again = pictures(load(own, tmp_path, max_memory_gib=2 - memory))
    np.testing.assert_array_equal(seen, again)  # in memory and streamed, today and tomorrow
    changed = np.flatnonzero((seen != clean).any(axis=(1, 2, 3)))
    assert len(changed) == 2
    length = first.train.length
    for i in changed:  # the next one of the split
        at = (i + 1) % length if i < length else length + (i + 1 - length) % (GOOD - length)
        np.testing.assert_array_equal(seen[i], clean[at])
    said = capsys.readouterr().err
    assert said.count("03.png") <= 2  # once for each of the two loads
    assert "stands in" in said


def test_every_load_counts_and_judges_damage_as_the_first_did(own, tmp_path, capsys):
    for name in ("03.png", "17.png", "21.png"):
        (own / name).write_bytes(damaged_inside())
    (own / "zero.png").write_bytes(b"")
    for _ in range(2):  # the second one reads the cached arrays
        assert load(own, tmp_path, max_rejected=4 / 31).info.rejected == 4
        said = capsys.readouterr().out
        assert "4 of 31 files (13 %) can't be used: zero.png is empty; " in said
        assert "17.png can't be decoded" in said
        with pytest.raises(ValueError, match=r"4 of 31 files .*data\.max_rejected = 0\.1"):
            load(own, tmp_path, max_rejected=0.1)
    capsys.readouterr()
    (own / "03.png").write_bytes(encoded(0))
    assert load(own, tmp_path).info.rejected == 3


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_no_name_stops_a_run_or_moves_the_cursor(own, tmp_path, encoding):
    names = [b"caf\xe9.png", "caf\xe9.png".encode(), b"two\nlines\x1b[2J.png"]
    for name in names:
        (own / os.fsdecode(name)).write_bytes(b"")
    code = (
        "from aigc_jax.data import load; load.load({'max_rejected': 1.0, "
        f"'name': {str(own)!r}, 'data_dir': {str(tmp_path / 'data')!r}}})"
    )
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONIOENCODING": f"{encoding}:strict"}
    ran = subprocess.run(command, env=environment, check=True, cwd=ROOT, capture_output=True)
    assert b"3 of 33 files" in ran.stdout
    assert b"caf\\udce9.png is empty" in ran.stdout
    assert b"two\\nlines\\x1b[2J.png is empty" in ran.stdout
    assert ran.stdout.count(b"\n") == 1


def test_too_many_damaged_files_stop_a_streamed_run(own, tmp_path):
    for i in range(4):
        (own / f"{i:02}.png").write_bytes(damaged_inside())
    lazy = load(own, tmp_path, max_rejected=0.1, max_memory_gib=1e-9)
    with pytest.raises(ValueError, match=r"4 of 30 files \(13 %\).*data\.max_rejected = 0\.1"):
        pictures(lazy)


def test_a_split_without_any_good_file_is_an_error(tmp_path):
    for i in range(3):
        for split in ("train", "test"):
            path = tmp_path / "own" / split / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(i) if split == "train" else damaged_inside())
    with pytest.raises(ValueError, match="no image of a split can be decoded"):
        load(tmp_path / "own", tmp_path)
    for path in (tmp_path / "own" / "test").iterdir():
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"own: no file of test can be used"):
        load(tmp_path / "own", tmp_path)


def test_headers_of_unchanged_files_are_read_once(own, tmp_path, monkeypatch):
    (own / "a.png").write_bytes(b"")
    before = folder.origin(own, None, None, 1.0, tmp_path / "data").info
    read, header = [], image_file.header
    monkeypatch.setattr(image_file, "header", lambda path: read.append(path.name) or header(path))
    assert folder.origin(own, None, None, 1.0, tmp_path / "data").info == before
    assert not read
    (own / "a.png").write_bytes(encoded(0))
    assert folder.origin(own, None, None, 1.0, tmp_path / "data").info.rejected == 0
    assert "a.png" in read


def test_the_fingerprint_is_of_the_files_in_use(own):
    before = folder.origin(own, None, None, 1.0).info.fingerprint
    (own / "zzz.png").write_bytes(b"")
    assert folder.origin(own, None, None, 1.0).info.fingerprint == before
    (own / "05.png").write_bytes(encoded(15)[:-30])
    assert folder.origin(own, None, None, 1.0).info.fingerprint != before


@pytest.mark.parametrize("of_b", [b"", damaged_inside()], ids=["empty", "damaged"])
def test_a_class_of_which_no_file_can_be_used_is_refused(tmp_path, of_b):
    for name in "abc":
        (tmp_path / "own" / name).mkdir(parents=True)
        for i in range(6):
            raw = of_b if name == "b" else encoded(i)
            (tmp_path / "own" / name / f"{i}.png").write_bytes(raw)
    for _ in range(2):  # decoded, and from the cache
        with pytest.raises(ValueError, match="none of the files of class b can be used"):
            load(tmp_path / "own", tmp_path)
    with refusals.only_said():  # a run that was begun with it keeps its number
        held = load(tmp_path / "own", tmp_path)
    assert held.info.num_classes == 3
    assert {0, 2} == set(held.train.arrays["label"]) | set(held.eval.arrays["label"])


def test_training_skips_and_counts_what_it_can_and_stops_above_the_share(own, tmp_path, capsys):
    for i in range(GOOD, 100):
        (own / f"{i:02}.png").write_bytes(encoded(i))
    (own / "zero.png").write_bytes(b"")
    (own / "04.png").write_bytes(damaged_inside())
    options = (f"data.name={own}", "data.limit=None", "steps=2", "eval_every=2", "save_every=2")
    assert commands.train(tmp_path / "run", "vae", *options, "data.max_rejected=0.02") == 0
    said = capsys.readouterr()
    assert "1 of 101 files (0.99 %) can't be used: zero.png is empty" in said.out
    assert "04.png: can't be decoded" in said.err
    record = json.loads((tmp_path / "run" / "config.json").read_text())
    assert record["data"]["rejected"] == 2
    (own / "zero2.png").write_bytes(b"")
    assert commands.train(tmp_path / "other", "vae", *options) == 2
    assert "2 of 102 files (2 %)" in capsys.readouterr().err


def test_a_file_that_goes_away_is_no_dirt(own, tmp_path):
    lazy = load(own, tmp_path, max_memory_gib=1e-9)
    (own / "07.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"07\.png"):
        pictures(lazy)
