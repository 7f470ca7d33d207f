"""What is timed: every workload with its sizes, the same for our program and its PyTorch twin."""

from collections.abc import Mapping
from typing import Any, NamedTuple

OURS, TWINS = "benchmarks.speed.ours", "benchmarks.speed.twins"


class Workload(NamedTuple):
    """One row of the table."""

    name: str
    title: str
    builder: str  # "module:function" below `ours` and below `twins`
    options: Mapping[str, Any]  # given to both builders
    unit: str  # what is counted: "images" or "tokens"
    count: int  # of them per step
    suites: tuple[str, ...]
    # The least ratio to eager and to the best compiled PyTorch; None where there is no such goal.
    goal: tuple[float | None, float | None] = (None, None)
    modes: tuple[str, ...] = ("eager", "compile")  # of the twin
    note: str = ""  # why the ratio is below 1, where it is


def _small(**more: Any) -> dict[str, Any]:
    return {"vocab": 65, "context": 64, "dim": 128, "layers": 4, "heads": 4} | more


def _mid(**more: Any) -> dict[str, Any]:
    return {"vocab": 65, "context": 256, "dim": 384, "layers": 6, "heads": 6} | more


def _gpt2(**more: Any) -> dict[str, Any]:
    sizes = {"vocab": 50257, "context": 1024, "dim": 768, "layers": 12, "heads": 12}
    return sizes | {"vocab_multiple": 128} | more


FLOAT32, BFLOAT16 = {"precision": "float32"}, {"precision": "bfloat16"}
BENCH, CPU, FULL, GPU = ("bench", "cpu", "full"), ("cpu", "full"), ("full",), ("gpu",)
COMPILED = ("eager", "compile", "max-autotune")

ON_CPU = (
    Workload(
        "dcgan28",
        "DCGAN, one update of each network, 28x28x1, batch 128",
        "gan:dcgan",
        {"size": 28, "channels": 1, "batch": 128, **FLOAT32},
        *("images", 128, BENCH, (1.4, 1.7)),
    ),
    Workload(
        "mlp_vae",
        "VAE, perceptrons 784-512-256-20, batch 128",
        "vae:mlp",
        {"batch": 128, **FLOAT32},
        *("images", 128, BENCH, (1.0, 0.95)),
    ),
    Workload(
        "conv_vae",
        "VAE, convolutions 1-32-64, 28x28x1, batch 128",
        "vae:convolutional",
        {"batch": 128, **FLOAT32},
        *("images", 128, BENCH, (1.0, 0.9)),
    ),
    Workload(
        "gpt_small",
        "GPT training, 4 layers of 128, 64 tokens, batch 12",
        "attention:gpt",
        _small(batch=12, **FLOAT32),
        *("tokens", 12 * 64, BENCH, (0.75, 0.75)),
    ),
    Workload(
        "gpt_mid",
        "GPT training, 6 layers of 384, 256 tokens, batch 16",
        "attention:gpt",
        _mid(batch=16, **FLOAT32),
        *("tokens", 16 * 256, BENCH, (0.8, 0.8)),
    ),
    *(
        Workload(
            f"decode_{size}_{batch}",
            f"GPT decoding with cache, {layers}, {tokens} tokens, batch {batch}",
            "decoding:generate",
            sizes(batch=batch, tokens=tokens, **FLOAT32),
            *("tokens", batch * tokens, suites, goal),
            # The classics' generation, for reference; it would take minutes at larger sizes.
            modes=("eager", "compile", "no_cache")[: 3 if size == "small" and batch <= 16 else 2],
        )
        for size, sizes, layers, tokens, batch, suites, goal in (
            ("small", _small, "4 layers of 128", 63, 1, BENCH, (4.0, None)),
            ("small", _small, "4 layers of 128", 63, 16, BENCH, (2.5, None)),
            ("small", _small, "4 layers of 128", 63, 64, FULL, (None, None)),
            ("small", _small, "4 layers of 128", 63, 256, FULL, (None, None)),
            ("mid", _mid, "6 layers of 384", 255, 1, BENCH, (1.25, None)),
            ("mid", _mid, "6 layers of 384", 255, 16, BENCH, (1.15, None)),
        )
    ),
    Workload(
        "lstm",
        "LSTM training, 2 layers of 256, 64 tokens, batch 50",
        "attention:lstm",
        {"vocab": 65, "context": 64, "dim": 256, "layers": 2, "batch": 50, **FLOAT32},
        *("tokens", 50 * 64, BENCH, (0.85, 0.85)),
        note="PyTorch's LSTM is one primitive of oneDNN; here every time step is a matrix product "
        "of 50 rows and some passes over its result",
    ),
    Workload(
        "dcgan64",
        "DCGAN, one update of each network, 64x64x3, batch 32",
        "gan:dcgan",
        {"size": 64, "channels": 3, "batch": 32, **FLOAT32},
        *("images", 32, CPU),
    ),
    Workload(
        "r1",
        "DCGAN 28x28x1 with R1 (second-order), batch 64",
        "gan:dcgan",
        {"size": 28, "channels": 1, "batch": 64, "penalty": "r1", **FLOAT32},
        *("images", 64, CPU),
        modes=("eager",),  # torch.compile has no second derivatives
    ),
    Workload(
        "pipeline",
        "input: random 28x28x1 batches of 128 on the device, scaled",
        "pipeline:batches",
        {"batch": 128},
        *("images", 128, CPU),
        modes=("eager", "loader"),  # a tensor indexed in place, and a DataLoader of two processes
        note="most of ours is the dispatch of a compiled call; in training the step has one "
        "anyway, and gathers and scales inside it",
    ),
)

