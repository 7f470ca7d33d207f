"""How alike two images are: MSE, PSNR, SSIM and MS-SSIM, and how alike those of one set are.

SSIM uses the original's Gaussian window of 11 pixels with a deviation of 1.5, K1 = 0.01 and
K2 = 0.03, on images rescaled to [0, 1]; colours are averaged (Wang et al. 2004, "Image quality
assessment: from error visibility to structural similarity"). Only places where the whole window
lies inside the image count. Images smaller than the window are refused: with another window the
figure would not be comparable to any other.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

RANGE = 2.0  # of pixels in [-1, 1]
WINDOW, SIGMA, K1, K2 = 11, 1.5, 0.01, 0.03
# Of the scales from fine to coarse; Wang et al. 2003, "Multiscale structural similarity for image
# quality assessment".
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
BLOCK = 2**20  # pixel values whose maps exist at once


def _pair(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
    if a.shape != b.shape or a.ndim != 4 or not len(a):
        raise ValueError(f"images {a.shape} and {b.shape}: must both be the same [N, H, W, C]")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError(f"images {a.shape}: hold values that are not finite")
    return a, b


def _blocks(length: int, size: int) -> list[slice]:
    """Blocks of images of `size` values, so that memory does not grow with their number."""
    step = max(1, BLOCK // size)
    return [slice(start, start + step) for start in range(0, length, step)]


def _in_blocks(compare, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """compare(a, b) f32 [N], a block at a time."""
    blocks = _blocks(len(a), a[0].size)
    return np.concatenate([np.asarray(compare(a[block], b[block])) for block in blocks])


def scaled(images: np.ndarray) -> np.ndarray:
    """Images as f32: uint8 by x / 127.5 - 1, others as they are."""
    floats = np.asarray(images, np.float32)
    return floats / np.float32(127.5) - 1 if images.dtype == np.uint8 else floats


def mse(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Mean over pixels and channels of (a - b)^2, f32 [N], of images [N, H, W, C] in [-1, 1].

    Raises:
      ValueError: the images differ in shape or are not finite.
    """
    a, b = _pair(a, b)
    return np.square(a - b).mean((1, 2, 3))


