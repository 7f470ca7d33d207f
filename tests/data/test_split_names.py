"""Folders that look like splits are never read as classes without a word, nor the other way."""

import pytest
from PIL import Image

from aigc_jax import refusals
from aigc_jax.data import folder, images, layout, load, split_names, text_folder


def made(root, *names):
    for i, name in enumerate(names):
        for copy in range(2):
            path = root / name / f"{copy}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (4, 4), 20 * i + copy).save(path)
    return root


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *[("Train", "train"), ("TRAINING", "train"), ("train2017", "train"), ("x_train", "train")],
        *[
            ("Test", "test"),
            ("testing_set", "test"),
            ("Test-Images", "test"),
            ("DEV", "validation"),
        ],
        *[("Val", "validation"), ("eval", "validation"), ("validation_data", "validation")],
        *[
            ("cat", ""),
            ("bullet train", ""),
            ("testament", ""),
            ("valley", ""),
            ("", ""),
            ("7", ""),
        ],
        *[("train_test", ""), ("set", "")],
    ],
)
def test_names_that_mean_splits(name, split):
    assert split_names.meant(name) == split


@pytest.mark.parametrize(
    ("names", "option"),
    [
        (("Train", "Test"), "Train,Test"),
        (("TRAIN", "Val", "TEST"), "TRAIN,TEST"),
        (("train", "Test"), "train,Test"),
        (("training", "dev"), "training,dev"),
        (("Train",), "Train"),
        (("train", "bus", "aeroplane"), "train"),  # as in PASCAL VOC, where it is a class
        (("cat", "dog", "test"), "test"),
        (("Train/a", "Test/a"), "Train,Test"),
    ],
)
def test_what_may_be_splits_or_classes_is_refused_with_the_option(tmp_path, names, option):
    made(tmp_path, *names)
    with pytest.raises(
        ValueError, match=rf"may be splits or classes.*splits={option} .*splits=none"
    ):
        folder.origin(tmp_path, None, None)
    with refusals.only_said() as said:  # a stored run goes on as it was
        found = layout.split_folders(tmp_path)
    assert len(said) == 1
    assert found == ({"train": "train"} if "train" in names else {})


@pytest.mark.parametrize(
    "names",
    [("train", "test"), ("train", "val", "Test"), ("train",), ("a", "b"), ("train/a", "valid/a")],
)
def test_what_is_clear_is_taken_as_ever(tmp_path, names):
    made(tmp_path, *names)
    (tmp_path / "Test scripts").mkdir()
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "run.sh").write_text("no image")
    folder.origin(tmp_path, None, None)


def loaded(root, tmp_path, splits):
    found = load.load({"name": str(root), "data_dir": str(tmp_path / "data"), "splits": splits})
    labels = found.info.class_names
    values = {
        name: sorted({int(x) // 20 for x in split.arrays["image"][:, 0, 0, 0]})
        for name, split in zip(found.info.sizes, (found.train, found.eval), strict=True)
    }
    return labels, values


def test_the_option_says_which_is_which(tmp_path):
    root = made(tmp_path / "own", "Train", "Test", "extra")
    assert loaded(root, tmp_path, "Train,Test") == ((), {"train": [0], "test": [1]})
    assert loaded(root, tmp_path, "Train,extra") == ((), {"train": [0], "validation": [2]})
    assert loaded(root, tmp_path, "extra") == ((), {"train": [2], "validation": [2]})
    labels, values = loaded(root, tmp_path, "none")
    assert labels == ("Test", "Train", "extra")
    assert sorted({*values["train"], *values["validation"]}) == [0, 1, 2]


def test_the_arrays_of_other_splits_are_not_taken_from_the_cache(tmp_path):
    root = made(tmp_path / "own", "Train", "Test")
    first, second = (loaded(root, tmp_path, s)[1] for s in ("Train,Test", "Test,Train"))
    assert (first["train"], second["train"]) == ([0], [1])


@pytest.mark.parametrize("splits", ["Train,Nowhere", "Train,Test,extra", "Train,Train", ","])
def test_folders_that_are_not_there_are_named(tmp_path, splits):
    made(tmp_path, "Train", "Test", "extra")
    with pytest.raises(ValueError, match=f"data.splits = {splits!r}: .*Test, Train, extra"):
        folder.origin(tmp_path, None, None, splits=splits)


def test_the_option_is_of_folders_alone(tmp_path):
    config = {"name": "digits", "data_dir": str(tmp_path), "splits": "none"}
    with pytest.raises(ValueError, match=r"data\.splits = 'none': does nothing with .*'digits'"):
        load.describe(config)


def test_texts_in_such_folders_are_refused_and_told_apart_too(tmp_path):
    for name in ("Train", "Test"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.txt").write_text(f"{name}\n")
    with pytest.raises(ValueError, match="splits=Train,Test"):
        text_folder.read(tmp_path, 0)
    corpus = text_folder.read(tmp_path, 0, "Train,Test")
    assert (corpus.train, corpus.evaluation, corpus.eval_split) == ("Train\n", "Test\n", "test")


def test_a_class_without_a_usable_file_is_refused(tmp_path):
    root = made(tmp_path / "own", "a", "b", "c")
    for path in (root / "b").iterdir():
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="none of the files of class b can be used"):
        folder.origin(root, None, None, max_rejected=0.5)
    with refusals.only_said():
        kept = images.load(folder.origin(root, None, None, 0.5), data_dir=tmp_path / "data")
    assert kept.info.class_names == ("a", "b", "c")
