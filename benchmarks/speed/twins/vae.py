"""The VAEs of `aigc_jax.vae.networks` in PyTorch, and one update of encoder and decoder."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.speed import arrays
from benchmarks.speed.timed import Timed
from benchmarks.speed.twins import training

LATENTS, RATE, SIDE = 20, 1e-3, 28
LOGVAR_LIMIT = 10.0


class Mlp(nn.Module):
    """Encoder 784-512-256-40 and decoder 20-256-512-784."""

    def __init__(self) -> None:
        super().__init__()
        pixels = SIDE**2
        self.encode = nn.Sequential(
            *(nn.Flatten(), nn.Linear(pixels, 512), nn.ReLU()),
            *(nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 2 * LATENTS)),
        )
        self.decode = nn.Sequential(
            *(nn.Linear(LATENTS, 256), nn.ReLU(), nn.Linear(256, 512), nn.ReLU()),
            *(nn.Linear(512, pixels), nn.Unflatten(1, (1, SIDE, SIDE))),
        )


class ChannelsLast(nn.Module):
    """[B, C, H, W] -> [B, H, W, C]: a view of maps that lie channels-last in memory."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1)


class ChannelsFirst(nn.Module):
    """[B, H, W, C] -> [B, C, H, W], which then lies channels-last in memory."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 3, 1, 2)


class Convolutional(nn.Module):
    """4x4 convolutions of stride 2 between 1, 32 and 64 channels, and dense layers of 256."""

    def __init__(self) -> None:
        super().__init__()
        shape = (SIDE // 4, SIDE // 4, 64)
        flat = shape[0] * shape[1] * shape[2]
        self.encode = nn.Sequential(
            *(nn.Conv2d(1, 32, 4, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 4, 2, 1), nn.ReLU()),
            *(ChannelsLast(), nn.Flatten(), nn.Linear(flat, 256), nn.ReLU()),
            nn.Linear(256, 2 * LATENTS),
        )
        self.decode = nn.Sequential(
            *(nn.Linear(LATENTS, 256), nn.ReLU(), nn.Linear(256, flat), nn.ReLU()),
            *(nn.Unflatten(1, shape), ChannelsFirst(), nn.ConvTranspose2d(64, 32, 4, 2, 1)),
            *(nn.ReLU(), nn.ConvTranspose2d(32, 1, 4, 2, 1)),
        )


def mlp(mode: str, *, batch: int, precision: str) -> Timed:
    """Perceptrons."""
    return _vae(Mlp(), mode, batch, precision)


def convolutional(mode: str, *, batch: int, precision: str) -> Timed:
    """Convolutions."""
    return _vae(Convolutional(), mode, batch, precision)


def moments(model: nn.Module, image: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and log-variance [B, D] of the posterior of images [B, 1, H, W]."""
    mu, h = model.encode(image).float().chunk(2, -1)
    return mu, LOGVAR_LIMIT * torch.tanh(h / LOGVAR_LIMIT)


def negative_elbo(model: nn.Module, white: Tensor, eps: Tensor) -> Tensor:
    """The loss in nats per image for binarised images of 0 and 1, and noise eps [B, D]."""
    mu, logvar = moments(model, 2 * white - 1)
    logits = model.decode(mu + torch.exp(0.5 * logvar) * eps).float()
    distortion = F.binary_cross_entropy_with_logits(logits, white, reduction="sum")
    rate = 0.5 * (mu.square() + torch.expm1(logvar) - logvar).sum()
    return (distortion + rate) / len(white)


def _vae(model: nn.Module, mode: str, batch: int, precision: str) -> Timed:
    device = training.configure(precision)
    model = training.on_device(model, device)
    adam = training.adam(model.parameters(), RATE)
    data = training.images_on(device, arrays.images(SIDE, 1))

    def loss(raw: Tensor) -> Tensor:
        with training.autocast(device, precision):
            white = torch.bernoulli(raw.float() / 255)
            return negative_elbo(model, white, torch.randn(batch, LATENTS, device=device))

    loss = training.compiled(loss, mode)

    def step() -> None:
        adam.zero_grad(set_to_none=True)
        loss(training.drawn(data, batch)).backward()
        adam.step()

    return training.timed(step, mode, device, model)


def load(model: nn.Module, encoder: Mapping[str, Any], decoder: Mapping[str, Any]) -> None:
    """Copies the parameters of `MlpEncoder` and `MlpDecoder`, or of `ConvEncoder` and its kin."""
    for part, params in ((model.encode, encoder), (model.decode, decoder)):
        kinds = {nn.Linear: "Dense", nn.Conv2d: "StridedConv", nn.ConvTranspose2d: "TransposedConv"}
        count = dict.fromkeys(kinds.values(), 0)
        for layer in part:
            if type(layer) in kinds:
                name = kinds[type(layer)]
                _copy(layer, name, params[f"{name}_{count[name]}"])
                count[name] += 1


def _copy(layer: nn.Module, kind: str, params: Mapping[str, Any]) -> None:
    kernel = np.asarray(params["kernel"])
    turns = {
        "Dense": lambda k: k.T,
        "StridedConv": lambda k: k.transpose(3, 2, 0, 1),
        "TransposedConv": lambda k: k[::-1, ::-1].transpose(2, 3, 0, 1),
    }
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(np.ascontiguousarray(turns[kind](kernel))))
        layer.bias.copy_(torch.from_numpy(np.array(params["bias"])))
