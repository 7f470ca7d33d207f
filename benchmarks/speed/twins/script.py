"""A PyTorch training script: the perceptron VAE on dynamically binarised images, to a fixed step.

    python -m benchmarks.speed.twins.script --arrays=FOLDER --out=FOLDER --steps=5000

It does what `train.py` does on the same config: rows of metrics, and at every evaluation (of the
whole test split, one z per image) a grid of samples and one of reconstructions as PNG; at the end a
checkpoint. Rows of `metrics.jsonl` in --out are {"step", "split", "time", "elbo"}, nats per image.
"""

import argparse
import json
import pathlib
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.speed.twins import training, vae

EVALUATED = 1000  # images at a time
SHOWN = 64
# A normal distribution cut at two standard deviations is narrower by this factor.
CUT = 0.87962566103423978


def parse(argv: list[str]) -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arrays", type=pathlib.Path, required=True, help="train.npy, test.npy")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--mode", default="eager", choices=("eager", "compile"))
    for name, default in (("steps", 5000), ("eval_every", 500), ("log_every", 500)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(argv)


def initialise(model: nn.Module) -> None:
    """Weights as Flax draws them: variance 1 / inputs, cut at two deviations; biases 0."""
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            deviation = layer.in_features**-0.5 / CUT
            nn.init.trunc_normal_(layer.weight, 0.0, deviation, -2 * deviation, 2 * deviation)
            nn.init.zeros_(layer.bias)


def batches(length: int, batch: int, device: torch.device) -> Iterator[Tensor]:
    """Endless indices [batch]: every example once in an epoch, a batch may span two."""
    left = torch.randperm(length, device=device)
    while True:
        while len(left) < batch:
            left = torch.cat([left, torch.randperm(length, device=device)])
        yield left[:batch]
        left = left[batch:]


def loss_of(model: nn.Module, raw: Tensor) -> Tensor:
    """The negative ELBO of uint8 images [B, 1, H, W], nats per image."""
    white = torch.bernoulli(raw.float() / 255)
    eps = torch.randn(len(raw), vae.LATENTS, device=raw.device)
    return vae.negative_elbo(model, white, eps)


@torch.no_grad()
def evaluate(model: nn.Module, images: Tensor) -> float:
    """The negative ELBO over all the images."""
    parts = [loss_of(model, part) * len(part) for part in images.split(EVALUATED)]
    return float(torch.stack(parts).sum() / len(images))


@torch.no_grad()
def show(model: nn.Module, images: Tensor, folder: pathlib.Path, step: int) -> None:
    """Writes a grid of samples, and one of images that are reconstructed."""
    z = torch.randn(SHOWN, vae.LATENTS, device=images.device)
    mu, _ = vae.moments(model, training.scaled(images[: SHOWN // 2]))
    for name, latent in (("samples", z), ("reconstructions", mu)):
        write_grid(folder / f"{name}_{step:07d}.png", torch.sigmoid(model.decode(latent)))


def write_grid(path: pathlib.Path, images: Tensor) -> None:
    """Images [N, 1, H, W] in [0, 1] as a PNG, eight in a row."""
    from PIL import Image

    grid = images.unflatten(0, (-1, 8)).squeeze(2).permute(0, 2, 1, 3).flatten(2).flatten(0, 1)
    Image.fromarray((255 * grid).round().byte().cpu().numpy()).save(path)


def write_row(file: Any, step: int, split: str, elbo: float) -> None:
    """One line of metrics, on disk at once."""
    row = {"step": step, "split": split, "time": round(time.time(), 3), "elbo": elbo}
    print(json.dumps(row), file=file, flush=True)


def train(flags: argparse.Namespace) -> None:
    """Trains to the last step, with rows, evaluations, pictures and a checkpoint."""
    device = training.configure("float32")
    torch.manual_seed(flags.seed)
    data, held_out = (
        training.images_on(device, np.load(flags.arrays / f"{split}.npy"))
        for split in ("train", "test")
    )
    model = vae.Mlp()
    initialise(model)
    model = training.on_device(model, device)
    adam = training.adam(model.parameters(), flags.rate)
    loss = training.compiled(loss_of, flags.mode)
    flags.out.mkdir(parents=True, exist_ok=True)
    with (flags.out / "metrics.jsonl").open("w") as file:
        for step, rows in enumerate(batches(len(data), flags.batch, device), 1):
            adam.zero_grad(set_to_none=True)
            value = loss(model, data[rows])
            value.backward()
            adam.step()
            if step % flags.log_every == 0:
                write_row(file, step, "train", -value.item())
            if step % flags.eval_every == 0 or step == flags.steps:
                write_row(file, step, "test", -evaluate(model, held_out))
                show(model, held_out, flags.out, step)
            if step == flags.steps:
                break
    torch.save({"model": model.state_dict(), "adam": adam.state_dict()}, flags.out / "last.pt")


if __name__ == "__main__":
    train(parse(sys.argv[1:]))
