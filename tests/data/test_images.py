"""Image sets in memory, cached and streamed hold the same examples."""

import multiprocessing
import subprocess
import sys
import time

import numpy as np
import pytest

from aigc_jax.data import cache, images
from aigc_jax.data.builders import read_digits


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def digits(data_dir):
    return images.load(images.known("digits", None, data_dir), data_dir=data_dir)


def test_the_arrays_are_the_set(digits):
    assert digits.info.eval_split == "test"
    for split, name in ((digits.train, "train"), (digits.eval, "test")):
        pixels, labels = read_digits({}, name)
        assert split.length == len(labels) == digits.info.sizes[name]
        assert split.arrays["image"].shape == (len(labels), *digits.info.shapes["image"])
        assert split.arrays["image"].dtype == digits.info.dtypes["image"]
        assert split.arrays["label"].dtype == digits.info.dtypes["label"]
        np.testing.assert_array_equal(
            np.bincount(split.arrays["label"]), np.bincount(labels, minlength=10)
        )
        assert split.arrays["image"].sum() == pixels.sum(dtype=np.int64)


def test_gather_takes_rows(digits):
    batch = digits.train.gather(digits.train.arrays, np.array([5, 0, 5]))
    np.testing.assert_array_equal(batch["image"], digits.train.arrays["image"][[5, 0, 5]])
    np.testing.assert_array_equal(batch["label"], digits.train.arrays["label"][[5, 0, 5]])


def test_what_exceeds_memory_is_decoded_lazily_to_the_same_examples(digits, data_dir):
    origin = images.known("digits", None, data_dir)
    lazy = images.load(origin, data_dir=data_dir, image_size=12, channels=3, max_memory_gib=1e-6)
    held = images.load(origin, data_dir=data_dir, image_size=12, channels=3)
    assert lazy.train.arrays is None
    assert held.train.source is None
    assert lazy.info == held.info
    assert lazy.train.length == len(lazy.train.source) == 1437
    for i in (0, 7, 1436):
        example = lazy.train.source[i]
        assert example["image"].shape == (12, 12, 3)
        np.testing.assert_array_equal(example["image"], held.train.arrays["image"][i])
        np.testing.assert_array_equal(example["label"], held.train.arrays["label"][i])


def test_limit_takes_the_first_of_train_and_all_of_test(digits, data_dir):
    few = images.load(images.known("digits", None, data_dir), data_dir=data_dir, limit=10)
    assert few.info.sizes == {"train": 10, "test": 360}
    np.testing.assert_array_equal(few.train.arrays["image"], digits.train.arrays["image"][:10])
    np.testing.assert_array_equal(few.eval.arrays["image"], digits.eval.arrays["image"])


def test_the_second_load_needs_no_readers_and_little_time(digits, data_dir):
    code = f"""
import sys, time
for name in ("tensorflow_datasets", "grain", "sklearn", "PIL", "jax"):
    sys.modules[name] = None
from aigc_jax.data import images
start = time.monotonic()
held = images.load(images.known("digits", None, {str(data_dir)!r}), data_dir={str(data_dir)!r})
assert held.train.length == 1437
assert time.monotonic() - start < 3
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_resizing_keeps_a_constant_image_constant(channels):
    image = np.full((6, 9, 1), 200, np.uint8)
    made = images.resized(image, (5, 5, channels))
    expected = [200] * min(channels, 3) + [255] * (channels == 4)
    np.testing.assert_array_equal(made, np.broadcast_to(expected, (5, 5, channels)))


def test_resizing_keeps_the_middle_and_the_proportions():
    wide = np.zeros((4, 12, 1), np.uint8)
    wide[:, 4:8] = 255
    np.testing.assert_array_equal(images.resized(wide, (4, 4, 1)), 255)


def _make_slowly(folder, started):
    started.put(1)

    def make():
        time.sleep(0.5)
        return {"made_by": np.array(multiprocessing.current_process().pid)}

    started.put(int(cache.cached(folder, make)["made_by"]))


def test_of_processes_at_once_one_makes_the_arrays_and_all_read_them(tmp_path):
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    folder = tmp_path / "arrays" / "set"
    workers = [context.Process(target=_make_slowly, args=(folder, results)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    values = [results.get(timeout=60) for _ in range(6)]  # a worker that died says nothing
    makers = {value for value in values if value != 1}
    assert len(makers) == 1
    assert makers <= {worker.pid for worker in workers}
    assert [p.name for p in folder.parent.iterdir() if p.is_dir()] == ["set"]


def test_an_interrupted_write_is_not_taken_for_arrays(tmp_path):
    def fail():
        yield "first", np.zeros(3)
        raise KeyboardInterrupt

    class Interrupted(dict):
        def items(self):
            return fail()

    with pytest.raises(KeyboardInterrupt):
        cache.cached(tmp_path / "set", Interrupted)
    made = cache.cached(tmp_path / "set", lambda: {"whole": np.ones(3)})
    assert list(made) == ["whole"]
