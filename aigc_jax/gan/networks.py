"""Generators and discriminators: multilayer perceptrons and DCGAN.

Any Linen module with one of these two call signatures takes part in the game:

- `generator(z f32 [B, latent_dim], label i32 [B] or None, train) -> images f32 [B, H, W, C]` in
  [-1, 1];
- `discriminator(x f32 [B, H, W, C], label i32 [B] or None, train) -> logits f32 [B]`, positive for
  real. It may draw dropout masks from the stream "dropout".

`label` is None when the game is unconditional. With labels, generators here append a learned
embedding to z, and discriminators add the projection <e_y, h> of their last features h to the logit
(Miyato & Koyama, arXiv 1802.05637). Parameters, statistics and outputs are float32; `dtype` is what
the layers compute in.
"""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from aigc_jax.layers.convolution import StridedConv, TransposedConv
from aigc_jax.layers.dense import Dense
from aigc_jax.ranges import at_least, below, needs

SMALLEST = 8


class MlpGenerator(nn.Module):
    """Dense layers with LeakyReLU 0.2, then tanh, for images of any `shape` (H, W, C)."""

    shape: tuple[int, int, int]
    num_classes: int = 0
    widths: Annotated[Sequence[int], at_least(1)] = (256, 512)
    label_features: Annotated[int, at_least(1), needs("conditional")] = 32
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z: jax.Array, label: jax.Array | None = None, train: bool = False):
        """Latents z [B, latent_dim] -> images [B, H, W, C] in [-1, 1]."""
        height, width, channels = self.shape
        x = _with_label(self, z, label)
        for features in self.widths:
            x = nn.leaky_relu(Dense(features, dtype=self.dtype)(x), 0.2)
        x = Dense(height * width * channels, dtype=self.dtype)(x)
        return jnp.tanh(x.astype(jnp.float32)).reshape(-1, height, width, channels)


class MlpDiscriminator(nn.Module):
    """Dense layers with LeakyReLU 0.2 and dropout, for images of any size."""

    num_classes: int = 0
    widths: Annotated[Sequence[int], at_least(1)] = (512, 256)
    dropout: Annotated[float, below(1)] = 0.3
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, label: jax.Array | None = None, train: bool = False):
        """Images x [B, H, W, C] -> logits [B]."""
        x = x.reshape(x.shape[0], -1)
        for features in self.widths:
            x = nn.leaky_relu(Dense(features, dtype=self.dtype)(x), 0.2)
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return _logits(self, x, label)


class DcganGenerator(nn.Module):
    """DCGAN (Radford et al., arXiv 1511.06434) as introductory articles build it.

    A dense layer to a map of ceil(H / 4) x ceil(W / 4), transposed 5x5 convolutions with strides 1,
    2 and 2, batch normalisation and ReLU between them, tanh; the centre of the result is the image.
    `widths` are the channels of the maps before the last. `axis_name` names the axis over which
    batch statistics are averaged under `pmap`. Raises ValueError for images smaller than 8 x 8.
    """

    shape: tuple[int, int, int]
    num_classes: int = 0
    widths: Annotated[tuple[int, int, int], at_least(1)] = (128, 128, 64)
    label_features: Annotated[int, at_least(1), needs("conditional")] = 32
    dtype: Any = jnp.float32
    axis_name: str | None = None

    def __post_init__(self):
        _check_size("DcganGenerator", self.shape)
        super().__post_init__()

    @nn.compact
    def __call__(self, z: jax.Array, label: jax.Array | None = None, train: bool = False):
        """Latents z [B, latent_dim] -> images [B, H, W, C] in [-1, 1]."""
        height, width, channels = self.shape
        base = (-(-height // 4), -(-width // 4))
        norm = partial(
            nn.BatchNorm, not train, momentum=0.9, dtype=self.dtype, axis_name=self.axis_name
        )
        conv = partial(TransposedConv, kernel_size=(5, 5), dtype=self.dtype)
        first, second, third = self.widths

        x = _with_label(self, z, label)
        x = Dense(base[0] * base[1] * first, use_bias=False, dtype=self.dtype)(x)
        x = nn.relu(norm()(x.reshape(-1, *base, first)))
        x = nn.relu(norm()(conv(second, strides=(1, 1), use_bias=False)(x)))
        x = nn.relu(norm()(conv(third, strides=(2, 2), use_bias=False)(x)))
        x = conv(channels, strides=(2, 2))(x)  # [B, 4 base_h, 4 base_w, C]
        top, left = (x.shape[1] - height) // 2, (x.shape[2] - width) // 2
        return jnp.tanh(x[:, top : top + height, left : left + width].astype(jnp.float32))


class DcganDiscriminator(nn.Module):
    """5x5 convolutions with stride 2, LeakyReLU 0.01 and dropout 0.3, then one dense logit.

    Without batch normalisation, so that every gradient penalty may be used with it. Raises
    ValueError for images smaller than 8 x 8.
    """

    shape: tuple[int, int, int]
    num_classes: int = 0
    widths: Annotated[Sequence[int], at_least(1)] = (64, 128)
    dropout: Annotated[float, below(1)] = 0.3
    dtype: Any = jnp.float32

    def __post_init__(self):
        _check_size("DcganDiscriminator", self.shape)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: jax.Array, label: jax.Array | None = None, train: bool = False):
        """Images x [B, H, W, C] -> logits [B]."""
        for features in self.widths:
            x = StridedConv(features, (5, 5), (2, 2), dtype=self.dtype)(x)
            x = nn.Dropout(self.dropout, deterministic=not train)(nn.leaky_relu(x, 0.01))
        return _logits(self, x.reshape(x.shape[0], -1), label)


def _check_size(name: str, shape: Sequence[int]) -> None:
    if min(shape[:2]) < SMALLEST:
        raise ValueError(
            f"config.data.image_size: images of {shape[0]}x{shape[1]} are too small for {name}, "
            f"height and width must be at least {SMALLEST}, since it works on a map of a quarter "
            "of the size; MlpGenerator and MlpDiscriminator take any size"
        )


def _with_label(module: nn.Module, z: jax.Array, label: jax.Array | None) -> jax.Array:
    """[B, latent_dim] -> [B, latent_dim + label_features], or z itself without labels."""
    if label is None:
        return z
    embedded = nn.Embed(module.num_classes, module.label_features)(label)
    return jnp.concatenate([z, embedded], axis=-1).astype(module.dtype)


def _logits(module: nn.Module, h: jax.Array, label: jax.Array | None) -> jax.Array:
    """Logits f32 [B] of features h [B, F]: phi(h), with labels phi(h) + <e_y, h>."""
    h = h.astype(jnp.float32)
    logits = nn.Dense(1)(h)[:, 0]
    if label is None:
        return logits
    return logits + jnp.sum(nn.Embed(module.num_classes, h.shape[-1])(label) * h, axis=-1)
