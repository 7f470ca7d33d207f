"""Stacked MNIST: every channel is a digit, every label its number."""

import jax
import numpy as np
import pytest

from aigc_jax.data import load, stacked

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 1)).astype(np.uint8)
ARRAYS = {
    "image": PIXELS,
    "label": np.array([7, 0, 9, 3, 5, 1], np.int32),
    "triples": np.array([[0, 2, 4], [5, 5, 3], [1, 0, 2]], np.int32),
}


@pytest.mark.parametrize("compiled", [False, True])
def test_a_stack_is_three_digits_and_their_number(compiled):
    gather = jax.jit(stacked.stacks) if compiled else stacked.stacks
    batch = gather(ARRAYS, np.array([1, 0]))
    assert (batch["image"].shape, batch["image"].dtype) == ((2, 4, 4, 3), np.uint8)
    for row, triple in enumerate(ARRAYS["triples"][[1, 0]]):
        for channel, digit in enumerate(triple):
            np.testing.assert_array_equal(batch["image"][row, ..., channel], PIXELS[digit, ..., 0])
    assert batch["label"].tolist() == [113, 795]
    assert batch["label"].dtype == np.int32


def test_it_is_described_without_files(tmp_path):
    config = {"name": "stacked_mnist", "data_dir": str(tmp_path), "image_size": 14, "limit": 500}
    info = load.describe(config)
    assert info.shapes == {"image": (14, 14, 3), "label": ()}
    assert info.sizes == {"train": 500, "test": 10_000}
    assert (info.num_classes, info.dtypes["image"]) == (1000, "uint8")
    assert info.fingerprint["sha256"]
    with pytest.raises(ValueError, match=r"data\.channels = 1: .*3 and None"):
        load.describe({**config, "channels": 1})
    assert not list(tmp_path.iterdir())


def test_all_thousand_numbers_come_from_mnist_held_once(manual_dir, tmp_path):
    config = {"name": "stacked_mnist", "manual_dir": str(manual_dir), "data_dir": str(tmp_path)}
    loaded = load.load(config)
    assert loaded.info == load.describe(config)
    assert loaded.train.length == 128_000
    assert loaded.train.arrays["image"].shape == (60_000, 28, 28, 1)
    assert loaded.eval.arrays["image"].shape == (10_000, 28, 28, 1)
    labels = loaded.train.gather(loaded.train.arrays, np.arange(1000))["label"]
    digits = loaded.train.arrays["label"][loaded.train.arrays["triples"]]
    assert len(np.unique(digits @ [100, 10, 1])) == 1000
    np.testing.assert_array_equal(labels, digits[:1000] @ [100, 10, 1])
    again = load.load({**config, "limit": 100})
    assert again.train.length == 100
    for one, other in ((again.train, loaded.train), (again.eval, loaded.eval)):
        triples = one.arrays["triples"]
        np.testing.assert_array_equal(triples, other.arrays["triples"][: len(triples)])
    with pytest.raises(ValueError, match=r"data\.max_memory_gib = 0\.001: .*made in memory"):
        load.load({**config, "max_memory_gib": 0.001})
