"""Measures of likeness against scikit-image, each other and closed forms."""

import jax
import numpy as np
import pytest

from aigc_jax.metrics import pictures


def two(shape=(4, 28, 24, 3), noise=0.2, seed=0):
    """Smooth images in [-1, 1] and noisy copies."""
    rng = np.random.default_rng(seed)
    n, height, width, channels = shape
    y, x = np.arange(height)[:, None, None], np.arange(width)[:, None]
    phase = rng.uniform(0, 6, (n, 1, 1, channels))
    a = np.sin(0.3 * y + phase) * np.cos(0.2 * x - phase)
    b = np.clip(a + noise * rng.normal(size=shape), -1, 1)
    return a.astype(np.float32), b.astype(np.float32)


def test_psnr_and_mse_are_those_of_scikit_image():
    metrics = pytest.importorskip("skimage.metrics", reason="scikit-image is not installed")
    a, b = two()
    psnr = [metrics.peak_signal_noise_ratio(x, y, data_range=2) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(pictures.psnr(a, b), psnr, rtol=1e-5)
    mse = [metrics.mean_squared_error(x, y) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(pictures.mse(a, b), mse, rtol=1e-5)


@pytest.mark.parametrize("noise", [0.05, 0.2, 1.0])
def test_ssim_is_that_of_scikit_image(noise):
    metrics = pytest.importorskip("skimage.metrics", reason="scikit-image is not installed")
    a, b = two(noise=noise)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    expected = [
        metrics.structural_similarity(x, y, data_range=2, channel_axis=-1, **options)
        for x, y in zip((a + 1).astype(np.float64), (b + 1).astype(np.float64), strict=True)
    ]
    np.testing.assert_allclose(pictures.ssim(a, b), expected, atol=2e-5)


def test_one_scale_of_ms_ssim_is_ssim():
    a, b = two()
    np.testing.assert_allclose(pictures.ms_ssim(a, b, 1), pictures.ssim(a, b), atol=2e-5)


def test_ms_ssim_of_grey_planes_is_known():
    # Without structure only the luminance of the coarsest scale is left, to the power of its share.
    a, b = (np.full((1, 28, 28, 1), 2 * level - 1) for level in (0.2, 0.6))
    luminance = (2 * 0.2 * 0.6 + 1e-4) / (0.2**2 + 0.6**2 + 1e-4)
    expected = luminance ** (0.2856 / (0.0448 + 0.2856))
    np.testing.assert_allclose(pictures.ms_ssim(a, b), [expected], rtol=1e-3)


def test_images_are_like_themselves():
    a, _ = two()
    np.testing.assert_allclose(pictures.ssim(a, a), 1, atol=1e-6)
    np.testing.assert_allclose(pictures.ms_ssim(a, a), 1, atol=1e-6)
    assert np.isinf(pictures.psnr(a, a)).all()


def test_likeness_falls_with_noise():
    for measure in (pictures.psnr, pictures.ssim, pictures.ms_ssim):
        values = [measure(*two(noise=noise)).mean() for noise in (0.05, 0.2, 0.6)]
        assert values == sorted(values, reverse=True)


def test_blocks_do_not_show(monkeypatch):
    a, b = two()
    whole = pictures.ssim(a, b)
    monkeypatch.setattr(pictures, "BLOCK", 3 * a[0].size)
    np.testing.assert_allclose(pictures.ssim(a, b), whole, rtol=1e-6)
    assert pictures.mse(a, b).dtype == whole.dtype == np.float32


@pytest.mark.parametrize(
    ("side", "scales"), [(8, 0), (11, 1), (21, 1), (22, 2), (28, 2), (32, 2), (64, 3), (299, 5)]
)
def test_scales_are_as_many_as_the_window_fits(side, scales):
    assert pictures.scales_of((side, side + 5, 1)) == scales


def test_diversity_is_one_of_copies_and_low_of_noise():
    key = jax.random.key(0)
    copies = np.repeat(two((1, 28, 28, 1))[0], 6, 0)
    assert pictures.ms_ssim_diversity(copies, pairs=10, key=key).ms_ssim == pytest.approx(1)
    noise = np.random.default_rng(0).uniform(-1, 1, (20, 28, 28, 1))
    found = pictures.ms_ssim_diversity(noise, pairs=50, key=key)
    assert found.ms_ssim < 0.2
    assert (found.scales, found.pairs) == (2, 50)


def test_bytes_are_as_diverse_as_the_floats_they_stand_for_and_blocks_do_not_show(monkeypatch):
    levels = np.random.default_rng(1).integers(0, 256, (9, 12, 12, 1)).astype(np.uint8)
    floats = levels / np.float32(127.5) - 1
    diversity = lambda x: pictures.ms_ssim_diversity(x, pairs=30, key=jax.random.key(0)).ms_ssim
    whole = diversity(floats)
    monkeypatch.setattr(pictures, "BLOCK", 15 * levels[0].size)
    assert diversity(levels) == pytest.approx(whole, rel=1e-6)


def test_pairs_are_of_different_images_of_one_class():
    labels = np.random.default_rng(0).integers(0, 5, 40)
    labels[:2] = 7, 8  # alone in their classes, so that they have no partner
    i, j = pictures._partners(labels, 2000, jax.random.key(1))
    assert (labels[i] == labels[j]).all()
    assert (i != j).all()
    assert set(i) == set(j) == set(range(2, 40))


def test_within_classes_of_copies_all_is_alike():
    images, labels = np.tile(two((2, 28, 28, 1))[0], (4, 1, 1, 1)), np.arange(8) % 2
    found = pictures.ms_ssim_diversity(images, labels, pairs=20, key=jax.random.key(0))
    assert found.ms_ssim == pytest.approx(1)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda a: pictures.ssim(a[:, :8, :8], a[:, :8, :8]), "8x8 images: at 1 scale needs at le"),
        (lambda a: pictures.ms_ssim(a[:, :8], a[:, :8]), "at least 11 pixels"),
        (lambda a: pictures.ms_ssim(a, a, 3), "3 scales needs at least 44"),
        (lambda a: pictures.ms_ssim(a, a, 6), "from 1 to 5"),
        (lambda a: pictures.mse(a, a[:2]), "must both be the same"),
        (lambda a: pictures.psnr(a, np.full_like(a, np.nan)), "not finite"),
        (
            lambda a: pictures.ms_ssim_diversity(a, np.arange(4), pairs=3, key=jax.random.key(0)),
            "two of one class",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call(two()[0])
