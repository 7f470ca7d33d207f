"""What the PyTorch twins share: device, precision, compilation, data on the device, timing.

The twins are written as their best users would: fused optimisers, channels-last images, gradients
set to None, no synchronisation within steps, `torch.compile` of forward pass and loss together.
"""

import contextlib
import os
from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed.timed import Timed

MODES = {"compile": "default", "max-autotune": "max-autotune"}  # the latter with CUDA graphs


def configure(precision: str) -> torch.device:
    """Sets threads and the precision of float32 products; returns the device."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = precision != "float32"
    torch.backends.cudnn.allow_tf32 = precision != "float32"
    torch.backends.cudnn.benchmark = True
    return machine()


def machine() -> torch.device:
    """The GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def wait(device: torch.device) -> None:
    """Returns when the device has done all that was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager:
    """bfloat16 products where `precision` says so."""
    if precision != "bfloat16":
        return contextlib.nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


def compiled(function: Callable, mode: str) -> Callable:
    """The function as it is in mode "eager", else through `torch.compile`."""
    return torch.compile(function, mode=MODES[mode]) if mode in MODES else function


def on_device(module: nn.Module, device: torch.device) -> nn.Module:
    """The module there, convolution kernels channels-last: on CPU and GPU the faster layout."""
    return module.to(device, memory_format=torch.channels_last)


def images_on(device: torch.device, images: np.ndarray) -> Tensor:
    """uint8 [N, H, W, C] as a channels-last tensor [N, C, H, W]."""
    return torch.from_numpy(images).to(device).permute(0, 3, 1, 2)


def drawn(data: Tensor, batch: int) -> Tensor:
    """A random batch of rows of the data."""
    return data[torch.randint(len(data), (batch,), device=data.device)]


def scaled(images: Tensor) -> Tensor:
    """uint8 images as float32 in [-1, 1]."""
    return images.float() / 127.5 - 1


def adam(
    parameters: Iterable[nn.Parameter], rate: float, betas: tuple[float, float] = (0.9, 0.999)
) -> torch.optim.Adam:
    """Adam in one fused kernel."""
    return torch.optim.Adam(parameters, rate, betas, fused=True)


def timed(step: Callable[[], None], mode: str, device: torch.device, *modules: nn.Module) -> Timed:
    """The workload of a step; in mode "eager" its operations are counted, by running one."""

    def steps(count: int) -> None:
        for _ in range(count):
            torch.compiler.cudagraph_mark_step_begin()
            step()
        wait(device)

    return Timed(steps, numbers(*modules), operations(step) if mode == "eager" else 0.0)


def numbers(*modules: nn.Module) -> int:
    """How many numbers the parameters are."""
    return sum(p.numel() for module in modules for p in module.parameters())


def operations(step: Callable[[], None]) -> float:
    """Operations of a step's products and convolutions, forward and backward, by running it."""
    with FlopCounterMode(display=False) as counter:
        step()
    return float(counter.get_total_flops())
