"""Encoders and decoders, and what a network of one's own must be to take their place.

An encoder is a Linen module called as `encoder(image, train=...)` that maps images f32 [B, H, W, C]
in [-1, 1] to [B, 2 D], D the latent dimension; if it has a field `latent_dim`, it gets D there. A
decoder, `decoder(z, train=...)`, maps z f32 [B, D] to [B, H, W, C]: logits under the Bernoulli
likelihood, means under the Gaussian one. In conditional models both are called with the labels i32
[B] as second argument. Dropout and BatchNorm may be used: `train` tells when.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from aigc_jax.layers.convolution import StridedConv, TransposedConv
from aigc_jax.layers.dense import Dense
from aigc_jax.ranges import Some, at_least, below

MIN_SIZE = 8


class MlpEncoder(nn.Module):
    """Dense layers over the flattened image: [B, H, W, C] -> [B, 2 D].

    `black` is the number that a black pixel enters with, white with 1. Saturating activations such
    as tanh learn several times faster on mostly black images when it is 0.
    """

    latent_dim: Annotated[int, at_least(1)] = 20
    hidden: Annotated[Sequence[int], at_least(1)] = (512, 256)
    activation: str = "relu"
    black: Annotated[float, below(1, -1)] = -1.0
    num_classes: int = 0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image, label=None, train=False):
        """Encodes images; `label` i32 [B] joins the pixels."""
        pixels = self.black + (1 - self.black) * (image + 1) / 2 if self.black != -1 else image
        h = _with_label(pixels.reshape(image.shape[0], -1), label, self.num_classes)
        activate = _activation(self.activation)
        for width in self.hidden:
            h = activate(Dense(width, dtype=self.dtype)(h))
        return Dense(2 * self.latent_dim, dtype=self.dtype)(h)


class MlpDecoder(nn.Module):
    """Dense layers: [B, D] -> [B, *shape]."""

    shape: Sequence[int]
    hidden: Annotated[Sequence[int], at_least(1)] = (256, 512)
    activation: str = "relu"
    num_classes: int = 0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z, label=None, train=False):
        """Decodes latents; `label` i32 [B] joins them."""
        height, width, channels = self.shape
        activate = _activation(self.activation)
        h = _with_label(z, label, self.num_classes)
        for features in self.hidden:
            h = activate(Dense(features, dtype=self.dtype)(h))
        h = Dense(height * width * channels, dtype=self.dtype)(h)
        return h.reshape(-1, height, width, channels)


class ConvEncoder(nn.Module):
    """4x4 convolutions of stride 2, one per entry of `features`, then dense: -> [B, 2 D].

    Kernels of 4: a stride-2 convolution is computed on patches of 2, which 4 fills and 3 does not.
    """

    latent_dim: Annotated[int, at_least(1)] = 20
    features: Annotated[Sequence[int], at_least(1), Some()] = (32, 64)
    hidden: Annotated[int, at_least(1)] = 256
    num_classes: int = 0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image, label=None, train=False):
        """Encodes images of 8 pixels a side or more; `label` i32 [B] joins the last map."""
        _check_size(image.shape[1:])
        h = image
        for features in self.features:
            h = nn.relu(StridedConv(features, (4, 4), (2, 2), dtype=self.dtype)(h))
        h = _with_label(h.reshape(h.shape[0], -1), label, self.num_classes)
        h = nn.relu(Dense(self.hidden, dtype=self.dtype)(h))
        return Dense(2 * self.latent_dim, dtype=self.dtype)(h)


class ConvDecoder(nn.Module):
    """Dense to a small map, then 4x4 transposed convolutions of stride 2: [B, D] -> [B, *shape].

    With L entries in `features` the map starts at ceil(size / 2^L) a side, doubles L times and is
    cropped around its centre.
    """

    shape: Sequence[int]
    features: Annotated[Sequence[int], at_least(1), Some()] = (64, 32)
    hidden: Annotated[int, at_least(1)] = 256
    num_classes: int = 0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z, label=None, train=False):
        """Decodes latents to 8 pixels a side or more; `label` i32 [B] joins them."""
        _check_size(self.shape)
        height, width, channels = self.shape
        scale = 2 ** len(self.features)
        base = (-(-height // scale), -(-width // scale), self.features[0])
        h = _with_label(z, label, self.num_classes)
        h = nn.relu(Dense(self.hidden, dtype=self.dtype)(h))
        h = nn.relu(Dense(base[0] * base[1] * base[2], dtype=self.dtype)(h))
        h = h.reshape(-1, *base)
        for features in self.features[1:]:
            h = nn.relu(TransposedConv(features, (4, 4), (2, 2), dtype=self.dtype)(h))
        h = TransposedConv(channels, (4, 4), (2, 2), dtype=self.dtype)(h)
        top, left = (h.shape[1] - height) // 2, (h.shape[2] - width) // 2
        return h[:, top : top + height, left : left + width]


def _activation(name: str) -> Callable[[jax.Array], jax.Array]:
    """The function of that name in `jax.nn`, such as "relu", "tanh" or "gelu".

    Raises:
      ValueError: there is none.
    """
    found = getattr(jax.nn, name, None)
    numbers = jax.ShapeDtypeStruct((2,), jnp.float32)
    try:
        fits = jax.eval_shape(found, numbers).shape == numbers.shape
    except (TypeError, ValueError, AttributeError):  # no function, or not of an array alone
        fits = False
    if not fits:
        raise ValueError(f"activation={name!r}: must be a function of jax.nn, such as relu or tanh")
    return found


def _with_label(h: jax.Array, label: jax.Array | None, num_classes: int) -> jax.Array:
    """Features [B, F], followed by the one-hot label [B, num_classes] if there is one.

    Raises:
      ValueError: there is a label but the network knows of no classes.
    """
    if label is None:
        return h
    if num_classes < 1:
        raise ValueError("num_classes=0: a network that gets labels needs num_classes >= 1")
    return jnp.concatenate([h, jax.nn.one_hot(label, num_classes, dtype=h.dtype)], axis=-1)


def _check_size(shape: Sequence[int]) -> None:
    """Raises ValueError when a convolutional network cannot make images of `shape` (H, W, C)."""
    if min(shape[:2]) < MIN_SIZE:
        raise ValueError(
            f"config.data.image_size: images of {shape[0]}x{shape[1]} are too small, convolutional "
            f"encoders and decoders need at least {MIN_SIZE}x{MIN_SIZE}; MlpEncoder and "
            "MlpDecoder take any size"
        )
