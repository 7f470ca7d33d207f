"""What an autoencoder asks of its data and options, before anything is built.

Every function raises ValueError that names the option, the rule and what would be accepted.
"""

import inspect
from collections.abc import Callable, Collection
from functools import partial


def options(names: Collection[str], num_classes: int, conditional: bool) -> None:
    """A batch with these names has images, and labels where the model is conditional."""
    if "image" not in names:
        raise ValueError(f"a VAE needs images; this data has {sorted(names)}")
    if conditional and ("label" not in names or num_classes < 1):
        raise ValueError("conditional=True: this data has no labels; use conditional=False")


def free_bits(
    bits: float, objective: Callable[..., object], accumulate: int, axis_name: str | None
) -> None:
    """Free bits are for an objective that knows of them, and a batch seen in one piece."""
    if bits > 0 and "free_bits" not in inspect.signature(objective).parameters:
        raise ValueError(
            f"free_bits={bits} with objective={_name(objective)}: it has no free bits; use "
            "objective=negative_elbo or free_bits=0"
        )
    if bits > 0 and accumulate > 1:
        raise ValueError(
            f"free_bits={bits} with accumulate={accumulate}: free bits are not a mean over "
            "examples, so microbatches would change them; use accumulate=1 or free_bits=0"
        )
    if bits > 0 and axis_name is not None:
        raise ValueError(
            f"free_bits={bits} with each device on a batch of its own (axis {axis_name!r}): "
            "free bits are not a mean over examples; use jit instead of pmap, or free_bits=0"
        )


def _name(function: Callable[..., object]) -> str:
    bare = function.func if isinstance(function, partial) else function
    return getattr(bare, "__name__", str(bare))
