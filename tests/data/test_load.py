"""The front door finds every kind of set by its name, and describes it before it is there."""

import inspect
import io
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from aigc_jax.data import builders, load


def equal(info, other) -> bool:
    return info._replace(fingerprint={}) == other._replace(fingerprint={})


@pytest.mark.parametrize("name", list(builders.SETS))
def test_known_images_are_described_without_preparing_or_importing_anything(name, tmp_path):
    code = f"""
import sys
for blocked in ("tensorflow_datasets", "grain", "sklearn", "PIL", "jax"):
    sys.modules[blocked] = None
from aigc_jax.data import load
info = load.describe({{"name": {name!r}, "data_dir": {str(tmp_path)!r}, "image_size": 16}})
assert info.shapes["image"][:2] == (16, 16)
assert info.num_classes == len(set(info.class_names)) == 10 and info.eval_split == "test"
assert info.fingerprint["sha256"]
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("options", [{}, {"image_size": 28, "channels": 3, "limit": 100}])
def test_what_is_loaded_is_what_was_described(options, tmp_path):
    config = {"name": "digits", "data_dir": str(tmp_path), **options}
    described, loaded = load.describe(config), load.load(config)
    assert described == loaded.info
    for split, name in ((loaded.train, "train"), (loaded.eval, "test")):
        assert split.length == described.sizes[name]
        for key, shape in described.shapes.items():
            assert split.arrays[key].shape == (split.length, *shape)
            assert split.arrays[key].dtype == described.dtypes[key]


def test_text_is_found_by_name_and_by_path(tmp_path):
    path = tmp_path / "own.txt"
    path.write_text("to be or not to be, that is the question\n" * 50)
    for name in (str(path), "python_text"):
        config = {"name": name, "data_dir": str(tmp_path), "context": 16, "limit": 500}
        described, loaded = load.describe(config), load.load(config)
        assert equal(described, loaded.info)
        batch = loaded.train.gather(loaded.train.arrays, np.array([0, 3]))
        assert batch["tokens"].shape == (2, 17)


def test_music_is_found_by_name(tmp_path):
    info = load.describe({"name": "jsb_chorales", "data_dir": str(tmp_path)})
    assert info.vocab > 0
    assert info.shapes["tokens"] == (65,)


def test_a_folder_is_found_by_path(tmp_path):
    (tmp_path / "own").mkdir()
    for i in range(4):
        Image.new("L", (5, 5), i).save(tmp_path / "own" / f"{i}.png")
    config = {"name": str(tmp_path / "own"), "data_dir": str(tmp_path / "data"), "image_size": 8}
    loaded = load.load(config)
    assert load.describe(config) == loaded.info
    assert loaded.train.arrays["image"].shape[1:] == (8, 8, 1)


def prepare_shapes(data_dir, splits, shape=(6, 6, 3)):
    """Prepares a set of PNG images, as a user would with TFDS."""
    import tensorflow_datasets as tfds

    def png(value):
        file = io.BytesIO()
        Image.new("RGB", (6, 6), (value, 0, 255)).save(file, "PNG")
        return io.BytesIO(file.getvalue())

    class Shapes(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("2.10.0")

        def _info(self):
            image = tfds.features.Image(shape=shape)
            label = tfds.features.ClassLabel(names=["d", "c", "b", "a"])
            features = tfds.features.FeaturesDict({"image": image, "label": label})
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, dl_manager):
            return {name: self._generate_examples(values) for name, values in splits.items()}

        def _generate_examples(self, values):
            yield from ((v, {"image": png(v), "label": v % 4}) for v in values)

    Shapes(data_dir=data_dir, file_format="array_record").download_and_prepare()


@pytest.mark.parametrize("evaluated", ["test", "validation", None])
def test_sets_that_tfds_has_prepared_work_by_name(evaluated, tmp_path):
    splits = {"train": range(30), **({evaluated: range(30, 35)} if evaluated else {})}
    prepare_shapes(tmp_path, splits)
    config = {"name": "shapes", "data_dir": str(tmp_path)}
    described, loaded = load.describe(config), load.load(config)
    assert described == loaded.info
    assert described.class_names == ("d", "c", "b", "a")  # as labels count them
    assert described.num_classes == 4
    assert described.eval_split == (evaluated or "validation")
    seen = [split.arrays["image"][:, 0, 0, 0] for split in (loaded.train, loaded.eval)]
    assert [len(part) for part in seen] == ([30, 5] if evaluated else [27, 3])
    assert sorted(np.concatenate(seen)) == list(range(35 if evaluated else 30))
    np.testing.assert_array_equal(loaded.train.arrays["label"], seen[0] % 4)


@pytest.mark.parametrize("key", ["pythonClassName", "python_class_name"])
def test_a_prepared_set_may_not_name_code_of_its_own(key, tmp_path):
    prepare_shapes(tmp_path, {"train": range(10)})
    (file,) = tmp_path.glob("shapes/*/features.json")
    described = json.loads(file.read_text())
    described["featuresDict"]["features"]["label"][key] = "evil.Feature"
    file.write_text(json.dumps(described))
    with pytest.raises(ValueError, match=r"features\.json: names 'evil\.Feature'"):
        load.load({"name": "shapes", "data_dir": str(tmp_path)})


def test_prepared_images_of_unknown_size_need_a_size(tmp_path):
    prepare_shapes(tmp_path, {"train": range(10)}, (None, None, 3))
    config = {"name": "shapes", "data_dir": str(tmp_path)}
    with pytest.raises(ValueError, match=r"'shapes'.*data\.image_size"):
        load.describe(config)
    loaded = load.load({**config, "image_size": 4})
    assert loaded.train.arrays["image"].shape == (9, 4, 4, 3)


def test_the_newest_prepared_version_counts_by_number(tmp_path):
    prepare_shapes(tmp_path, {"train": range(30)})
    (tmp_path / "shapes" / "2.10.0").rename(tmp_path / "shapes" / "2.9.0")
    prepare_shapes(tmp_path, {"train": range(10)})
    assert load.describe({"name": "shapes", "data_dir": str(tmp_path)}).sizes["train"] == 9


def test_no_name_is_not_the_current_folder(tmp_path):
    with pytest.raises(ValueError, match="data.name = ''"):
        load.describe({"name": "", "data_dir": str(tmp_path)})


def test_an_unknown_name_is_answered_with_the_list_and_the_nearest(tmp_path):
    with pytest.raises(ValueError, match=r"(?s)'minst': did you mean 'mnist'\?.*python_text"):
        load.describe({"name": "minst", "data_dir": str(tmp_path)})


def test_absent_files_are_asked_for_by_their_place(tmp_path, monkeypatch):
    monkeypatch.setenv("AIGC_MANUAL_DIR", str(tmp_path / "manual"))
    nowhere = {
        name: remote._replace(url=f"http://host.invalid/{name}")
        for name, remote in builders.MNIST_FILES.items()
    }
    unreachable = builders.SETS["mnist"]._replace(files=nowhere)
    monkeypatch.setitem(builders.SETS, "mnist", unreachable)
    with pytest.raises(FileNotFoundError) as caught:
        load.load({"name": "mnist", "data_dir": str(tmp_path)})
    for name in builders.MNIST_FILES:
        assert str(tmp_path / "manual" / "mnist" / name) in str(caught.value)


def test_defaults_come_from_the_environment_and_the_current_folder(monkeypatch):
    monkeypatch.setenv("AIGC_MANUAL_DIR", "somewhere")
    completed = load.options(name="digits")
    assert set(completed) == set(inspect.signature(load.options).parameters)
    assert (completed["manual_dir"], completed["data_dir"]) == ("somewhere", ".data")
    assert load.options(**completed) == completed
    assert load.options(name="digits", manual_dir="mine")["manual_dir"] == "mine"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[("image_size", 0), ("image_size", "8"), ("limit", -1), ("transpose", -1)],
        *[("channels", 2), ("context", 1.5), ("max_rejected", -0.1), ("max_rejected", 1.5)],
        *[("max_rejected", True), ("max_rejected", "0.1")],
    ],
)
def test_bad_values_are_refused_by_key(key, value):
    with pytest.raises(ValueError, match=f"data.{key} = {value!r}"):
        load.options(name="digits", **{key: value})


def test_mnist_is_prepared_from_the_original_files_and_then_needs_no_reader(manual_dir, tmp_path):
    config = {"name": "mnist", "manual_dir": str(manual_dir), "data_dir": str(tmp_path)}
    loaded = load.load(config)
    assert loaded.info == load.describe(config)
    assert np.bincount(loaded.eval.arrays["label"])[:3].tolist() == [980, 1135, 1032]
    mean = loaded.train.arrays["image"].mean() / 255
    assert abs(mean - 0.1307) < 1e-4  # the mean that everybody normalises MNIST with
    code = f"""
import sys, time
for name in ("tensorflow_datasets", "grain", "sklearn", "PIL"):
    sys.modules[name] = None
from aigc_jax.data import load
start = time.monotonic()
held = load.load({{"name": "mnist", "data_dir": {str(tmp_path)!r}}})
assert time.monotonic() - start < 3
assert held.train.arrays["image"].shape == (60000, 28, 28, 1)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
