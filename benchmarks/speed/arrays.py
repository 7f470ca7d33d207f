"""The data of both sides: random images and tokens, the same for our program and for its twin.

Imports neither JAX nor PyTorch, for each side's process only ever loads its own.
"""

import numpy as np

IMAGES, TOKENS = 8192, 1_000_000


def images(size: int, channels: int) -> np.ndarray:
    """Random images uint8 [N, size, size, channels]."""
    shape = (IMAGES, size, size, channels)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def tokens(vocab: int) -> np.ndarray:
    """Random token ids uint16 [N] below `vocab`."""
    return np.random.default_rng(0).integers(0, vocab, TOKENS, np.uint16)
