"""The DCGAN of `aigc_jax.gan.networks` in PyTorch, and one update of each network.

"SAME" padding of a strided 5x5 convolution puts the odd zero last, PyTorch's symmetric padding
first. So that PyTorch keeps its own, fastest padding, its networks work on images turned by 180
degrees: `load` turns the kernels, and the values are the same.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.speed import arrays
from benchmarks.speed.timed import Timed
from benchmarks.speed.twins import training

LATENTS, RATE, BETAS, R1_WEIGHT = 100, 2e-4, (0.5, 0.999), 0.1


class Rules(NamedTuple):
    """How a game is played: losses of logits, sizes, and the two Adams."""

    d_loss: Callable[[Tensor, Tensor], Tensor]  # of logits of real and of generated images
    g_loss: Callable[[Tensor], Tensor]  # of logits of generated images
    latents: int
    rates: tuple[float, float]  # of the generator's and of the discriminator's Adam
    betas: tuple[float, float]
    r1_weight: float = 0.0  # 0: no penalty


class Generator(nn.Module):
    """Latents [B, 100] -> images [B, C, H, W] of a size that 4 divides."""

    def __init__(self, size: int, channels: int) -> None:
        super().__init__()
        if size % 4:
            raise ValueError(f"size={size}: the twin's images must be a multiple of 4 wide")
        self.base = size // 4
        self.dense = nn.Linear(LATENTS, 128 * self.base**2, bias=False)
        self.first = nn.ConvTranspose2d(128, 128, 5, 1, 2, bias=False)
        self.second = nn.ConvTranspose2d(128, 64, 5, 2, 2, 1, bias=False)
        self.last = nn.ConvTranspose2d(64, channels, 5, 2, 2, 1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in (128, 128, 64))

    def forward(self, z: Tensor) -> Tensor:
        x = self.dense(z).view(-1, self.base, self.base, 128).permute(0, 3, 1, 2)  # channels-last
        x = F.relu(self.norms[0](x))
        x = F.relu(self.norms[1](self.first(x)))
        x = F.relu(self.norms[2](self.second(x)))
        return torch.tanh(self.last(x).float())


class Discriminator(nn.Module):
    """Images [B, C, H, W] -> logits [B]."""

    def __init__(self, size: int, channels: int, dropout: float = 0.3) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, 64, 5, 2, 2)
        self.second = nn.Conv2d(64, 128, 5, 2, 2)
        self.dropout = nn.Dropout(dropout)
        self.dense = nn.Linear(128 * (size // 4) ** 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.first, self.second):
            x = self.dropout(F.leaky_relu(layer(x), 0.01))
        with torch.autocast(x.device.type, enabled=False):
            return self.dense(x.permute(0, 2, 3, 1).flatten(1).float())[:, 0]


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """The non-saturating game's loss of the discriminator, in nats."""
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def r1(logits: Tensor, real: Tensor) -> Tensor:
    """Half the squared norm of the logits' gradient at real images, a mean."""
    (gradient,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
    return 0.5 * gradient.square().sum((1, 2, 3)).mean()


def generator_loss(fake_logits: Tensor) -> Tensor:
    """The non-saturating game's loss of the generator, in nats."""
    return F.softplus(-fake_logits).mean()


def dcgan(
    mode: str, *, size: int, channels: int, batch: int, precision: str, penalty: str | None = None
) -> Timed:
    """One update of the discriminator, with `penalty` "r1" or None, and one of the generator."""
    training.configure(precision)
    players = Generator(size, channels), Discriminator(size, channels)
    weight = R1_WEIGHT if penalty else 0.0
    rules = Rules(discriminator_loss, generator_loss, LATENTS, (RATE, RATE), BETAS, weight)
    return played(mode, *players, rules, arrays.images(size, channels), batch, precision)


def played(
    mode: str,
    generator: nn.Module,
    discriminator: nn.Module,
    rules: Rules,
    images: np.ndarray,
    batch: int,
    precision: str,
) -> Timed:
    """A game on images uint8 [N, H, W, C]; one step is one update of each player."""
    device = training.configure(precision)
    generator, discriminator = (
        training.on_device(player, device) for player in (generator, discriminator)
    )
    g_adam = training.adam(generator.parameters(), rules.rates[0], rules.betas)
    d_adam = training.adam(discriminator.parameters(), rules.rates[1], rules.betas)
    data, judging = training.images_on(device, images), list(discriminator.parameters())
    latents = lambda: torch.randn(batch, rules.latents, device=device)
    penalised = rules.r1_weight > 0

    def d_loss(raw: Tensor) -> Tensor:
        with training.autocast(device, precision):
            real = training.scaled(raw.float().requires_grad_(penalised))
            with torch.no_grad():
                fake = generator(latents())
            real_logits, fake_logits = judged(discriminator, real, fake, penalised)
            loss = rules.d_loss(real_logits, fake_logits)
            return loss + rules.r1_weight * r1(real_logits, real) if penalised else loss

    def g_loss() -> Tensor:
        with training.autocast(device, precision):
            return rules.g_loss(discriminator(generator(latents())))

    d_loss, g_loss = training.compiled(d_loss, mode), training.compiled(g_loss, mode)

    def step() -> None:
        discriminator.requires_grad_(True)
        d_adam.zero_grad(set_to_none=True)
        d_loss(training.drawn(data, batch)).backward(inputs=judging)  # and not to real images
        d_adam.step()
        discriminator.requires_grad_(False)
        g_adam.zero_grad(set_to_none=True)
        g_loss().backward()
        g_adam.step()

    return training.timed(step, mode, device, generator, discriminator)


def judged(
    discriminator: nn.Module, real: Tensor, fake: Tensor, apart: bool
) -> tuple[Tensor, Tensor]:
    """The logits of both; together on a GPU, where launches cost, unless they must be `apart`."""
    if apart or real.device.type == "cpu":
        return discriminator(real), discriminator(fake)
    return discriminator(torch.cat([real, fake])).chunk(2)


def load_generator(model: Generator, params: Mapping[str, Any]) -> None:
    """Copies the parameters of a `DcganGenerator`."""
    with torch.no_grad():
        base = model.base
        dense = params["Dense_0"]["kernel"].reshape(LATENTS, base, base, 128)
        model.dense.weight.copy_(_tensor(dense[:, ::-1, ::-1].reshape(LATENTS, -1).T))
        for i, layer in enumerate((model.first, model.second, model.last)):
            kernel = params[f"TransposedConv_{i}"]["kernel"]
            layer.weight.copy_(_tensor(kernel.transpose(2, 3, 0, 1)))
        model.last.bias.copy_(_tensor(params["TransposedConv_2"]["bias"]))
        for i, norm in enumerate(model.norms):
            norm.weight.copy_(_tensor(params[f"BatchNorm_{i}"]["scale"]))
            norm.bias.copy_(_tensor(params[f"BatchNorm_{i}"]["bias"]))


def load_discriminator(model: Discriminator, params: Mapping[str, Any]) -> None:
    """Copies the parameters of a `DcganDiscriminator`."""
    with torch.no_grad():
        for i, layer in enumerate((model.first, model.second)):
            kernel = params[f"StridedConv_{i}"]["kernel"]
            layer.weight.copy_(_tensor(kernel[::-1, ::-1].transpose(3, 2, 0, 1)))
            layer.bias.copy_(_tensor(params[f"StridedConv_{i}"]["bias"]))
        kernel = params["Dense_0"]["kernel"]
        side = int((len(kernel) // 128) ** 0.5)
        turned = kernel.reshape(side, side, 128)[::-1, ::-1]
        model.dense.weight.copy_(_tensor(turned.reshape(1, -1)))
        model.dense.bias.copy_(_tensor(params["Dense_0"]["bias"]))


def _tensor(array: Any) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))
