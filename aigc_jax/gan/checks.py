"""What a game asks of its data and players, checked in the abstract before anything is compiled.

Every function raises ValueError that names the option, the rule and what would be accepted.
"""

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax


def options(names: Collection[str], num_classes: int, conditional: bool) -> None:
    """A batch with these names has images, and labels where the game is conditional."""
    if "image" not in names:
        raise ValueError(f"a GAN needs images: this data has {', '.join(sorted(names))}")
    if conditional and not num_classes:
        raise ValueError("conditional=True: this data has no labels; use conditional=False")


def packs(pack: int, microbatch: int, conditional: bool) -> None:
    """A microbatch is a whole number of packs, and packs have no label."""
    if microbatch % pack:
        raise ValueError(
            f"config.algorithm.pack = {pack}: config.batch_size / config.accumulate = {microbatch} "
            "must be a multiple of it"
        )
    if pack > 1 and conditional:
        raise ValueError(
            f"config.algorithm.pack = {pack}: the images of a pack have labels of their own; use "
            "pack=1 with conditional=True, or conditional=False"
        )


def shapes(
    generator: nn.Module, discriminator: nn.Module, z: Any, label: Any, image: Any, packed: Any
) -> None:
    """The generator makes images like `image` [m, H, W, C] of z [m, latent_dim].

    The discriminator gives a logit for each pack of m of them, [B] for `packed` [B, H, W, m C].
    """
    made = _initial(generator, z, label)[0].shape
    if made != image.shape:
        raise ValueError(
            f"generator={type(generator).__name__}: makes images {list(made)} of latents "
            f"{list(z.shape)}, but the data needs [B, H, W, C] = {list(image.shape)}"
        )
    logits = _initial(discriminator, packed, label)[0].shape
    if logits != packed.shape[:1]:
        raise ValueError(
            f"discriminator={type(discriminator).__name__}: gives {list(logits)} for images "
            f"{list(packed.shape)}, but must give one logit each, [B] = {list(packed.shape[:1])}"
        )


def penalties(names: Sequence[str], discriminator: nn.Module, image: Any, label: Any) -> None:
    """No gradient penalty meets batch normalisation, under which no logit has its own gradient."""
    variables = _initial(discriminator, image, label)[1]
    statistics = jax.tree_util.tree_leaves_with_path(variables.get("batch_stats", {}))
    # Flax keeps the vectors of spectral normalisation there too, which no penalty minds.
    if names and any(path[-1].key == "mean" for path, _ in statistics):
        raise ValueError(
            f"penalties={list(names)}: need the gradient of each logit alone, but discriminator="
            f"{type(discriminator).__name__} has batch normalisation, which mixes examples; use "
            "no penalty, or another normalisation such as nn.LayerNorm or nn.SpectralNorm"
        )


def _initial(network: nn.Module, x: Any, label: Any) -> tuple[Any, Any]:
    """(output, variables) of a network, in the abstract."""
    initialise = partial(network.init_with_output, train=False)
    return jax.eval_shape(initialise, jax.random.key(0), x, label)
