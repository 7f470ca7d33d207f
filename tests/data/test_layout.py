"""Which images of a folder are taken, and that all others are counted with the reason."""

import json
import os

import pytest
from PIL import Image

from aigc_jax.data import clean, folder, images, layout

# A PNG of one pixel, and the fingerprint that eight of them had from the beginning.
RAW = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b550000000a49444154789c6360000000"
    "02000148afa4710000000049454e44ae426082"
)
FINGERPRINT = {
    "files": 8,
    "bytes": 536,
    "names_and_sizes_sha256": "5eceae27fa4742ba20ea7047691e46831f0dbe2a907a393c5f1fb575fb9d324e",
}


def write(root, *names, mode="L"):
    for i, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new(mode, (6, 5), (i,) * len(mode)).save(path)


def taken(root):
    """{split: names inside the folder that are taken}."""
    found = layout.listed(root)
    return {s: [path.relative_to(root).as_posix() for path, _ in f] for s, f in found.items()}


def overlooked(root):
    return layout.overlooked(root, [path for f in layout.listed(root).values() for path, _ in f])


def test_webp_and_bmp_are_taken_beside_png_and_jpeg(tmp_path, capsys):
    names = [f"{i}.{suffix}" for i in range(4) for suffix in ("png", "jpg", "webp", "BMP")]
    write(tmp_path / "own", *names, mode="RGB")
    held = images.load(folder.origin(tmp_path / "own", None, None), data_dir=tmp_path / "data")
    assert sum(held.info.sizes.values()) == len(names)
    assert not held.info.rejected
    assert not capsys.readouterr().out


def test_what_is_not_taken_is_counted_with_its_reason(tmp_path, capsys):
    own = tmp_path / "own"
    write(own, *(f"{c}/{i}.png" for c in "ab" for i in range(3)))
    write(
        own, "a/1.gif", "a/2.gif", "3.tiff", "b/deep/4.png", "b/deep/deeper/5.webp", "b/deep/6.jpg"
    )
    (own / "a" / "notes.txt").write_text("no image")
    images.load(folder.origin(own, None, None), data_dir=tmp_path / "data")
    assert capsys.readouterr().out == (
        f"image folder {own}: 6 image files are not taken: 3 are in deeper folders "
        "(b/deep/4.png); 2 end in .gif (a/1.gif); 1 end in .tiff (3.tiff)\n"
    )


def test_links_in_a_circle_are_walked_once(tmp_path):
    write(tmp_path / "own", "a/0.png", "a/1.png", "a/deep/2.png")
    (tmp_path / "own" / "a" / "again").symlink_to(tmp_path / "own")
    (tmp_path / "own" / "itself").symlink_to("itself")
    assert overlooked(tmp_path / "own").startswith("1 image files are not taken: 1 are in deeper")


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_a_validation_folder_is_evaluated(tmp_path, name):
    write(tmp_path, "train/0.png", "train/1.png", f"{name}/2.png")
    info = folder.origin(tmp_path, None, None).info
    assert info.eval_split == "validation"
    assert info.sizes == {"train": 2, "validation": 1}
    assert taken(tmp_path)["validation"] == [f"{name}/2.png"]


def test_test_comes_before_validation_which_is_then_counted(tmp_path):
    write(tmp_path, "train/0.png", "train/1.png", "test/2.png", "val/3.png", "4.png")
    assert taken(tmp_path) == {"train": ["train/0.png", "train/1.png"], "test": ["test/2.png"]}
    told = "2 image files are not taken: 2 are outside of test/, train/ (4.png)"
    assert overlooked(tmp_path) == told


def test_a_folder_without_any_says_what_it_holds_instead(tmp_path):
    write(tmp_path, "0.gif", "a/b/c/1.png")
    with pytest.raises(ValueError, match=r"1 end in \.gif.*1 are in deeper.*Accepted: DIR/\*\.png"):
        layout.listed(tmp_path)


def test_cleaning_says_what_it_keeps_where_training_does_not_look(tmp_path):
    write(tmp_path / "own", "a/0.png", "a/1.png", "b/2.png", "b/deep/3.png")

    def notes(out):
        assert clean.main([str(tmp_path / "own"), f"--out={tmp_path / out}", "--near=-1"]) == 0
        return json.loads((tmp_path / out / "report.json").read_text())["notes"]

    told = "training does not look everywhere: 1 image files are not taken: 1 are in deeper folders"
    assert any(note.startswith(told) for note in notes("one"))
    Image.new("L", (6, 5), 200).save(tmp_path / "own" / "4.png")
    assert any("training does not take it as it is: " in note for note in notes("two"))


def test_cleaning_reports_a_folder_that_may_not_be_read(tmp_path, monkeypatch):
    write(tmp_path / "own", "a/0.png", "a/1.png", "b/2.png")
    scandir = os.scandir

    def refused(path):
        if os.path.basename(path) == "b":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    assert clean.main([str(tmp_path / "own"), f"--out={tmp_path / 'out'}", "--near=-1"]) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [(row["path"], row["kind"]) for row in report["files"]] == [("b", "other")]
    assert report["kept"] == 2


def test_the_fingerprint_of_png_and_jpeg_is_what_it_was(tmp_path):
    """So that runs that were started earlier go on."""
    for i in range(4):
        for split in ("train", "test"):
            path = tmp_path / "own" / split / "ab"[i % 2] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(RAW)
    assert folder.origin(tmp_path / "own", None, None).info.fingerprint == FINGERPRINT