def psnr(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio in dB, f32 [N], of images [N, H, W, C] in [-1, 1].

    10 log10(R^2 / MSE) with the range R = 2; infinite for equal images.

    Raises:
      ValueError: the images differ in shape or are not finite.
    """
    with np.errstate(divide="ignore"):
        return 10 * np.log10(np.float32(RANGE**2) / mse(a, b))


def ssim(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Structural similarity, f32 [N] up to 1, of images [N, H, W, C] in [-1, 1]; from dm-pix.

    Raises:
      ValueError: the images differ in shape, are not finite or smaller than the window.
    """
    a, b = _pair(a, b)
    _check_size("SSIM", a.shape, 1)
    return _in_blocks(_ssim, a, b)


@jax.jit
def _ssim(a: jax.Array, b: jax.Array) -> jax.Array:
    import dm_pix

    a, b = (a + 1) / RANGE, (b + 1) / RANGE
    return dm_pix.ssim(a, b, max_val=1.0, filter_size=WINDOW, filter_sigma=SIGMA, k1=K1, k2=K2)


def scales_of(shape: tuple[int, ...]) -> int:
    """How many scales an image of shape (H, W, C) allows: up to five, 0 if SSIM has none.

    Each halves the image, and the window of 11 pixels must fit into the coarsest: two at 28 pixels.
    """
    fitting = [s for s in range(len(WEIGHTS)) if min(shape[:2]) >> s >= WINDOW]
    return len(fitting)


def _check_size(metric: str, shape: tuple[int, ...], scales: int) -> None:
    least = WINDOW << (scales - 1)
    if scales_of(shape[1:]) < scales:
        raise ValueError(
            f"{metric} of {shape[1]}x{shape[2]} images: at {scales} scale{'s'[: scales > 1]} needs "
            f"at least {least} pixels a side, so that the window of {WINDOW} fits into the coarsest"
        )


def ms_ssim(a: np.ndarray, b: np.ndarray, scales: int | None = None) -> np.ndarray:
    """Multiscale SSIM, f32 [N] from 0 to 1, of images [N, H, W, C] in [-1, 1].

    SSIM_S^w_S prod_{s < S} CS_s^w_s, where CS is SSIM without its comparison of luminance, and each
    scale is the one before averaged over 2 x 2 pixels. The weights are those of Wang et al. 2003
    for the scales used, divided by their sum; negative terms count as 0. With one scale it is SSIM.

    Args:
      a, b: the images to compare.
      scales: how many; None for as many as fit, see `scales_of`.

    Raises:
      ValueError: the images differ in shape, are not finite or too small for the scales.
    """
    a, b = _pair(a, b)
    scales = max(1, scales_of(a.shape[1:])) if scales is None else scales
    if not 1 <= scales <= len(WEIGHTS):
        raise ValueError(f"scales={scales}: must be from 1 to {len(WEIGHTS)}")
    _check_size("MS-SSIM", a.shape, scales)
    return _in_blocks(functools.partial(_ms_ssim, scales=scales), a, b)


def _window(size: int) -> np.ndarray:
    """The Gaussian average of a line of pixels as a matrix f32 [size - WINDOW + 1, size]."""
    offset = np.arange(size) - np.arange(size - WINDOW + 1)[:, None] - WINDOW // 2
    kernel = np.where(abs(offset) <= WINDOW // 2, np.exp(-0.5 * (offset / SIGMA) ** 2), 0)
    return np.float32(kernel / kernel.sum(1, keepdims=True))


def _terms(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """SSIM and its contrast-structure part, both f32 [N, C], of images in [0, 1]."""
    rows, columns = _window(a.shape[1]), _window(a.shape[2])
    # As products of matrices, which are far faster on a CPU than a convolution for each channel.
    blur = lambda x: jnp.einsum("ph,nhwc,qw->npqc", rows, x, columns, precision="highest")
    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    covariance = blur(a * b) - mean_a * mean_b
    structure = (2 * covariance + K2**2) / (var_a + var_b + K2**2)
    luminance = (2 * mean_a * mean_b + K1**2) / (mean_a**2 + mean_b**2 + K1**2)
    return (luminance * structure).mean((1, 2)), structure.mean((1, 2))


def _halved(images: jax.Array) -> jax.Array:
    """The mean of every 2 x 2 pixels; an odd last row or column is left out."""
    n, height, width, channels = images.shape
    even = images[:, : height // 2 * 2, : width // 2 * 2]
    return even.reshape(n, height // 2, 2, width // 2, 2, channels).mean((2, 4))


@functools.partial(jax.jit, static_argnames="scales")
def _ms_ssim(a: jax.Array, b: jax.Array, scales: int) -> jax.Array:
    a, b, product = (a + 1) / RANGE, (b + 1) / RANGE, 1.0
    for scale in range(scales):
        whole, structure = _terms(a, b)
        term = whole if scale == scales - 1 else structure
        product *= jnp.maximum(term, 0) ** (WEIGHTS[scale] / sum(WEIGHTS[:scales]))
        a, b = _halved(a), _halved(b)
    return product.mean(-1)


class Diversity(NamedTuple):
    """How alike the images of one set are; the lower, the more diverse."""

    ms_ssim: float  # mean over pairs
    scales: int
    pairs: int


def _partners(labels: np.ndarray, pairs: int, key: jax.Array) -> tuple[np.ndarray, np.ndarray]:
    """Rows i [pairs] and j [pairs] of different images of one class, i uniform over images."""
    order = np.argsort(labels, kind="stable")
    _, first, counts = np.unique(labels[order], return_index=True, return_counts=True)
    start, size = np.repeat(first, counts), np.repeat(counts, counts)
    able = np.flatnonzero(size > 1)
    if not able.size:
        raise ValueError(f"{len(labels)} images: diversity needs two of one class")
    one, other = jax.random.split(key)
    i = able[np.asarray(jax.random.randint(one, (pairs,), 0, len(able)))]
    further = np.asarray(jax.random.randint(other, (pairs,), 1, size[i]))
    j = start[i] + (i - start[i] + further) % size[i]
    return order[i], order[j]


def ms_ssim_diversity(
    images: np.ndarray, labels: np.ndarray | None = None, *, pairs: int, key: jax.Array
) -> Diversity:
    """Mean MS-SSIM over random pairs of images [N, H, W, C], within a class with labels.

    Images are uint8 or in [-1, 1]; a block of pairs at a time becomes f32.
    As many scales as fit. To be read beside the figure of real images (Odena et al., arXiv
    1610.09585).

    Raises:
      ValueError: no class has two images, or as `ms_ssim`.
    """
    images = np.asarray(images)
    if pairs < 1:
        raise ValueError(f"pairs={pairs}: must be at least 1")
    scales = scales_of(images.shape[1:])
    i, j = _partners(np.zeros(len(images)) if labels is None else np.asarray(labels), pairs, key)
    alike = [
        ms_ssim(scaled(images[i[block]]), scaled(images[j[block]]))
        for block in _blocks(pairs, images[0].size)
    ]
    return Diversity(float(np.concatenate(alike).mean()), scales, pairs)