ON_GPU = (
    Workload(
        "gpu_mlp_vae",
        "VAE, perceptrons, batch 128",
        "vae:mlp",
        {"batch": 128, **BFLOAT16},
        *("images", 128, GPU, (8.0, 1.5), COMPILED),
    ),
    Workload(
        "gpu_dcgan28",
        "DCGAN 28x28x1, batch 128",
        "gan:dcgan",
        {"size": 28, "channels": 1, "batch": 128, **BFLOAT16},
        *("images", 128, GPU, (4.0, 1.15), COMPILED),
    ),
    Workload(
        "gpu_dcgan64",
        "DCGAN 64x64x3, batch 128",
        "gan:dcgan",
        {"size": 64, "channels": 3, "batch": 128, **BFLOAT16},
        *("images", 128, GPU, (1.3, 1.0), COMPILED),
    ),
    Workload(
        "gpu_resnet64",
        "SN-ResNet GAN with attention (SAGAN's size), 64x64x3, batch 64",
        "resnet:sagan",
        {"size": 64, "batch": 64, **BFLOAT16},
        *("images", 64, GPU, (1.3, 1.0), COMPILED),
    ),
    Workload(
        "gpu_gpt2",
        "GPT-2 124M training, 1024 tokens, batch 16",
        "attention:gpt",
        _gpt2(batch=16, **BFLOAT16),
        *("tokens", 16 * 1024, GPU, (1.5, 1.0), COMPILED),
    ),
    *(
        Workload(
            f"gpu_decode_{batch}",
            f"GPT-2 124M decoding with cache, 512 tokens, batch {batch}",
            "decoding:generate",
            _gpt2(batch=batch, tokens=512, **BFLOAT16),
            *("tokens", batch * 512, GPU, goal, COMPILED),
        )
        for batch, goal in ((1, (4.0, 1.2)), (16, (2.0, 1.2)), (64, (2.0, 2.0)), (256, (2.0, 2.0)))
    ),
    Workload(
        "gpu_lstm",
        "LSTM training, 2 layers of 1024, 256 tokens, batch 128",
        "attention:lstm",
        {"vocab": 65, "context": 256, "dim": 1024, "layers": 2, "batch": 128, **BFLOAT16},
        *("tokens", 128 * 256, GPU, (1.0, 1.0), COMPILED),
    ),
)

WORKLOADS = ON_CPU + ON_GPU


def chosen(suite: str, only: tuple[str, ...] = ()) -> list[Workload]:
    """The workloads of a suite, or those of them that are named.

    Raises:
      ValueError: for a suite without workloads, or a name that the suite does not have.
    """
    found = [workload for workload in WORKLOADS if suite in workload.suites]
    names = [workload.name for workload in found]
    if not found:
        suites = sorted({suite for workload in WORKLOADS for suite in workload.suites})
        raise ValueError(f"suite={suite!r} is none of {', '.join(suites)}")
    for name in only:
        if name not in names:
            raise ValueError(f"only={name!r} is none of {', '.join(names)}")
    return [workload for workload in found if not only or workload.name in only]
