"""Stacked MNIST: three digits as the channels of one image, a thousand modes that can be counted.

128,000 random triples of MNIST's training images (Metz et al., arXiv 1611.02163; Lin et al., arXiv
1712.04086), and 10,000 of its test images to evaluate on. MNIST is held once, triples by index.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from aigc_jax.data import images
from aigc_jax.data.dataset import Dataset, Info, Split

NAME = "stacked_mnist"
SIZES = {"train": 128_000, "test": 10_000}
SEED = 0
HUNDREDS = np.array([100, 10, 1], np.int32)  # the label reads the digits of R, G and B


def describe(config: Mapping[str, Any], tokenizer: Any = None) -> Info:
    """What is known of the set; `config` is that of `load.options`.

    Raises:
      ValueError: for another number of channels than 3.
    """
    if config["channels"] not in (None, 3):
        raise ValueError(
            f"data.channels = {config['channels']}: {NAME} has 3 channels; accepted are 3 and None"
        )
    digits = images.describe(_mnist(config), config["image_size"], None, None)
    train = min(SIZES["train"], config["limit"] or SIZES["train"])
    return digits._replace(
        name=NAME,
        sizes={**SIZES, "train": train},
        shapes={"image": (*digits.shapes["image"][:2], 3), "label": ()},
        num_classes=1000,
        class_names=(),  # the numbers of classes say it
        fingerprint={**digits.fingerprint, "seed": SEED},
    )


def load(config: Mapping[str, Any], tokenizer: Any = None) -> Dataset:
    """The prepared set; arguments as in `describe`.

    Raises:
      ValueError: MNIST does not fit into `max_memory_gib` at this size.
      FileNotFoundError: neither network nor files; says which files to put where.
    """
    info = describe(config)
    options = {key: config[key] for key in ("data_dir", "image_size", "max_memory_gib")}
    mnist = images.load(_mnist(config), **options)
    if mnist.train.arrays is None:
        raise ValueError(
            f"data.max_memory_gib = {config['max_memory_gib']}: {NAME} is made in memory; accepted "
            f"is what MNIST takes at data.image_size = {config['image_size']}, or a smaller size"
        )
    splits = []
    for stream, (name, digits) in enumerate((("train", mnist.train), ("test", mnist.eval))):
        rng = np.random.default_rng([SEED, stream])
        triples = rng.integers(digits.length, size=(SIZES[name], 3), dtype=np.int32)
        length = info.sizes[name]
        splits.append(Split(length, {**digits.arrays, "triples": triples[:length]}, stacks))
    return Dataset(info, *splits, digits=mnist)


def stacks(arrays: Mapping[str, Any], indices: Any) -> dict[str, Any]:
    """Images uint8 [B, H, W, 3] and labels int32 [B], 100 r + 10 g + b, of triples [B]."""
    chosen = arrays["triples"][indices]  # [B, 3]
    image = arrays["image"][chosen][..., 0].transpose(0, 2, 3, 1)
    return {"image": image, "label": (arrays["label"][chosen] * HUNDREDS).sum(-1, dtype=np.int32)}


def _mnist(config: Mapping[str, Any]) -> images.Origin:
    return images.known("mnist", config["manual_dir"], config["data_dir"])
