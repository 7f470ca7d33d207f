"""Points and stacked digits: modes are counted beside those of real data."""

import numpy as np
import pytest

from aigc_jax.data import points as mixtures
from aigc_jax.data.dataset import Dataset, Info, Split, rows
from aigc_jax.data.stacked import stacks
from aigc_jax.evaluation import features, points, stacked
from aigc_jax.metrics import modes


def real_points(name, count):
    mixture = mixtures.SETS[name]()
    return mixtures.draw(mixture, count, np.random.default_rng(1))["image"]


@pytest.mark.parametrize("name", ["ring", "grid"])
def test_real_points_cover_every_mode(name):
    test = real_points(name, 5000)
    found = points.findings(mixtures.SETS[name](), lambda num: test[-num:], test).metrics
    assert found["modes"].value == len(mixtures.SETS[name]().means)
    assert found["high_quality_share"].value > 0.98
    assert found["reverse_kl"].value < 0.02
    assert found["reverse_kl"].floors["test"] < 0.02


def test_half_of_the_modes_cost_log_two():
    test = real_points("ring", 5000)
    right = test[test[:, 0, 0, 0] > 0.1]  # three of the eight
    draw = lambda num: np.resize(right, (num, 1, 1, 2))
    found = points.findings(mixtures.ring(), draw, test).metrics
    assert found["modes"].value == 3
    assert found["reverse_kl"].value == pytest.approx(np.log(8 / 3), abs=0.02)


@pytest.fixture
def bars():
    """Stacks of ten kinds of "digits" that a perceptron learns in no time: one bright row each."""
    label = np.arange(400, dtype=np.int32) % 10
    image = np.zeros((400, 10, 10, 1), np.uint8)
    image[np.arange(400), label] = 255
    rng = np.random.default_rng(0)
    arrays = {"image": image, "label": label}
    splits = [
        Split(length, {**arrays, "triples": rng.integers(400, size=(length, 3))}, stacks)
        for length in (30_000, 100)
    ]
    info = Info(
        name="bars",
        sizes={"train": 30_000, "test": 100},
        eval_split="test",
        shapes={"image": (10, 10, 3), "label": ()},
        dtypes={"image": "uint8", "label": "int32"},
        num_classes=1000,
    )
    single = [Split(400, arrays, rows)] * 2
    about = info._replace(shapes={"image": (10, 10, 1), "label": ()}, num_classes=10)
    return Dataset(info, *splits, digits=Dataset(about, *single))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the judge of the digits is kept once it is trained."""
    return tmp_path_factory.mktemp("judge")


def test_modes_of_stacks_are_those_of_their_channels(bars, folder):
    def draw(num, rows=slice(None)):
        digits = np.arange(10)[rows]
        chosen = digits[np.random.default_rng(2).integers(len(digits), size=(num, 3))]
        image = -np.ones((num, 10, 10, 3), np.float32)
        at = np.arange(num)
        for channel in range(3):
            image[at, chosen[:, channel], :, channel] = 1
        return image

    found = stacked.findings(bars, folder, draw).metrics
    assert found["modes"].value == 1000
    assert found["modes_kl"].value < 0.03
    assert found["modes_kl"].samples == modes.STACKED_SAMPLES
    few = stacked.findings(bars, folder, lambda num: draw(num, slice(5))).metrics
    assert few["modes"].value == 125
    assert few["modes_kl"].value == pytest.approx(np.log(8), abs=0.01)


def test_features_of_stacks_are_those_of_their_channels(bars, folder):
    judge = stacked.judge(bars, folder)
    image = features.examples(bars.eval, np.arange(5))["image"].astype(np.float32) / 127.5 - 1
    whole, _ = judge.apply(image)
    swapped, _ = judge.apply(image[..., ::-1])
    single = whole.shape[1] // 3
    np.testing.assert_allclose(whole[:, :single], swapped[:, -single:], rtol=1e-5)
