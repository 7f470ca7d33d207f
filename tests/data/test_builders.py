"""The TFDS builders prepare and serve what the original files hold, and nothing else."""

import gzip
import hashlib
import io
import tarfile

import numpy as np
import pytest

from aigc_jax.data.builders import SETS, builder, read_digits
from aigc_jax.data.download import Remote


def prepared(known, manual_dir, data_dir) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Images and labels of each split, as read back from the prepared set."""
    made = builder(known, manual_dir, data_dir)
    made.download_and_prepare()
    splits = {}
    for name, source in made.as_data_source().items():
        rows = source.__getitems__(range(len(source)))
        splits[name] = np.stack([r["image"] for r in rows]), np.array([r["label"] for r in rows])
    return splits


def same_examples(one, other) -> bool:
    """Whether two (images, labels) hold the same pairs in any order."""
    pairs = [
        sorted((image.tobytes(), int(label)) for image, label in zip(*split, strict=True))
        for split in (one, other)
    ]
    return pairs[0] == pairs[1]


def idx(array: np.ndarray) -> bytes:
    """A gzipped IDX file."""
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
    return gzip.compress(header + array.tobytes())


def with_checksums(known, folder):
    """The set with the sizes and checksums of the files in a folder."""
    files = {}
    for name, remote in known.files.items():
        data = (folder / name).read_bytes()
        files[name] = Remote(remote.url, hashlib.sha256(data).hexdigest(), len(data))
    return known._replace(files=files)


@pytest.fixture
def fashion(tmp_path):
    """(manual_dir, {split: (images, labels)}) of files laid out like Fashion-MNIST's."""
    folder, rng, splits = tmp_path / "manual" / "fashion_mnist", np.random.default_rng(0), {}
    folder.mkdir(parents=True)
    for split, prefix, count in (("train", "train", 30), ("test", "t10k", 20)):
        images = rng.integers(0, 256, (count, 28, 28), np.uint8)
        labels = rng.integers(0, 10, count).astype(np.uint8)
        (folder / f"{prefix}-images-idx3-ubyte.gz").write_bytes(idx(images))
        (folder / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(idx(labels))
        splits[split] = images[..., None], labels
    return folder.parent, splits


@pytest.fixture
def cifar10(tmp_path):
    """(manual_dir, {split: (images, labels)}) of an archive laid out like CIFAR-10's."""
    folder, rng = tmp_path / "manual", np.random.default_rng(1)
    folder.mkdir()
    parts = {"train": [], "test": []}
    with tarfile.open(folder / "cifar-10-binary.tar.gz", "w:gz") as archive:
        for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
            images = rng.integers(0, 256, (4, 32, 32, 3), np.uint8)
            labels = rng.integers(0, 10, (4, 1)).astype(np.uint8)
            records = np.concatenate([labels, images.transpose(0, 3, 1, 2).reshape(4, -1)], axis=1)
            entry = tarfile.TarInfo(f"cifar-10-batches-bin/{name}.bin")
            entry.size = records.size
            archive.addfile(entry, io.BytesIO(records.tobytes()))
            parts["test" if name == "test_batch" else "train"].append((images, labels[:, 0]))
    splits = {k: tuple(map(np.concatenate, zip(*v, strict=True))) for k, v in parts.items()}
    return folder, splits


@pytest.mark.parametrize("name", ["fashion", "cifar10"])
def test_builders_serve_the_images_of_archives_of_the_same_layout(name, request, tmp_path):
    manual_dir, splits = request.getfixturevalue(name)
    known = SETS["fashion_mnist" if name == "fashion" else name]
    nested = manual_dir / known.name
    known = with_checksums(known, nested if nested.is_dir() else manual_dir)
    served = prepared(known, manual_dir, tmp_path / "data")
    for split in ("train", "test"):
        assert served[split][0].dtype == np.uint8
        assert same_examples(served[split], splits[split])


@pytest.mark.parametrize("name", ["fashion", "cifar10"])
def test_registered_checksums_refuse_other_files(name, request, tmp_path):
    manual_dir, _ = request.getfixturevalue(name)
    known = SETS["fashion_mnist" if name == "fashion" else name]
    with pytest.raises(ValueError, match="not the registered file"):
        builder(known, manual_dir, tmp_path / "data").download_and_prepare()


def test_checksums_are_those_that_tfds_registers():
    from tensorflow_datasets.core.download import checksums

    registered = checksums.get_all_url_infos()
    for known in SETS.values():
        for remote in known.files.values():
            info = registered[remote.url]
            assert (remote.size, remote.sha256) == (info.size, info.checksum)


def test_digits_are_split_by_class_without_overlap():
    splits = {split: read_digits({}, split) for split in ("train", "test")}
    assert {k: len(v[1]) for k, v in splits.items()} == SETS["digits"].sizes
    counts = {k: np.bincount(v[1], minlength=10) for k, v in splits.items()}
    share = counts["test"] / (counts["test"] + counts["train"])
    np.testing.assert_allclose(share, 360 / 1797, atol=1 / 174)
    images = [image.tobytes() for split in splits.values() for image in split[0]]
    assert len(set(images)) == 1797


def test_digits_fill_the_range_of_bytes():
    from sklearn.datasets import load_digits

    images = np.concatenate([read_digits({}, split)[0] for split in ("train", "test")])
    assert images.shape == (1797, 8, 8, 1)
    assert (images.min(), images.max()) == (0, 255)
    np.testing.assert_allclose(images.sum() / 255, load_digits().images.sum() / 16, rtol=1e-2)


def test_prepared_digits_are_found_by_name_in_array_record(tmp_path):
    import tensorflow_datasets as tfds

    served = prepared(SETS["digits"], None, tmp_path)
    for split in ("train", "test"):
        assert same_examples(served[split], read_digits({}, split))
    found = tfds.builder("aigc_digits", data_dir=tmp_path)
    assert found.info.splits["train"].num_examples == 1437
    assert list(tmp_path.rglob("*.array_record*"))
