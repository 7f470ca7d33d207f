"""What the compiler is told inside of a step: where weights and activations are on the mesh.

From the places of inputs and outputs alone it would guess, and where weights and batch share an
axis it guesses to move activations. Here weights are gathered before they are used, gradients come
back as shares, and what modules hand on stays with the examples it belongs to.
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from aigc_jax.core import BATCH, Algorithm, PyTree, batch_ways, over_batch
from aigc_jax.layers import shares


def inside(mesh: Mesh, function: Callable) -> Callable:
    """`function`, traced where `core.over_batch` finds the mesh."""

    @functools.wraps(function)
    def traced(*args):
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return function(*args)

    return traced


def gathered(algorithm: Algorithm, shardings: PyTree) -> Algorithm:
    """Steps and evaluates on weights that are whole but for "tensor", examples divided.

    Each weight is gathered once, at the start. What an algorithm updates and uses again in the same
    step is gathered where modules use it, since their inputs and outputs are held to the batch.
    """
    whole = jax.tree.map(without_batch_axes, shardings.params)

    def on_whole(function):
        def call(state, batch, key):
            if batch_ways() == 1:
                return function(state, batch, key)
            params = jax.lax.with_sharding_constraint(state.params, whole)
            with nn.intercept_methods(_divided):
                return function(state.replace(params=params), batch, key)

        return call

    return algorithm._replace(step=on_whole(algorithm.step), eval=on_whole(algorithm.eval))


def without_batch_axes(sharding: NamedSharding) -> NamedSharding:
    """The sharding with all that shares the batch gathered: ("fsdp", "tensor") -> "tensor"."""

    def kept(entry):
        axes = (entry,) if isinstance(entry, str) else entry or ()
        return tuple(axis for axis in axes if axis not in BATCH) or None

    return NamedSharding(sharding.mesh, P(*map(kept, sharding.spec)))


def _divided(call: Callable, args: tuple, kwargs: dict, context: Any) -> Any:
    """The results of a module's method with every float array [n, ...] held to the batch axes."""
    if isinstance(context.module, nn.Embed) and context.method_name == "__call__":
        call = functools.partial(_looked_up, context.module)
    result = call(*args, **kwargs)
    if context.method_name == "setup":
        return result
    array = lambda x: isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jnp.floating)
    return jax.tree.map(lambda x: over_batch(x) if array(x) else x, result)


def _looked_up(embed: nn.Embed, indices: jax.Array) -> jax.Array:
    """What `embed(indices)` is, with a gradient that is added up like that of any other weight."""
    ways = batch_ways()
    divides = indices.ndim and indices.shape[0] % ways == 0
    rows = shares.lookup(ways if divides else 1, embed.embedding, indices)
    return rows.astype(embed.dtype or rows.dtype)
