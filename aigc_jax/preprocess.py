"""Normalisation and augmentation, in front of `step` inside the compiled call: pure functions."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates

from aigc_jax import ranges
from aigc_jax.ranges import at_least, below, between

Batch = Mapping[str, jax.Array]
BACKGROUND = -1.0  # what comes into an image from outside it: black


def normalise(raw: Batch) -> dict[str, jax.Array]:
    """Raw examples as networks take them.

    Images uint8 [B, H, W, C] become f32 x / 127.5 - 1 in [-1, 1]; of a floating-point type, they
    are in [-1, 1] already. Labels [B] and tokens [B, T + 1] become i32; everything else stays as it
    is.
    """
    batch = dict(raw)
    if "image" in batch:
        scaled = jnp.issubdtype(batch["image"].dtype, jnp.floating)
        image = batch["image"].astype(jnp.float32)
        batch["image"] = image if scaled else image / 127.5 - 1
    integers = {
        name: batch[name].astype(jnp.int32) for name in ("label", "tokens") if name in batch
    }
    return batch | integers


def mirrored(keys: jax.Array, images: jax.Array, probability: float) -> jax.Array:
    """Images [B, H, W, C] mirrored left to right, each with the given probability."""
    chosen = jax.vmap(lambda key: jax.random.bernoulli(key, probability))(keys)  # [B]
    return jnp.where(chosen[:, None, None, None], images[:, :, ::-1], images)


def transformed(
    image: jax.Array, shift: jax.Array, angle: jax.Array, scale: jax.Array
) -> jax.Array:
    """An image [H, W, C] scaled and turned about its centre c, then shifted, resampled bilinearly.

    Pixel p takes the value at c + R(angle)^T (p - c - shift) / scale, and the background's where
    that is outside.

    Args:
      image: f32 [H, W, C].
      shift: f32 [2], pixels down and to the right.
      angle: f32 [], radians, counter-clockwise.
      scale: f32 [], above 1 enlarges.
    """
    height, width, _ = image.shape
    centre = jnp.array([height - 1, width - 1]) / 2
    grid = jnp.stack(jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij"))
    down, right = grid - (centre + shift)[:, None, None]  # [H, W] each
    cos, sin = jnp.cos(angle) / scale, jnp.sin(angle) / scale
    # Rows count downwards, so that the turn looks clockwise in (row, column) coordinates.
    source = [centre[0] + cos * down + sin * right, centre[1] - sin * down + cos * right]
    resample = lambda plane: map_coordinates(plane, source, 1, "constant", BACKGROUND)
    return jax.vmap(resample, in_axes=-1, out_axes=-1)(image)


def moved(keys: jax.Array, images: jax.Array, shift: int, rotate: float, scale: float) -> jax.Array:
    """Images [B, H, W, C], each shifted, turned and scaled by amounts of its own in one resampling.

    Args:
      keys: [B].
      images: f32 [B, H, W, C].
      shift: whole pixels, drawn from -shift .. shift for rows and for columns.
      rotate: degrees, drawn from [-rotate, rotate].
      scale: fraction, the factor is drawn from [1 - scale, 1 + scale].
    """

    def move(key, image):
        shift_key, angle_key, scale_key = jax.random.split(key, 3)
        by = jax.random.randint(shift_key, (2,), -shift, shift + 1).astype(jnp.float32)
        angle = jnp.deg2rad(jax.random.uniform(angle_key, (), minval=-rotate, maxval=rotate))
        factor = jax.random.uniform(scale_key, (), minval=1 - scale, maxval=1 + scale)
        return transformed(image, by, angle, factor)

    return jax.vmap(move)(keys, images)


def augment(
    *,
    flip: Annotated[float, between(0, 1)] = 0.0,
    shift: Annotated[int, at_least(0)] = 0,
    rotate: Annotated[float, between(0, 180)] = 0.0,
    scale: Annotated[float, below(1)] = 0.0,
) -> Callable[[jax.Array, Batch], Batch]:
    """(key, batch) -> batch with its images randomly changed, each by a key of its own.

    Args:
      flip: probability of a mirror image.
      shift: at most so many whole pixels, up, down, left and right.
      rotate: at most so many degrees, either way.
      scale: at most this fraction larger or smaller.

    Raises:
      ValueError: a value is out of range, or the batch has no images.
    """
    chosen = {"flip": flip, "shift": shift, "rotate": rotate, "scale": scale}
    ranges.check(augment, chosen, "config.augment")

    def augmented(key, batch):
        if "image" not in batch:
            on = ", ".join(name for name, value in chosen.items() if value)
            raise ValueError(
                f"config.augment: {on} need data with images; this has {sorted(batch)}"
            )
        images = batch["image"]
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(images.shape[0]))
        flip_keys, move_keys = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)
        if flip:
            images = mirrored(flip_keys, images, flip)
        if shift or rotate or scale:
            images = moved(move_keys, images, int(shift), rotate, scale)
        return {**batch, "image": images}

    def unchanged(key, batch):
        return batch

    return augmented if flip or shift or rotate or scale else unchanged


def prepare(options: Mapping[str, Any]) -> Callable[[jax.Array, Batch], Batch]:
    """(key, raw batch) -> the batch a step takes: normalised, then augmented by `augment`."""
    augmented = augment(**options)
    return lambda key, raw: augmented(key, normalise(raw))
