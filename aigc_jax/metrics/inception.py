"""Inception-v3 with the weights of the FID, from a file that the user has.

The network of TensorFlow's graph of 2015-12-05, whose weights the FID and the Inception Score are
defined by (Heusel et al., arXiv 1706.08500; Salimans et al., arXiv 1606.03498), as they were put
into a PyTorch state dict, `pt_inception-2015-12-05-6726825d.pth` of pytorch-fid. Only with these
weights is a Fréchet distance called FID. Images are resized to 299 x 299 as pytorch-fid does it,
bilinearly and without a filter against aliasing; other resizing gives another score.
"""

import os
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from aigc_jax.metrics import torch_file
from aigc_jax.metrics.inception_blocks import (
    BlockA,
    BlockB,
    BlockC,
    BlockD,
    BlockE,
    ConvNorm,
    shrink,
)

Params = Any
SIDE, DIMENSIONS, CLASSES = 299, 2048, 1008
# Parameters of a layer -> PyTorch's names of them.
IN_TORCH = {
    "kernel": "conv.weight",
    "scale": "bn.weight",
    "bias": "bn.bias",
    "mean": "bn.running_mean",
    "var": "bn.running_var",
}
IN_TORCH_HEAD = {"kernel": "weight", "bias": "bias"}
SHOWN = 3  # names in an error


class Inception(nn.Module):
    """Images [B, 299, 299, 3] in [-1, 1] -> (features f32 [B, 2048], logits f32 [B, 1008])."""

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        x = ConvNorm(32, (3, 3), 2, "VALID", name="Conv2d_1a_3x3")(x)
        x = ConvNorm(32, (3, 3), 1, "VALID", name="Conv2d_2a_3x3")(x)
        x = shrink(ConvNorm(64, (3, 3), name="Conv2d_2b_3x3")(x))
        x = ConvNorm(80, name="Conv2d_3b_1x1")(x)
        x = shrink(ConvNorm(192, (3, 3), 1, "VALID", name="Conv2d_4a_3x3")(x))
        for letter, pooled in zip("bcd", (32, 64, 64), strict=True):
            x = BlockA(pooled, name=f"Mixed_5{letter}")(x)
        x = BlockB(name="Mixed_6a")(x)
        for letter, width in zip("bcde", (128, 160, 160, 192), strict=True):
            x = BlockC(width, name=f"Mixed_6{letter}")(x)
        x = BlockD(name="Mixed_7a")(x)
        x = BlockE(False, name="Mixed_7b")(x)
        x = BlockE(True, name="Mixed_7c")(x)
        features = x.mean((1, 2))
        return features, nn.Dense(CLASSES, precision="highest", name="fc")(features)


def shapes() -> Params:
    """The network's parameters in the abstract; nothing is computed."""
    image = jnp.zeros((1, SIDE, SIDE, 3))
    return jax.eval_shape(Inception().init, jax.random.key(0), image)["params"]


def _torch_name(path: tuple[str, ...]) -> str:
    names = IN_TORCH_HEAD if path[0] == "fc" else IN_TORCH
    return ".".join((*path[:-1], names[path[-1]]))


def _from_torch(array: np.ndarray) -> np.ndarray:
    """Kernels OIHW -> HWIO, matrices OI -> IO, vectors as they are."""
    if array.ndim == 4:
        return array.transpose(2, 3, 1, 0)
    return array.T


def _list(names: set[str]) -> str:
    shown = sorted(names)[:SHOWN]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(shown) + more


def _check_names(path: str | os.PathLike, expected: set[str], found: set[str]) -> None:
    lacking, unknown = expected - found, found - expected
    if lacking or unknown:
        parts = [f"has no {_list(lacking)}"] * bool(lacking)
        parts += [f"has {_list(unknown)}, which the network has not"] * bool(unknown)
        raise ValueError(
            f"{path}: {'; '.join(parts)}: not the Inception-v3 of the FID, "
            "pt_inception-2015-12-05-6726825d.pth"
        )


def _check_shapes(path: str | os.PathLike, found: Mapping, expected: Mapping) -> None:
    wrong = {
        f"{name} {found[name].shape} in place of {shape}"
        for name, shape in expected.items()
        if found[name].shape != shape
    }
    if wrong:
        raise ValueError(f"{path}: {_list(wrong)}: other shapes than the Inception-v3 of the FID")


def load(path: str | os.PathLike) -> Params:
    """The network's parameters from a PyTorch state dict or an .npz file with its names.

    Counters of batches, which inference does not need, are passed over.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is no state dict, or its names or shapes are not the network's.
    """
    read = torch_file.load(path)
    arrays = {name: v for name, v in read.items() if not name.endswith(".num_batches_tracked")}
    flat = traverse_util.flatten_dict(shapes())
    names = {place: _torch_name(place) for place in flat}
    _check_names(path, set(names.values()), set(arrays))
    arrays = {name: _from_torch(array) for name, array in arrays.items()}
    _check_shapes(path, arrays, {names[place]: leaf.shape for place, leaf in flat.items()})
    params = {place: jnp.asarray(arrays[name], jnp.float32) for place, name in names.items()}
    return traverse_util.unflatten_dict(params)


def resized(images: jax.Array) -> jax.Array:
    """Images [B, H, W, 1 or 3] as [B, 299, 299, 3]: grey ones with three equal channels.

    Bilinear between pixel centres, without a filter where it makes images smaller.
    """
    images = jnp.broadcast_to(images, (*images.shape[:3], 3))
    return jax.image.resize(images, (len(images), SIDE, SIDE, 3), "bilinear", antialias=False)


@jax.jit
def outputs(params: Params, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Features f32 [B, 2048] and logits f32 [B, 1008] of images [B, H, W, C] in [-1, 1]."""
    return Inception().apply({"params": params}, resized(images))


def apply(params: Params, images: np.ndarray, batch: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Features f32 [N, 2048] and class probabilities f32 [N, 1008] of images in [-1, 1].

    The features are the last average pool's. The probabilities are the softmax of the logits less
    their bias, which the published Inception Score leaves out.

    Args:
      params: from `load`.
      images: f32 [N, H, W, C] with one or three channels.
      batch: images that are computed at once.

    Raises:
      ValueError: the images have another number of channels, or there are none.
    """
    images = np.asarray(images, np.float32)
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or not len(images):
        raise ValueError(f"images {images.shape}: must be [N, H, W, C] with C = 1 or 3")
    parts = []
    for start in range(0, len(images), batch):
        rows = np.minimum(np.arange(start, start + batch), len(images) - 1)
        features, logits = outputs(params, images[rows])
        probabilities = nn.softmax(logits - params["fc"]["bias"])
        parts.append([np.asarray(x)[: len(images) - start] for x in (features, probabilities)])
    features, probabilities = (np.concatenate(x) for x in zip(*parts, strict=True))
    return features, probabilities
