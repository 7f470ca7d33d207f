"""The mode "pmap": each device steps on its own part of the batch, and what they found is averaged.

Gradients are averaged by the optimisers (see `build`), batch statistics by the networks.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from aigc_jax.core import PyTree


def compiled(with_guard: Callable, mesh: Mesh) -> Callable:
    """(state, arrays, items [K, ...], run key) -> (state, metrics, guard) on a mesh of data alone.

    Raises:
      ValueError: for another mesh.
    """
    devices = list(mesh.devices.flat)
    if mesh.shape["data"] != len(devices):
        raise ValueError(f"config.parallel = 'pmap': mesh {dict(mesh.shape)} may only have data")

    def train_steps(state, arrays, items, run_key):
        run_key = jax.random.fold_in(run_key, jax.lax.axis_index("data"))
        state, metrics, guard = with_guard(state, arrays, items, run_key)
        shared = {"mutable": state.mutable, "extra": state.extra, "ema": state.ema}
        state = state.replace(**mean_over_devices(shared))
        return state, mean_over_devices(metrics), guard

    mapped = jax.pmap(
        train_steps,
        axis_name="data",
        in_axes=(None, None, 1, None),
        out_axes=None,
        donate_argnums=0,
        devices=devices,
    )

    def split(x):
        return x.reshape(x.shape[0], len(devices), -1, *x.shape[2:])

    return lambda state, arrays, items, key: mapped(state, arrays, jax.tree.map(split, items), key)


def mean_over_devices(tree: PyTree) -> PyTree:
    """Floating-point leaves averaged over the devices of a pmap."""

    def mean(x):
        return jax.lax.pmean(x, "data") if jnp.issubdtype(x.dtype, jnp.floating) else x

    return jax.tree.map(mean, tree)
