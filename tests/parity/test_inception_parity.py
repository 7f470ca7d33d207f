"""Features of the Inception network and files of torch.save, against PyTorch itself."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="requirements-parity.txt has PyTorch")

import inception_twin  # noqa: E402
from flax import linen as nn  # noqa: E402

from aigc_jax.metrics import inception, torch_file  # noqa: E402

FORMATS = {"zip": True, "legacy": False}


def save(value, path, kind):
    torch.save(value, path, _use_new_zipfile_serialization=FORMATS[kind])
    return path


@pytest.fixture(scope="module")
def twin():
    model = inception_twin.Inception().eval()
    inception_twin.randomise(model)
    return model


def images(height: int, width: int, channels: int) -> np.ndarray:
    shape = (1, height, width, channels)
    return np.random.default_rng(height).uniform(-1, 1, shape).astype(np.float32)


def of_twin(twin, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    three = np.broadcast_to((image + 1) / 2, (*image.shape[:3], 3)).transpose(0, 3, 1, 2)
    with torch.no_grad():
        return [value.numpy() for value in twin(torch.from_numpy(three.copy()))]


def error(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


@pytest.mark.parametrize("kind", FORMATS)
def test_features_are_those_of_the_twin(twin, tmp_path, kind):
    params = inception.load(save(twin.state_dict(), tmp_path / "w.pth", kind))
    # Enlarged from grey, or made smaller from colour: both ways of resizing.
    image = images(28, 32, 1) if kind == "zip" else images(320, 310, 3)
    features, probabilities = inception.apply(params, image, batch=1)
    expected, logits = of_twin(twin, image)
    assert error(features, expected) < 1e-4
    unbiased = nn.softmax(logits - twin.fc.bias.detach().numpy())
    assert error(probabilities, unbiased) < 1e-4
    assert np.std(expected) > 0.05  # else equal features would say little
    if kind == "zip":
        twin.Mixed_7c.pool = inception_twin.mean_of_inside
        average, _ = of_twin(twin, image)
        twin.Mixed_7c.pool = inception_twin.Inception().Mixed_7c.pool
        assert error(features, average) > 1e-2


@pytest.mark.parametrize("kind", FORMATS)
def test_tensors_are_read_as_pytorch_holds_them(tmp_path, kind):
    base = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4)
    tensors = {
        "whole": base,
        "part": base[1:, 1:, ::2],  # offset and strides in the same storage
        "turned": base.permute(2, 0, 1),
        "half": base.half(),
        "count": torch.tensor(7),
        "bytes": torch.arange(5, dtype=torch.uint8),
        "none": torch.zeros(0, 3),
        "repeated": torch.ones(1).expand(4),
        "parameter": torch.nn.Linear(3, 2).state_dict()["weight"],
    }
    read = torch_file.load(save(tensors, tmp_path / "w.pth", kind))
    assert list(read) == list(tensors)
    for name, value in tensors.items():
        assert read[name].dtype == value.numpy().dtype
        np.testing.assert_array_equal(read[name], value.numpy())


@pytest.mark.parametrize("kind", FORMATS)
def test_files_with_more_than_a_state_dict_are_refused(tmp_path, kind):
    for value in (torch.nn.Linear(2, 2), {"state_dict": {}}, {"w": torch.zeros(2).double()}):
        with pytest.raises(ValueError, match="w.pth: not a state dict"):
            torch_file.load(save(value, tmp_path / "w.pth", kind))
