"""The Inception network's shapes and names, without computing anything."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from aigc_jax.metrics import inception, inception_blocks


@pytest.fixture(scope="module")
def names() -> dict[str, tuple[int, ...]]:
    """{PyTorch name: shape in PyTorch} of every parameter of the network."""
    flat = traverse_util.flatten_dict(inception.shapes())
    turned = {2: (1, 0), 4: (3, 2, 0, 1)}
    return {
        inception._torch_name(place): tuple(
            leaf.shape[axis] for axis in turned.get(leaf.ndim, range(leaf.ndim))
        )
        for place, leaf in flat.items()
    }


def test_features_and_logits_have_the_published_sizes():
    images = jax.ShapeDtypeStruct((5, 32, 40, 1), jnp.float32)
    features, logits = jax.eval_shape(inception.outputs, inception.shapes(), images)
    assert features.shape == (5, inception.DIMENSIONS)
    assert logits.shape == (5, inception.CLASSES)


def test_names_and_shapes_are_those_of_the_published_file(names):
    assert len([name for name in names if name.endswith(".conv.weight")]) == 94
    assert names["Conv2d_1a_3x3.conv.weight"] == (32, 3, 3, 3)
    assert names["Mixed_5b.branch1x1.conv.weight"] == (64, 192, 1, 1)
    assert names["Mixed_6e.branch7x7dbl_5.conv.weight"] == (192, 192, 1, 7)
    assert names["Mixed_7a.branch7x7x3_4.bn.running_var"] == (192,)
    assert names["Mixed_7c.branch3x3dbl_3b.conv.weight"] == (384, 384, 3, 1)
    assert names["fc.weight"] == (1008, 2048)
    assert names["fc.bias"] == (1008,)


def test_a_file_becomes_parameters_in_our_layout(names, tmp_path):
    rng = np.random.default_rng(0)
    arrays = {name: rng.random(shape, np.float32) for name, shape in names.items()}
    np.savez(tmp_path / "w.npz", **arrays, **{"Mixed_5b.branch1x1.bn.num_batches_tracked": 3})
    params = inception.load(tmp_path / "w.npz")
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, inception.shapes())
    kernel = params["Mixed_5b"]["branch5x5_2"]["kernel"]
    theirs = arrays["Mixed_5b.branch5x5_2.conv.weight"]
    assert kernel[1, 2, 3, 4] == theirs[4, 3, 1, 2]
    assert params["fc"]["kernel"][5, 6] == arrays["fc.weight"][6, 5]


def test_files_of_other_networks_are_refused(names, tmp_path):
    empty = {name: np.zeros(shape, np.float16) for name, shape in names.items()}
    path = tmp_path / "w.npz"
    np.savez(path, **empty, **{"AuxLogits.fc.weight": np.zeros(3)})
    with pytest.raises(ValueError, match=r"w.npz: has AuxLogits.fc.weight, which"):
        inception.load(path)
    np.savez(path, **{name: v for name, v in empty.items() if "Mixed_7c" not in name})
    with pytest.raises(ValueError, match=r"has no Mixed_7c.branch1x1.bn.bias, .* and 42 more"):
        inception.load(path)
    np.savez(path, **(empty | {"fc.weight": np.zeros((1000, 2048), np.float16)}))
    with pytest.raises(ValueError, match=r"fc.weight \(2048, 1000\) in place of \(2048, 1008\)"):
        inception.load(path)


def test_images_of_other_shapes_are_refused():
    for shape in ((2, 8, 8, 4), (8, 8, 3), (0, 8, 8, 3)):
        with pytest.raises(ValueError, match="C = 1 or 3"):
            inception.apply({}, np.zeros(shape))


def test_averages_leave_padding_out():
    x = jnp.ones((1, 4, 5, 2))
    np.testing.assert_allclose(inception_blocks.average_pool(x), x, rtol=1e-6)


def test_batch_normalisation_uses_stored_statistics():
    x = jax.random.normal(jax.random.key(0), (2, 5, 6, 3))
    layer = inception_blocks.ConvNorm(4, (3, 3), 2, "VALID")
    params = layer.init(jax.random.key(1), x)["params"]
    stored = {name: jnp.linspace(0.5, 2, 4) for name in ("scale", "bias", "mean", "var")}
    found = layer.apply({"params": params | stored}, x)
    conv = nn.Conv(4, (3, 3), 2, "VALID", use_bias=False)
    y = conv.apply({"params": {"kernel": params["kernel"]}}, x)
    norm = nn.BatchNorm(use_running_average=True, epsilon=1e-3)
    variables = {
        "params": {"scale": stored["scale"], "bias": stored["bias"]},
        "batch_stats": {"mean": stored["mean"], "var": stored["var"]},
    }
    np.testing.assert_allclose(found, nn.relu(norm.apply(variables, y)), rtol=1e-4, atol=1e-5)
