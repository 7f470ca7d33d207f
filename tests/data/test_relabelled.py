"""A class keeps the label that it had when a run began, in memory and streamed."""

import json

import commands
import numpy as np
import pytest
from PIL import Image

from aigc_jax.data import folder, images, layout, load, relabelled
from aigc_jax.data.dataset import Info

NAMES = tuple(map(str, range(12)))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Folders 0 .. 11, of which k holds images of the value 20 k."""
    root = tmp_path_factory.mktemp("own")
    for name in NAMES:
        (root / name).mkdir()
        for i in range(3):
            Image.new("L", (4, 4), 20 * int(name)).save(root / name / f"{i}.png")
    return root


def opened(root, tmp_path, **options):
    return images.load(folder.origin(root, None, None), data_dir=tmp_path, **options)


def labelled(split):
    """{value of an image: its label}."""
    rows = [split.source[i] for i in range(split.length)] if split.source else None
    if rows is None:
        indices = np.arange(split.length)
        pairs = zip(*split.gather(split.arrays, indices).values(), strict=True)
    else:
        assert split.source.__getitems__([1])[0]["label"] == rows[1]["label"]
        pairs = [(row["image"], row["label"]) for row in rows]
    return {int(image[0, 0, 0]): int(label) for image, label in pairs}


@pytest.mark.parametrize("memory", [1.0, 1e-9])
def test_a_run_that_stored_no_names_counts_its_folders_as_text(root, tmp_path, memory):
    now = opened(root, tmp_path, max_memory_gib=memory)
    old = now.info._replace(class_names=())
    kept = relabelled.as_begun(now, old)
    assert kept.info.class_names == tuple(sorted(NAMES))
    for split in (kept.train, kept.eval):
        assert labelled(split) == {v: sorted(NAMES).index(str(v // 20)) for v in labelled(split)}
    assert labelled(now.train) == {v: v // 20 for v in labelled(now.train)}
    assert relabelled.as_begun(now, kept.info).info == kept.info  # the next restart


def test_arrays_that_were_cached_in_the_order_of_text_are_not_taken(root, tmp_path, monkeypatch):
    with monkeypatch.context() as earlier:
        earlier.setattr(layout, "natural_order", lambda names: tuple(sorted(names)))
        before = opened(root, tmp_path)
    now = opened(root, tmp_path)
    assert labelled(before.train) != labelled(now.train)
    assert labelled(now.train) == {v: v // 20 for v in labelled(now.train)}


def test_a_run_that_stored_names_keeps_them(root, tmp_path):
    now = opened(root, tmp_path)
    assert relabelled.as_begun(now, now.info) is now


def test_names_of_known_sets_are_in_the_order_that_they_always_had(tmp_path):
    for name in ("cifar10", "fashion_mnist", "mnist"):
        info = load.describe({"name": name, "data_dir": str(tmp_path)})
        assert relabelled.order_of(info._replace(class_names=()), info.class_names) == (
            info.class_names
        )


def test_other_classes_are_other_data(root, tmp_path):
    now = opened(root, tmp_path)
    before = now.info._replace(class_names=(*NAMES[:11], "cat"))
    with pytest.raises(ValueError, match=r"not the data .* only one side has \['11', 'cat'\]"):
        relabelled.as_begun(now, before)


def test_a_run_goes_on_with_the_labels_it_began_with(root, tmp_path, monkeypatch, capsys):
    chosen = (f"data.name={root}", "algorithm.binarize=none", "algorithm.likelihood=gaussian")
    with monkeypatch.context() as earlier:  # folders sorted as text, names not stored
        earlier.setattr(layout, "natural_order", lambda names: tuple(sorted(names)))
        kept = Info._asdict
        earlier.setattr(Info, "_asdict", lambda info: kept(info._replace(class_names=())))
        assert commands.train(tmp_path, "vae", *chosen, "steps=1") == 0
    assert commands.train(tmp_path, "vae", *chosen, "steps=2") == 0
    assert "classes keep the order that the run began with" in capsys.readouterr().out
    record = json.loads((tmp_path / "config.json").read_text())
    assert record["data"]["class_names"] == sorted(NAMES)
