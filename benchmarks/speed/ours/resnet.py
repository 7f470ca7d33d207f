"""Our SN-ResNet GAN with self-attention, of SAGAN's size, as a user's own networks.

Zhang et al., arXiv 1805.08318, without labels: residual blocks with spectral normalisation in both
players, attention on maps of 32 x 32, hinge loss, and two learning rates.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from benchmarks.speed import arrays
from benchmarks.speed.ours import program
from benchmarks.speed.timed import Timed

LATENTS, ATTENDED, SMALLEST = 128, 32, 4  # z, and the sides of the map with attention and the first


class Conv(nn.Module):
    """A spectrally normalised convolution of stride 1 that keeps height and width."""

    features: int
    side: int
    use_bias: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, features]."""
        size = (self.side, self.side)
        layer = nn.Conv(self.features, size, use_bias=self.use_bias, dtype=self.dtype, name="conv")
        return nn.SpectralNorm(layer)(x, update_stats=train)


class Dense(nn.Module):
    """A spectrally normalised dense layer."""

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B, F] -> [B, features]."""
        layer = nn.Dense(self.features, dtype=self.dtype, name="dense")
        return nn.SpectralNorm(layer)(x, update_stats=train)


class Attention(nn.Module):
    """x + gamma o(softmax(q k) v), keys and values from a map of half the size."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, C]."""
        (batch, height, width, channels), conv = x.shape, partial(Conv, side=1, use_bias=False)
        flat = lambda y: y.reshape(batch, -1, y.shape[-1])
        q = flat(conv(channels // 8, dtype=self.dtype, name="query")(x, train))
        k = flat(_halved(conv(channels // 8, dtype=self.dtype, name="key")(x, train), nn.max_pool))
        v = flat(
            _halved(conv(channels // 2, dtype=self.dtype, name="value")(x, train), nn.max_pool)
        )
        weights = jnp.einsum("bqc,bkc->bqk", q, k).astype(jnp.float32)
        weights = jax.nn.softmax(weights).astype(self.dtype)
        seen = jnp.einsum("bqk,bkc->bqc", weights, v).reshape(batch, height, width, -1)
        gamma = self.param("gamma", nn.initializers.zeros_init(), ())
        seen = conv(channels, dtype=self.dtype, name="out")(seen, train)
        return x + gamma.astype(self.dtype) * seen


class UpBlock(nn.Module):
    """BN, ReLU, enlarge, conv, BN, ReLU, conv beside enlarge, 1x1 conv."""

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, 2 H, 2 W, features]."""
        norm = partial(nn.BatchNorm, not train, momentum=0.9, dtype=self.dtype)
        conv = partial(Conv, self.features, dtype=self.dtype)
        h = _doubled(nn.relu(norm(name="norm_0")(x)))
        h = conv(side=3, name="conv_0")(h, train)
        h = conv(side=3, name="conv_1")(nn.relu(norm(name="norm_1")(h)), train)
        return h + _doubled(conv(side=1, name="way")(x, train))


class DownBlock(nn.Module):
    """ReLU, conv, ReLU, conv, halve beside 1x1 conv, halve; the first block takes pixels as is."""

    features: int
    first: bool = False
    halve: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, H / 2, W / 2, features], or of the same size."""
        conv = partial(Conv, self.features, dtype=self.dtype)
        h = conv(side=3, name="conv_0")(x if self.first else nn.relu(x), train)
        h = conv(side=3, name="conv_1")(nn.relu(h), train)
        way = conv(side=1, name="way")
        if not self.halve:
            return h + way(x, train)
        return _halved(h, nn.avg_pool) + way(_halved(x, nn.avg_pool), train)


class Generator(nn.Module):
    """Latents [B, 128] -> images [B, H, W, C], by doubling a map of 4 x 4."""

    shape: tuple[int, int, int]
    width: int = 64
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z: jax.Array, label: jax.Array | None = None, train: bool = False):
        """Images in [-1, 1]; without labels."""
        blocks = (self.shape[0] // SMALLEST).bit_length() - 1
        features = self.width * 2**blocks
        x = Dense(SMALLEST**2 * features, self.dtype, name="dense")(z, train)
        x = x.reshape(-1, SMALLEST, SMALLEST, features)
        for i in range(blocks):
            x = UpBlock(features // 2 ** (i + 1), self.dtype, name=f"block_{i}")(x, train)
            if x.shape[1] == ATTENDED:
                x = Attention(self.dtype, name="attention")(x, train)
        x = nn.relu(nn.BatchNorm(not train, momentum=0.9, dtype=self.dtype, name="norm")(x))
        x = Conv(self.shape[2], 3, dtype=self.dtype, name="last")(x, train)
        return jnp.tanh(x.astype(jnp.float32))


class Discriminator(nn.Module):
    """Images [B, H, W, C] -> logits [B], by halving down to a map of 4 x 4."""

    width: int = 64
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, label: jax.Array | None = None, train: bool = False):
        """Logits; without labels."""
        halvings = (x.shape[1] // SMALLEST).bit_length() - 1
        for i in range(halvings + 1):
            shape = {"first": i == 0, "halve": i < halvings}
            block = DownBlock(self.width * 2**i, **shape, dtype=self.dtype, name=f"block_{i}")
            x = block(x, train)
            if x.shape[1] == ATTENDED:
                x = Attention(self.dtype, name="attention")(x, train)
        x = nn.relu(x).astype(jnp.float32).sum((1, 2))
        return Dense(1, name="dense")(x, train)[:, 0]


def _doubled(x: jax.Array) -> jax.Array:
    """Every pixel four times."""
    return x.repeat(2, axis=1).repeat(2, axis=2)


def _halved(x: jax.Array, pool: Any) -> jax.Array:
    return pool(x, (2, 2), (2, 2))


def sagan(*, size: int, batch: int, precision: str, width: int = 64) -> Timed:
    """One update of each network on images of size x size x 3."""
    names = {name: f"{__name__}:{name.capitalize()}" for name in ("generator", "discriminator")}
    algorithm = {"name": "gan", "loss": "hinge", "latent_dim": LATENTS, **names}
    algorithm |= {f"{name}_args": {"width": width} for name in names}
    rates = {"generator": 1e-4, "discriminator": 4e-4}
    adams = {name: {"learning_rate": rate, "b1": 0.0} for name, rate in rates.items()}
    adams = {name: {**adam, "b2": 0.9} for name, adam in adams.items()}
    config = {"algorithm": algorithm, "optimizer": adams, "batch_size": batch}
    return program.timed(config, program.dataset_of_images(arrays.images(size, 3)), precision, 10)
