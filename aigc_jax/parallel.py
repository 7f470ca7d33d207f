"""Devices: the mesh, where every array lives on it, and the compiled calls.

Algorithms are written for the global batch. Under `jit` the compiler divides it; under `pmap` each
device steps on its own part and gradients are averaged by the optimisers (see `build`).
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from aigc_jax import core
from aigc_jax.compiling import compiled_once
from aigc_jax.core import Algorithm, PyTree, path_name

AXES = ("data", "fsdp", "tensor")
BATCH = ("data", "fsdp")  # the axes that share a batch


def make_mesh(sizes: Mapping[str, int], devices: Sequence[jax.Device] | None = None) -> Mesh:
    """The mesh of sizes such as {"data": -1, "fsdp": 1, "tensor": 1}; -1 is all that remain.

    Without a -1 it takes the first devices of the machine. Axis types are Auto: Linen's Embed fails
    under Explicit ones.

    Raises:
      ValueError: if the sizes ask for more devices than there are, or do not divide them.
    """
    devices = list(devices or jax.devices())
    shape = [sizes[axis] for axis in AXES]
    fixed = math.prod(size for size in shape if size != -1)
    if shape.count(-1) > 1 or fixed < 1 or fixed > len(devices):
        raise ValueError(
            f"config.mesh = {dict(sizes)}: must use at most the {len(devices)} devices there are, "
            "with at most one -1"
        )
    if -1 in shape and len(devices) % fixed:
        raise ValueError(f"config.mesh = {dict(sizes)}: {fixed} must divide {len(devices)} devices")
    shape = [len(devices) // fixed if size == -1 else size for size in shape]
    used = devices[: math.prod(shape)]
    return jax.make_mesh(shape, AXES, axis_types=(AxisType.Auto,) * 3, devices=used)


def check_batch(batch_size: int, accumulate: int, mesh: Mesh) -> None:
    """A microbatch must split evenly over the devices that share a batch."""
    shares = math.prod(mesh.shape[axis] for axis in BATCH)
    if batch_size // accumulate % shares:
        raise ValueError(
            f"config.batch_size = {batch_size}: with accumulate = {accumulate} it must be a "
            f"multiple of {accumulate * shares}, since mesh {dict(mesh.shape)} splits it {shares} "
            "ways"
        )


def fully_sharded(shape: Sequence[int], mesh: Mesh, min_size: int = 1024) -> P:
    """FSDP for any array: its largest axis that divides by the mesh's "fsdp" axis is split.

    Arrays smaller than `min_size`, or without such an axis, are held whole by every device.
    """
    ways = mesh.shape["fsdp"]
    divisible = [(size, axis) for axis, size in enumerate(shape) if size % ways == 0]
    if ways == 1 or math.prod(shape) < min_size or not divisible:
        return P()
    _, chosen = max(divisible)
    return P(*("fsdp" if axis == chosen else None for axis in range(len(shape))))


RULES = ((".*", fully_sharded),)


def state_shardings(shapes: PyTree, mesh: Mesh, rules: Sequence = RULES) -> PyTree:
    """Where each leaf of the state lives: by the first rule whose regex matches its path.

    A rule is (path regex, PartitionSpec or (shape, mesh) -> PartitionSpec). Averages and optimiser
    slots end in the path of their parameter and have its shape, so they land beside it.
    """

    def place(path, leaf):
        name = path_name(path)
        spec = next((spec for pattern, spec in rules if re.search(pattern, name)), P())
        return NamedSharding(mesh, spec(leaf.shape, mesh) if callable(spec) else spec)

    return jax.tree_util.tree_map_with_path(place, shapes)


def replicated(mesh: Mesh) -> NamedSharding:
    """Whole on every device."""
    return NamedSharding(mesh, P())


def batched(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """Split over the batch at `axis`."""
    return NamedSharding(mesh, P(*([None] * axis), BATCH))


def compile_init(algorithm: Algorithm, shardings: PyTree) -> Callable:
    """(key) -> State, created where it lives."""
    return jax.jit(algorithm.init, out_shardings=shardings)


def many_steps(algorithm: Algorithm, prepare: Callable, gather: Callable, count: int) -> Callable:
    """(state, arrays, items [K, ...], run key) -> (state, metrics [K]): K counted steps.

    `gather(arrays, item)` is the raw batch of one item: example indices of data on the device, or
    the batch itself. One step is called, not scanned: convolutions inside a loop are several times
    slower on XLA:CPU.
    """
    advanced = core.advance(algorithm, prepare)

    def train_steps(state, arrays, items, run_key):
        def one(state, item):
            return advanced(state, gather(arrays, item), run_key)

        if count > 1:
            return jax.lax.scan(one, state, items)
        state, metrics = one(state, jax.tree.map(lambda x: x[0], items))
        return state, jax.tree.map(lambda x: x[None], metrics)

    return train_steps


def compile_step(train_steps: Callable, mesh: Mesh, shardings: PyTree, mode: str) -> Callable:
    """Compiles `many_steps` for the mesh, the state donated: (state, metrics, guard).

    The guard is a copy that outlives the donated state. Mode "pmap" needs a mesh of one data axis.
    """

    def with_guard(state, arrays, items, run_key):
        state, metrics = train_steps(state, arrays, items, run_key)
        return state, metrics, state.guard

    if mode == "pmap":
        return _compile_pmap(with_guard, mesh)
    whole = replicated(mesh)
    jitted = jax.jit(
        with_guard,
        donate_argnums=0,
        in_shardings=(shardings, whole, batched(mesh, axis=1), whole),
        out_shardings=(shardings, whole, whole),
    )
    return compiled_once(jitted)


def _compile_pmap(with_guard: Callable, mesh: Mesh) -> Callable:
    devices = list(mesh.devices.flat)
    if mesh.shape["data"] != len(devices):
        raise ValueError(f"config.parallel = 'pmap': mesh {dict(mesh.shape)} may only have data")

    def train_steps(state, arrays, items, run_key):
        run_key = jax.random.fold_in(run_key, jax.lax.axis_index("data"))
        state, metrics, guard = with_guard(state, arrays, items, run_key)
        guard = first_over_devices(guard)
        shared = {"mutable": state.mutable, "extra": state.extra, "ema": state.ema}
        state = state.replace(**mean_over_devices(shared), guard=guard)
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


def first_over_devices(guard: PyTree) -> PyTree:
    """What the device of a pmap saw that first met something not finite."""
    never = jnp.iinfo(jnp.int32).max
    step = jax.lax.pmin(jnp.where(guard["step"] < 0, never, guard["step"]), "data")
    name = jax.lax.pmax(jnp.where(guard["step"] == step, guard["name"], -1), "data")
    return {"step": jnp.where(step == never, -1, step), "name": name}


def compile_eval(
    algorithm: Algorithm, normalise: Callable, gather: Callable, mesh: Mesh, shardings: PyTree
) -> Callable:
    """(state, arrays, item, weight [B], key) -> {name: (sum of w v, sum of w)}.

    Averaged parameters are used where there are any; `weight` is 0 for rows that only fill up the
    last batch.
    """

    def evaluate(state, arrays, item, weight, key):
        values = dict(
            algorithm.eval(core.averaged(state), normalise(key, gather(arrays, item)), key)
        )
        weight = weight * values.pop("weight", 1.0)
        keep = lambda v: jnp.where(weight > 0, v, 0.0)
        return {name: ((weight * keep(v)).sum(), weight.sum()) for name, v in values.items()}

    whole, split = replicated(mesh), batched(mesh)
    jitted = jax.jit(
        evaluate, in_shardings=(shardings, whole, split, split, whole), out_shardings=whole
    )
    return compiled_once(jitted)


def put(tree: PyTree, sharding: NamedSharding) -> Any:
    """Host arrays onto the mesh."""
    return jax.tree.map(lambda x: jax.device_put(x, sharding), tree)
