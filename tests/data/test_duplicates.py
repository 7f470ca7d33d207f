"""Copies and strange files are found by hashes and features, and real digits are neither."""

import gzip
import io
import time
import tracemalloc

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from aigc_jax.data import duplicates, inspection, outliers


def png(path, pixels):
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def digits():
    """200 handwritten digits, uint8 [200, 32, 32], enlarged smoothly so that JPEG keeps them."""
    raw = (load_digits().images[:200] * 15.9).astype(np.uint8)
    enlarge = lambda x: np.asarray(Image.fromarray(x).resize((32, 32), Image.Resampling.BICUBIC))
    return np.stack([enlarge(x) for x in raw])


def test_close_hashes_are_all_pairs_within_the_radius():
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**63, 9000, np.uint64)
    for i in range(0, 9000, 90):  # some that differ in up to 6 bits
        flips = sum(1 << int(bit) for bit in rng.choice(63, i // 90 % 7, replace=False))
        hashes[(i * 7 + 13) % 9000] = hashes[i] ^ np.uint64(flips)
    found = {
        pair
        for a, b in duplicates.close(hashes, 4)
        for pair in zip(a.tolist(), b.tolist(), strict=True)
    }
    expected = set()
    for i in range(len(hashes)):
        others = np.flatnonzero(np.bitwise_count(hashes[i + 1 :] ^ hashes[i]) <= 4) + i + 1
        expected |= {(i, int(j)) for j in others}
    assert found == expected
    assert len(found) > 50


def brute_force(hashes, thumbnails, radius):
    """The definition of near copies, pair by pair."""
    found = {}
    for j in range(len(hashes)):
        for i in (i for i in range(j) if i not in found):
            both = thumbnails[i].std() and thumbnails[j].std()
            few = int(hashes[i] ^ hashes[j]).bit_count() <= radius
            if both and few and np.corrcoef(thumbnails[i], thumbnails[j])[0, 1] >= duplicates.ALIKE:
                found[j] = i
                break
    return found


@pytest.mark.parametrize("clusters", [1, 7, 150])
def test_near_copies_are_those_of_the_definition(clusters):
    rng = np.random.default_rng(clusters)
    which = rng.integers(0, clusters, 300)
    centres, codes = rng.normal(128, 40, (clusters, 256)), rng.integers(0, 2**63, clusters)
    noise = np.array([1, 3, 6])[which % 3] + rng.normal(0, 1, 300)  # some are too noisy to be near
    noisy = centres[which] + rng.normal(0, 1, (300, 256)) * noise[:, None]
    thumbnails = np.clip(noisy, 0, 255).astype(np.uint8)
    thumbnails[::40] = 7  # blank
    hashes = codes[which].astype(np.uint64) ^ (np.uint64(1) << rng.integers(0, 60, 300, np.uint64))
    found = duplicates.near(hashes, thumbnails, 2)
    assert found == brute_force(hashes, thumbnails, 2)
    assert found


@pytest.mark.parametrize(("noise", "copies"), [(2, 4999), (8, 0)])  # alike, and only almost so
def test_thousands_of_near_copies_take_little_time_and_memory(noise, copies):
    rng = np.random.default_rng(0)
    picture = rng.normal(128, 40, 256)
    thumbnails = np.clip(picture + rng.normal(0, noise, (5000, 256)), 0, 255).astype(np.uint8)
    tracemalloc.start()
    started = time.perf_counter()
    found = duplicates.near(np.zeros(5000, np.uint64), thumbnails, 4)
    seconds, peak = time.perf_counter() - started, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) == copies
    assert seconds < 15
    assert peak < 80e6


def altered(pixels, how):
    image = Image.fromarray(pixels)
    if how == "compressed":
        file = io.BytesIO()
        image.save(file, "JPEG", quality=85)
        return np.asarray(Image.open(file).convert("L"))
    if how == "brighter":
        return np.clip(pixels.astype(int) + 12, 0, 255).astype(np.uint8)
    return np.asarray(image.resize((64, 64), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("how", ["compressed", "brighter", "enlarged"])
def test_altered_copies_are_near_and_other_digits_are_not(how, digits, tmp_path):
    both = [*digits[:60], *(altered(x, how) for x in digits[:60])]
    for i, pixels in enumerate(both):
        png(tmp_path / f"{i:03}.png", pixels)
    facts = [inspection.image_facts(path) for path in sorted(tmp_path.iterdir())]
    hashes = np.array([f.hash for f in facts], np.uint64)
    found = duplicates.near(hashes, np.stack([f.thumbnail for f in facts]), 4)
    assert {j: i for j, i in found.items() if j != i + 60} == {}
    assert len(found) >= 55


def test_few_real_digits_are_taken_for_copies_or_strange(manual_dir):
    """Of 3,000 digits of MNIST, which has neither, at most one in a thousand is left out."""
    raw = gzip.decompress((manual_dir / "mnist" / "t10k-images-idx3-ubyte.gz").read_bytes())
    images = np.frombuffer(raw, np.uint8, offset=16).reshape(-1, 28, 28)[:3000]
    grey = [Image.fromarray(x) for x in images]
    box = Image.Resampling.BOX
    steps = [np.diff(np.asarray(g.resize((9, 8), box), np.int16), axis=1) for g in grey]
    hashes = [inspection._packed(s > inspection.MARGIN) for s in steps]
    thumbnails = np.stack([np.asarray(g.resize((16, 16), box)).reshape(-1) for g in grey])
    assert len(duplicates.near(np.array(hashes, np.uint64), thumbnails, 4)) <= 3
    colours = np.stack([images] * 3, axis=-1).astype(np.float32)
    features = [inspection._image_features(x, (28, 28, 1), 300) for x in colours]
    assert (outliers.scores(np.array(features)) > 0.7).sum() <= 3
