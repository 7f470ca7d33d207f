"""What the machine can do: matrix products and copies as fast as each framework makes them.

    python -m benchmarks.speed.roofline VARIANT PRECISION

prints {"gemm": floating-point operations per second, "copy": bytes read and written per second},
each the best of several, as one JSON line; VARIANT "ours" is JAX, any other PyTorch.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from benchmarks import report
from benchmarks.speed import worker

BEST_OF = 9
SIZES = {"cpu": (2048,), "gpu": (4096, 8192)}  # of the square matrices
COPIED = {"cpu": 2**28, "gpu": 2**31}  # bytes
BYTES = {"float32": 4, "tf32": 4, "bfloat16": 2}  # per number


def measured(precision: str) -> dict[str, float]:
    """{"gemm_jax", "gemm_torch": FLOP/s, "copy_jax", "copy_torch": bytes/s} of this machine.

    Raises:
      subprocess.CalledProcessError: if a framework cannot do it.
    """
    found = {}
    for framework, variant in (("jax", worker.OURS), ("torch", "eager")):
        command = [sys.executable, "-m", "benchmarks.speed.roofline", variant, precision]
        result = subprocess.run(
            command, cwd=report.ROOT, stdout=subprocess.PIPE, text=True, check=True
        )
        rates = json.loads(result.stdout.splitlines()[-1])
        found |= {f"{name}_{framework}": rate for name, rate in rates.items()}
    return found


def share(done: float, seconds: float, rates: Mapping[str, float], kind: str) -> float:
    """done / seconds over the best rate of the kind, "gemm" or "copy", of either framework."""
    best = max(rate for name, rate in rates.items() if name.startswith(kind))
    return done / seconds / best


def decoding_bytes(options: Mapping[str, Any], parameters: int) -> float:
    """Bytes that must be read to decode `tokens` tokens: all weights and half the full cache each.

    tokens * (parameters + batch * 2 * layers * dim * tokens / 2) numbers.
    """
    tokens = options["tokens"]
    cache = options["batch"] * 2 * options["layers"] * options["dim"] * tokens / 2
    return tokens * (parameters + cache) * BYTES[options["precision"]]


def jax_calls(precision: str) -> Iterator[tuple[str, float, Callable[[], Any]]]:
    """("gemm" or "copy", FLOPs or bytes, a call that waits for the device) in JAX."""
    import jax
    import jax.numpy as jnp

    from aigc_jax import launch
    from benchmarks.speed.ours import program

    launch.configure()
    jax.config.update("jax_default_matmul_precision", program.PRECISIONS[precision][1])
    platform = "cpu" if jax.default_backend() == "cpu" else "gpu"
    dtype = jnp.bfloat16 if precision == "bfloat16" else jnp.float32
    product = jax.jit(lambda a: a @ a)
    for size in SIZES[platform]:
        a = jax.random.normal(jax.random.key(0), (size, size), dtype)
        yield "gemm", 2.0 * size**3, lambda a=a: product(a).block_until_ready()
    # Donated, so that the pages of the result are not new ones.
    copy = jax.jit(lambda x: x + 1, donate_argnums=0)
    held = [jnp.zeros(COPIED[platform] // 4)]

    def move():
        held[0] = copy(held[0]).block_until_ready()

    yield "copy", 2.0 * COPIED[platform], move


def torch_calls(precision: str) -> Iterator[tuple[str, float, Callable[[], Any]]]:
    """The same in PyTorch."""
    import torch

    from benchmarks.speed.twins import training

    device = training.configure(precision)
    platform = "cpu" if device.type == "cpu" else "gpu"
    wait = torch.cuda.synchronize if platform == "gpu" else lambda: None
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    for size in SIZES[platform]:
        a = torch.randn(size, size, dtype=dtype, device=device)
        out = torch.empty_like(a)
        yield "gemm", 2.0 * size**3, lambda a=a, out=out: (torch.matmul(a, a, out=out), wait())
    x = torch.zeros(COPIED[platform] // 4, device=device)
    yield "copy", 2.0 * COPIED[platform], lambda: (x.add_(1), wait())


def rates(calls: Iterator[tuple[str, float, Callable[[], Any]]]) -> dict[str, float]:
    """The best rate of each kind over `BEST_OF` calls, after two that warm up."""
    best = {}
    for kind, amount, call in calls:
        times = []
        for _ in range(BEST_OF + 2):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
        best[kind] = max(best.get(kind, 0.0), amount / min(times[2:]))
    return best


def main(argv: list[str]) -> None:
    """Prints the rates of one framework."""
    variant, precision = argv
    calls = jax_calls if variant == worker.OURS else torch_calls
    print(json.dumps(rates(calls(precision))))


if __name__ == "__main__":
    main(sys.argv[1:])
