"""Cleaning leaves out what is dirty and nothing else, says why, and touches nothing."""

import html
import json
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from aigc_jax.data import clean, folder, inspection, selection
from aigc_jax.data.dirt import KINDS

ROOT = pathlib.Path(__file__).parents[2]


def png(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


@pytest.fixture(scope="module")
def digits():
    """200 handwritten digits, uint8 [200, 32, 32], enlarged smoothly so that JPEG keeps them."""
    raw = (load_digits().images[:200] * 15.9).astype(np.uint8)
    enlarge = lambda x: np.asarray(Image.fromarray(x).resize((32, 32), Image.Resampling.BICUBIC))
    return np.stack([enlarge(x) for x in raw])


@pytest.fixture
def dirty(tmp_path, digits):
    """Digits in classes and splits, with all kinds of dirt; ({path: kind}, the folder)."""
    root = tmp_path / "own"
    for i, pixels in enumerate(digits):
        split = "test" if i < 40 else "train"
        png(root / split / "ab"[i % 2] / f"{i:03}.png", pixels)
    train = root / "train"
    raw = (train / "a" / "100.png").read_bytes()
    (train / "a" / "zero.png").write_bytes(b"")
    (train / "a" / "cut.png").write_bytes(raw[:-100])
    (train / "a" / "text.png").write_text("hello")
    (train / "Thumbs.db").write_bytes(b"x")
    frames = [Image.fromarray(x) for x in digits[:2]]
    frames[0].save(train / "b" / "moving.png", save_all=True, append_images=frames[1:])
    png(train / "b" / "wide.png", np.concatenate([digits[9], digits[11]], axis=1))
    png(train / "b" / "colour.png", np.stack([digits[13]] * 3, axis=-1))
    (train / "b" / "copy <i>&.png").write_bytes(raw)
    png(train / "b" / "leak.png", digits[5])  # it is in test/ too
    png(train / "b" / "near.jpg", digits[120], quality=90)
    noise = np.random.default_rng(0).integers(0, 256, (32, 32)).astype(np.uint8)
    png(train / "b" / "noise.png", noise)
    found = {"zero.png": "empty", "cut.png": "unreadable", "text.png": "other"}
    found = {f"train/a/{name}": kind for name, kind in found.items()} | {"train/Thumbs.db": "other"}
    kinds = {"moving.png": "animated", "wide.png": "size", "colour.png": "channels"}
    kinds |= {"copy <i>&.png": "duplicate", "leak.png": "duplicate", "near.jpg": "near"}
    kinds |= {"noise.png": "outlier"}
    return found | {f"train/b/{name}": kind for name, kind in kinds.items()}, root


def run(*arguments):
    return clean.main([str(argument) for argument in arguments])


def report_of(out):
    return json.loads((out / "report.json").read_text())


def content(root):
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_a_dirty_folder_loses_its_dirt_and_nothing_else(dirty, tmp_path, capsys):
    wrong, root = dirty
    before, out = content(root), tmp_path / "out"
    assert run(root, f"--out={out}") == 0
    report = report_of(out)
    assert {row["path"]: row["kind"] for row in report["files"]} == wrong
    assert report["total"] == len(before) == report["kept"] + len(wrong)
    assert report["rejected"] == {
        kind: list(wrong.values()).count(kind) for kind in KINDS if kind in wrong.values()
    }
    assert all(row["reason"] for row in report["files"])
    kept = content(out)
    del kept["report.json"], kept["report.html"]
    assert kept == {path: raw for path, raw in before.items() if path not in wrong}
    assert content(root) == before
    info = folder.origin(out, None, None, 0.0).info  # trains without a file left out
    assert (info.rejected, sum(info.sizes.values()), info.eval_split) == (0, 200, "test")
    said = capsys.readouterr().out
    assert "200 of 211 images are clean" in said
    assert "2  duplicate" in said


def test_a_copy_names_what_is_kept_and_test_images_stay(dirty, tmp_path):
    _, root = dirty
    run(root, f"--out={tmp_path / 'out'}")
    report = report_of(tmp_path / "out")
    like = {row["path"]: row.get("like") for row in report["files"]}
    assert like["train/b/copy <i>&.png"] == "train/a/100.png"
    assert like["train/b/leak.png"] == "test/b/005.png"
    assert like["train/b/near.jpg"] == "train/a/120.png"
    assert any("3 copies were in another class or split" in note for note in report["notes"])


def test_the_page_shows_all_of_it_and_needs_nothing_else(dirty, tmp_path):
    wrong, root = dirty
    run(root, f"--out={tmp_path / 'out'}")
    page = (tmp_path / "out" / "report.html").read_text()
    for path in wrong:
        assert f"<code>{html.escape(path)}</code>" in page
    assert "<i>&" not in page
    assert "<script" not in page
    assert not re.search(r"(src|href)=.(?!data:|#)", page)
    assert "default-src 'none'" in page
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert len(pictures) == 2 + 2 * 3 + 1  # what can be decoded, and what it is a copy of
    assert len(page) < 200_000


def test_a_page_stays_small_however_much_is_left_out(tmp_path, digits):
    for i in range(150):
        png(tmp_path / "own" / f"{i}.png", digits[0])
    assert run(tmp_path / "own", f"--out={tmp_path / 'out'}") == 0
    assert report_of(tmp_path / "out")["rejected"] == {"duplicate": 149}
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("<figure>") == 60
    assert "and 89 more, in report.json" in page


def test_only_a_report_is_written_if_asked_for(dirty, tmp_path):
    wrong, root = dirty
    assert run(root, f"--out={tmp_path / 'out'}", "--report_only") == 0
    assert sorted(content(tmp_path / "out")) == ["report.html", "report.json"]
    assert len(report_of(tmp_path / "out")["files"]) == len(wrong)


def test_options_keep_what_they_name(dirty, tmp_path):
    _, root = dirty
    chosen = ("--near=-1", "--outliers=1", "--image_size=16", "--channels=1")
    assert run(root, f"--out={tmp_path / 'out'}", *chosen) == 0
    kinds = {row["kind"] for row in report_of(tmp_path / "out")["files"]}
    assert kinds == {"empty", "unreadable", "other", "animated", "duplicate"}
    small = ("--image_size=33", "--near=-1", "--report_only")  # nothing is kept: no success
    assert run(root, f"--out={tmp_path / 'least'}", *small) == 2
    sizes = [row for row in report_of(tmp_path / "least")["files"] if row["kind"] == "size"]
    assert len(sizes) == 200 + 6  # all that can be read, 32 pixels high
    assert "less than 33" in sizes[0]["reason"]


def test_mixed_sizes_are_kept_with_a_remark(tmp_path, digits):
    for i in range(12):
        png(tmp_path / "own" / f"{i}.png", digits[i][: 20 + i])
    assert run(tmp_path / "own", f"--out={tmp_path / 'out'}") == 0
    report = report_of(tmp_path / "out")
    assert report["kept"] == 12
    assert "12 sizes: train with data.image_size" in report["notes"][0]
    assert "outliers were not looked for" in report["notes"][1]


TEXTS = {
    "latin.txt": ("café".encode("latin-1"), "text"),
    "nul.txt": (b"abc\0def", "text"),
    "zero.txt": (b"", "empty"),
    "blank.txt": (b"\n \n", "empty"),
    "table.csv": (b"1,2", "other"),
}


def test_a_folder_of_texts_is_cleaned(tmp_path):
    root = tmp_path / "own"
    root.mkdir()
    rng = np.random.default_rng(0)
    words = [bytes(rng.integers(97, 123, rng.integers(2, 9)).tolist()) for _ in range(400)]
    for i in range(80):
        text = b" ".join(words[j] for j in rng.integers(0, 400, 900))
        (root / f"{i:02}.txt").write_bytes(text + b"\n")
    whole = (root / "07.txt").read_bytes()
    (root / "copy.txt").write_bytes(whole)
    (root / "near.txt").write_bytes(whole.replace(b" ", b"  ", 2) + b"the end")
    (root / "numbers.txt").write_text(" ".join(map(str, range(3000))))
    for name, (raw, _) in TEXTS.items():
        (root / name).write_bytes(raw)
    assert run(root, f"--out={tmp_path / 'out'}") == 0
    found = {row["path"]: row["kind"] for row in report_of(tmp_path / "out")["files"]}
    assert found == {name: kind for name, (_, kind) in TEXTS.items()} | {
        **{"copy.txt": "duplicate", "near.txt": "near", "numbers.txt": "outlier"}
    }
    assert "caf\\xe9" in (tmp_path / "out" / "report.html").read_text()


def test_a_folder_of_midi_is_cleaned(tmp_path):
    from aigc_jax.media import music

    (tmp_path / "own").mkdir()
    rng = np.random.default_rng(0)
    pieces = [50 + np.cumsum(rng.integers(-2, 3, (40, 4)), axis=0) for _ in range(6)]
    for i, piece in enumerate(pieces):
        music.write_midi(tmp_path / "own" / f"{i}.mid", piece, {"index": i})
    music.write_midi(tmp_path / "own" / "copy.mid", pieces[2], {"index": "another"})
    music.write_midi(tmp_path / "own" / "higher.mid", pieces[3] + 2, {})
    music.write_midi(tmp_path / "own" / "silent.mid", np.full((8, 4), -1), {})
    (tmp_path / "own" / "cut.mid").write_bytes((tmp_path / "own" / "0.mid").read_bytes()[:-9])
    assert run(tmp_path / "own", f"--out={tmp_path / 'out'}") == 0
    report = report_of(tmp_path / "out")
    assert {row["path"]: row["kind"] for row in report["files"]} == {
        **{"copy.mid": "duplicate", "cut.mid": "unreadable"},
        **{"higher.mid": "near", "silent.mid": "empty"},
    }
    assert (tmp_path / "out" / "report.html").read_text().count("data:image/png") == 4


def test_bad_input_is_named_and_changes_nothing(tmp_path, capsys, digits):
    png(tmp_path / "own" / "a.png", digits[0])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "bare").mkdir()
    (tmp_path / "zero.txt").write_bytes(b"")
    (tmp_path / "report.json").write_text("text")
    png(tmp_path / "named" / "report.html" / "a.png", digits[0])
    cases = {
        (tmp_path / "absent", tmp_path / "out"): "absent: does not exist",
        (tmp_path / "own", tmp_path / "full"): "full: is there already",
        (tmp_path / "own", tmp_path / "own" / "clean"): "is inside",
        (tmp_path / "own", tmp_path / "own"): "is there already",
        (tmp_path / "bare", tmp_path / "out"): r"images \(.png, .jpg, .*\); texts",
        (tmp_path / "zero.txt", tmp_path / "out"): "is empty",
        (tmp_path / "report.json", tmp_path / "out"): "has the name of a report",
        (tmp_path / "named", tmp_path / "out"): "report.html: has the name of a report",
    }
    before = content(tmp_path)
    for (source, out), told in cases.items():
        assert run(source, f"--out={out}") == 2
        said = capsys.readouterr().err
        assert re.search(told, said), said
        assert said.count("\n") == 1
    for flag in ("--near=33", "--outliers=0.2", "--image_size=0"):
        with pytest.raises(SystemExit) as caught:
            run(tmp_path / "own", f"--out={tmp_path / 'out'}", flag)
        assert caught.value.code == 2
        assert flag in capsys.readouterr().err
    assert content(tmp_path) == before
    assert not (tmp_path / "out").exists()


