"""PyTorch's input pipeline: indexing a tensor on the device, or a DataLoader of two processes."""

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.speed import arrays
from benchmarks.speed.timed import Timed
from benchmarks.speed.twins import training


def batches(mode: str, *, batch: int) -> Timed:
    """Batches of 28x28x1 images in [-1, 1]: mode "eager" by index, mode "loader" by DataLoader."""
    device = training.configure("float32")
    images = arrays.images(28, 1)
    if mode == "loader":
        drawn = loaded(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), batch, device)
    else:
        data = training.images_on(device, images)
        drawn = (training.drawn(data, batch) for _ in itertools.count())

    def steps(count: int) -> None:
        for raw in itertools.islice(drawn, count):
            training.scaled(raw)
        training.wait(device)

    return Timed(steps, 0)


def loaded(images: Tensor, batch: int, device: torch.device) -> Iterator[Tensor]:
    """Endless shuffled batches on the device, of two processes that live on between epochs."""
    pinned = device.type == "cuda"
    options = {"num_workers": 2, "persistent_workers": True, "pin_memory": pinned}
    loader = DataLoader(TensorDataset(images), batch, shuffle=True, drop_last=True, **options)
    while True:
        for (raw,) in loader:
            yield raw.to(device, non_blocking=True)
