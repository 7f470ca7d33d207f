"""A folder of one's own images, in every accepted layout, and what is said of the others."""

import numpy as np
import pytest
from PIL import Image

from aigc_jax.data import folder, images


def write(path, value=0, size=(6, 5), mode="L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode == "L" else (value,) * len(mode)).save(path)


def load(root, tmp_path, **options):
    chosen = {name: options.get(name) for name in ("image_size", "channels")}
    return images.load(folder.origin(root, **chosen), data_dir=tmp_path / "data", **options)


def values(split):
    """(value, label) of the constant images of a split, sorted."""
    labels = split.arrays.get("label", [None] * split.length)
    return sorted(zip(split.arrays["image"][:, 0, 0, 0].tolist(), labels, strict=True))


def test_flat_images_have_no_labels_and_a_tenth_is_validation(tmp_path):
    for i in range(200):
        write(tmp_path / "own" / f"{i}.png", i)
    held = load(tmp_path / "own", tmp_path)
    assert held.info.eval_split == "validation"
    assert (held.info.num_classes, set(held.info.shapes)) == (0, {"image"})
    assert held.info.shapes["image"] == (5, 6, 1)
    assert 8 <= held.eval.length <= 34  # four sigma around 20
    both = np.concatenate([held.train.arrays["image"], held.eval.arrays["image"]])
    assert sorted(both[:, 0, 0, 0]) == list(range(200))


def test_a_file_keeps_its_split_when_others_are_added(tmp_path):
    for i in range(40):
        write(tmp_path / "own" / f"{i}.png", i)
    before = {v for v, _ in values(load(tmp_path / "own", tmp_path).train)}
    for i in range(40, 60):
        write(tmp_path / "own" / f"{i}.png", i)
    after = {v for v, _ in values(load(tmp_path / "own", tmp_path).train)}
    assert before == {v for v in after if v < 40}


def test_folders_are_classes_in_alphabetical_order(tmp_path):
    for i in range(20):
        write(tmp_path / "own" / ("cat" if i % 2 else "ant") / f"{i}.jpg", 10 * i)
    held = load(tmp_path / "own", tmp_path)
    assert held.info.num_classes == 2
    pairs = values(held.train) + values(held.eval)
    assert all(label == round(value / 10) % 2 for value, label in pairs)
    assert len(pairs) == 20


def test_numbers_in_names_of_classes_are_counted_as_numbers(tmp_path):
    names = [*map(str, range(12)), "a2", "a10", "a"]
    for i, name in enumerate(names):
        for copy in range(2):
            write(tmp_path / "own" / name / f"{copy}.png", 10 * i)
    held = load(tmp_path / "own", tmp_path)
    assert held.info.class_names == (*map(str, range(12)), "a", "a2", "a10")
    pairs = values(held.train) + values(held.eval)
    assert len(pairs) == 2 * len(names)
    assert all(held.info.class_names[label] == names[value // 10] for value, label in pairs)


def test_a_test_folder_is_the_evaluation_split(tmp_path):
    for i in range(6):
        write(tmp_path / "own" / "train" / "ab"[i % 2] / f"{i}.png", i)
    write(tmp_path / "own" / "test" / "b" / "9.png", 9)
    held = load(tmp_path / "own", tmp_path)
    assert held.info.eval_split == "test"
    assert values(held.train) == [(i, i % 2) for i in range(6)]
    assert values(held.eval) == [(9, 1)]


def test_description_and_streamed_examples_are_those_of_the_arrays(tmp_path):
    for i in range(12):
        write(tmp_path / "own" / "ab"[i % 2] / f"{i}.png", i, (6 + i, 6), "RGB")
    options = {"image_size": 4, "channels": 1}
    held = load(tmp_path / "own", tmp_path, **options)
    lazy = load(tmp_path / "own", tmp_path, max_memory_gib=1e-9, **options)
    outline = images.describe(folder.origin(tmp_path / "own", **options), 4, 1, None)
    assert held.info == lazy.info == outline
    for i, example in enumerate(lazy.train.source[i] for i in range(lazy.train.length)):
        for name in ("image", "label"):
            np.testing.assert_array_equal(example[name], held.train.arrays[name][i])


def test_changed_images_are_decoded_again(tmp_path):
    for i in range(3):
        write(tmp_path / "own" / f"{i}.png", i)
    load(tmp_path / "own", tmp_path)
    write(tmp_path / "own" / "1.png", 77)
    held = load(tmp_path / "own", tmp_path)
    assert 77 in {v for v, _ in values(held.train) + values(held.eval)}


def test_photographs_are_turned_upright(tmp_path):
    for i in range(3):
        path = tmp_path / "own" / f"{i}.jpg"
        path.parent.mkdir(exist_ok=True)
        lying = Image.new("L", (8, 4))
        lying.getexif()[0x0112] = 6  # turn by 90 degrees
        lying.save(path, exif=lying.getexif())
    assert load(tmp_path / "own", tmp_path).info.shapes["image"] == (8, 4, 1)


def test_images_that_differ_are_named_with_the_option_that_helps(tmp_path):
    write(tmp_path / "own" / "a.png")
    write(tmp_path / "own" / "b.png")
    write(tmp_path / "own" / "c.png", size=(7, 5))
    with pytest.raises(ValueError, match=r"c\.png is 7x5 .*most are 6x5 .*data\.image_size"):
        load(tmp_path / "own", tmp_path)
    write(tmp_path / "own" / "c.png", mode="RGB")
    with pytest.raises(ValueError, match=r"c\.png has 3 channels .*have 1 .*data\.channels"):
        load(tmp_path / "own", tmp_path)
    assert load(tmp_path / "own", tmp_path, channels=3).info.shapes["image"] == (5, 6, 3)


@pytest.mark.parametrize("layout", ["empty", "text", "mixed", "single"])
def test_unusable_folders_are_refused_with_their_name(tmp_path, layout):
    root = tmp_path / "own"
    root.mkdir()
    if layout == "text":
        (root / "notes.txt").write_text("no image")
    if layout in ("mixed", "single"):
        write(root / "a.png")
    if layout == "mixed":
        write(root / "class" / "b.png")
    with pytest.raises(ValueError, match=f"image folder {root}"):
        folder.origin(root, None, None)


def test_broken_files_are_named(tmp_path):
    for i in range(3):
        write(tmp_path / "own" / f"{i}.png", i)
    whole = (tmp_path / "own" / "1.png").read_bytes()
    for content in (b"not an image", whole[:45]):
        (tmp_path / "own" / "1.png").write_bytes(content)
        with pytest.raises(ValueError, match=r"1 of 3 files .*: 1\.png can't be"):
            load(tmp_path / "own", tmp_path)


def test_a_class_only_in_test_is_named(tmp_path):
    for name in ("train/a/0.png", "train/a/1.png", "test/z/2.png"):
        write(tmp_path / "own" / name)
    with pytest.raises(ValueError, match=r"z.2\.png is of no class of train/: \['a'\]"):
        folder.origin(tmp_path / "own", None, None)
