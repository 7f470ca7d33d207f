"""The SN-ResNet GAN with self-attention of `benchmarks.speed.ours.resnet` in PyTorch.

Modules have the names of ours, so that `load` only follows them.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from benchmarks.speed import arrays
from benchmarks.speed.timed import Timed
from benchmarks.speed.twins import gan, training

LATENTS, ATTENDED, SMALLEST = 128, 32, 4
RATES, BETAS = (1e-4, 4e-4), (0.0, 0.9)


def conv(inputs: int, features: int, side: int, bias: bool = True) -> nn.Module:
    """A spectrally normalised convolution of stride 1 that keeps height and width."""
    return spectral_norm(nn.Conv2d(inputs, features, side, padding=side // 2, bias=bias))


class Attention(nn.Module):
    """x + gamma o(softmax(q k) v), keys and values from a map of half the size."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = conv(channels, channels // 8, 1, bias=False)
        self.key = conv(channels, channels // 8, 1, bias=False)
        self.value = conv(channels, channels // 2, 1, bias=False)
        self.out = conv(channels // 2, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        flat = lambda y: y.permute(0, 2, 3, 1).flatten(1, 2)  # [B, H W, C]
        q, k = flat(self.query(x)), flat(F.max_pool2d(self.key(x), 2))
        seen = F.scaled_dot_product_attention(q, k, flat(F.max_pool2d(self.value(x), 2)), scale=1.0)
        seen = seen.unflatten(1, (height, width)).permute(0, 3, 1, 2)
        return x + self.gamma * self.out(seen)


class UpBlock(nn.Module):
    """BN, ReLU, enlarge, conv, BN, ReLU, conv beside enlarge, 1x1 conv."""

    def __init__(self, inputs: int, features: int) -> None:
        super().__init__()
        self.norm_0, self.norm_1 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(features)
        self.conv_0, self.conv_1 = conv(inputs, features, 3), conv(features, features, 3)
        self.way = conv(inputs, features, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv_0(F.interpolate(F.relu(self.norm_0(x)), scale_factor=2))
        h = self.conv_1(F.relu(self.norm_1(h)))
        return h + F.interpolate(self.way(x), scale_factor=2)


class DownBlock(nn.Module):
    """ReLU, conv, ReLU, conv, halve beside 1x1 conv, halve; the first block takes pixels as is."""

    def __init__(self, inputs: int, features: int, first: bool, halve: bool) -> None:
        super().__init__()
        self.conv_0, self.conv_1 = conv(inputs, features, 3), conv(features, features, 3)
        self.way = conv(inputs, features, 1)
        self.first, self.halve = first, halve

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv_1(F.relu(self.conv_0(x if self.first else F.relu(x))))
        if not self.halve:
            return h + self.way(x)
        return F.avg_pool2d(h, 2) + self.way(F.avg_pool2d(x, 2))


class Generator(nn.Module):
    """Latents [B, 128] -> images [B, 3, H, W], by doubling a map of 4 x 4."""

    def __init__(self, size: int, width: int = 64) -> None:
        super().__init__()
        self.blocks = (size // SMALLEST).bit_length() - 1
        self.features = width * 2**self.blocks
        self.dense = spectral_norm(nn.Linear(LATENTS, SMALLEST**2 * self.features))
        for i in range(self.blocks):
            inputs, features = self.features // 2**i, self.features // 2 ** (i + 1)
            self.add_module(f"block_{i}", UpBlock(inputs, features))
            if SMALLEST * 2 ** (i + 1) == ATTENDED:
                self.attention = Attention(features)
        self.norm, self.last = nn.BatchNorm2d(width), conv(width, 3, 3)

    def forward(self, z: Tensor) -> Tensor:
        x = self.dense(z).view(-1, SMALLEST, SMALLEST, self.features).permute(0, 3, 1, 2)
        for i in range(self.blocks):
            x = self.get_submodule(f"block_{i}")(x)
            x = self.attention(x) if x.shape[2] == ATTENDED else x
        return torch.tanh(self.last(F.relu(self.norm(x))).float())


class Discriminator(nn.Module):
    """Images [B, 3, H, W] -> logits [B], by halving down to a map of 4 x 4."""

    def __init__(self, size: int, width: int = 64) -> None:
        super().__init__()
        self.halvings = (size // SMALLEST).bit_length() - 1
        for i in range(self.halvings + 1):
            inputs, features = (width * 2 ** (i - 1) if i else 3), width * 2**i
            self.add_module(f"block_{i}", DownBlock(inputs, features, i == 0, i < self.halvings))
            if size // 2 ** (i + 1) == ATTENDED:
                self.attention = Attention(features)
        self.dense = spectral_norm(nn.Linear(features, 1))

    def forward(self, x: Tensor) -> Tensor:
        for i in range(self.halvings + 1):
            x = self.get_submodule(f"block_{i}")(x)
            x = self.attention(x) if x.shape[2] == ATTENDED else x
        with torch.autocast(x.device.type, enabled=False):
            return self.dense(F.relu(x).float().sum((2, 3)))[:, 0]


def hinge(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """The discriminator's loss, E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))]."""
    return F.relu(1 - real_logits).mean() + F.relu(1 + fake_logits).mean()


def sagan(mode: str, *, size: int, batch: int, precision: str, width: int = 64) -> Timed:
    """One update of each network on images of size x size x 3."""
    training.configure(precision)
    players = Generator(size, width), Discriminator(size, width)
    rules = gan.Rules(hinge, lambda logits: -logits.mean(), LATENTS, RATES, BETAS)
    return gan.played(mode, *players, rules, arrays.images(size, 3), batch, precision)


def load(module: nn.Module, params: Mapping[str, Any]) -> None:
    """Copies the parameters of our network of the same structure, and sets the singular vectors.

    They are those that the power iterations of both sides converge to.
    """
    for name, value in params.items():
        child = getattr(module, name)
        if name == "gamma":
            child.data.fill_(float(value))
        elif "scale" in value:
            child.weight.data.copy_(_tensor(value["scale"]))
            child.bias.data.copy_(_tensor(value["bias"]))
        elif set(value) <= {"conv", "dense"}:
            _load_normalised(child, *value.values())
        else:
            load(child, value)


def _load_normalised(layer: nn.Module, params: Mapping[str, Any]) -> None:
    kernel, held = np.asarray(params["kernel"]), layer.parametrizations.weight
    order = (3, 2, 0, 1) if kernel.ndim == 4 else (1, 0)
    held.original.data.copy_(_tensor(kernel.transpose(order)))
    if "bias" in params:
        layer.bias.data.copy_(_tensor(params["bias"]))
    left, _, right = torch.linalg.svd(held.original.data.flatten(1), full_matrices=False)
    held[0]._u.copy_(left[:, 0])
    held[0]._v.copy_(right[0])


def _tensor(array: Any) -> Tensor:
    return torch.from_numpy(np.array(array))