def test_a_cleaned_folder_can_be_cleaned_again(tmp_path, digits):
    png(tmp_path / "own" / "a.png", digits[0])
    assert run(tmp_path / "own", f"--out={tmp_path / 'out'}") == 0
    before = content(tmp_path / "out")
    assert run(tmp_path / "out", f"--out={tmp_path / 'again'}") == 0
    found = {row["path"]: row["kind"] for row in report_of(tmp_path / "again")["files"]}
    assert found == {"report.json": "other", "report.html": "other"}
    assert content(tmp_path / "out") == before


def test_several_processes_find_the_same(dirty):
    _, root = dirty
    files = sorted(path for path in root.rglob("*") if path.is_file())
    one, two = (selection.inspected(files, inspection.IMAGES, n) for n in (1, 2))
    for a, b in zip(one, two, strict=True):
        assert repr(a) == repr(b)


def test_the_command_runs_without_jax(tmp_path, digits):
    png(tmp_path / "own" / "a.png", digits[0])
    code = (
        "import sys; sys.modules['jax'] = None; from aigc_jax.data import clean; "
        f"sys.exit(clean.main([{str(tmp_path / 'own')!r}, '--out={tmp_path / 'out'}']))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True)


def test_links_are_followed_to_files_and_reported_otherwise(tmp_path, digits):
    png(tmp_path / "own" / "a.png", digits[0])
    png(tmp_path / "else" / "b.png", digits[1])
    (tmp_path / "own" / "b.png").symlink_to(tmp_path / "else" / "b.png")
    (tmp_path / "own" / "absent.png").symlink_to("nowhere.png")
    (tmp_path / "own" / "folder").symlink_to(tmp_path / "else")
    assert run(tmp_path / "own", f"--out={tmp_path / 'out'}") == 0
    rows = report_of(tmp_path / "out")["files"]
    assert {row["path"] for row in rows} == {"absent.png", "folder"}
    assert "is a folder that is linked to" in rows[1]["reason"]
    assert not (tmp_path / "out" / "b.png").is_symlink()
    assert (tmp_path / "out" / "b.png").read_bytes() == (tmp_path / "else" / "b.png").read_bytes()
