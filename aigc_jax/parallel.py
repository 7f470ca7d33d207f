"""Devices: the mesh, where every array lives on it, and the compiled calls.

Algorithms are written for the global batch. Under `jit` the compiler divides it; under `pmap` each
device steps on its own part and gradients are averaged by the optimisers (see `build`).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from aigc_jax import core, pmapped
from aigc_jax.compiling import compiled_once
from aigc_jax.constraints import gathered, inside
from aigc_jax.core import BATCH, Algorithm, PyTree, State, path_name
from aigc_jax.sharding import FULLY_SHARDED, Rule, fully_sharded, parameter_specs

AXES = ("data", "fsdp", "tensor")


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
    there = f"the {len(devices)} devices of {jax.process_count()} process(es)"
    if min(shape) < -1 or 0 in shape or shape.count(-1) > 1 or fixed > len(devices):
        raise ValueError(
            f"config.mesh = {dict(sizes)}: must use at most {there}, with at most one -1"
        )
    if -1 in shape and len(devices) % fixed:
        raise ValueError(f"config.mesh = {dict(sizes)}: {fixed} must divide {there}")
    shape = [len(devices) // fixed if size == -1 else size for size in shape]
    used = devices[: math.prod(shape)]
    if len(used) < len(devices) and jax.process_count() > 1:
        raise ValueError(f"config.mesh = {dict(sizes)}: must use all of {there}")
    return Mesh(_arranged(shape, used), AXES, axis_types=(AxisType.Auto,) * 3)


def _arranged(shape: Sequence[int], devices: Sequence[jax.Device]) -> np.ndarray:
    """The devices in the shape of the mesh, those that talk most beside each other.

    Slices of TPUs, joined by a slower network, divide the first axis of the mesh that they can.

    Raises:
      ValueError: if no axis divides by the number of slices.
    """
    slices = len({getattr(device, "slice_index", 0) for device in devices})
    if slices == 1:
        return mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True)
    first = next((axis for axis, size in enumerate(shape) if size % slices == 0), None)
    if first is None:
        named = dict(zip(AXES, shape, strict=True))
        raise ValueError(f"config.mesh = {named}: one axis must be a multiple of {slices} slices")
    between = [slices if axis == first else 1 for axis in range(len(shape))]
    within = [size // ways for size, ways in zip(shape, between, strict=True)]
    return mesh_utils.create_hybrid_device_mesh(
        within, between, devices, allow_split_physical_axes=True
    )


def check_batch(batch_size: int, accumulate: int, mesh: Mesh) -> None:
    """A microbatch must split evenly over the devices that share a batch."""
    shares = math.prod(mesh.shape[axis] for axis in BATCH)
    if batch_size // accumulate % shares:
        raise ValueError(
            f"config.batch_size = {batch_size}: with accumulate = {accumulate} it must be a "
            f"multiple of {accumulate * shares}, since mesh {dict(mesh.shape)} splits it {shares} "
            "ways"
        )


def state_shardings(shapes: State, mesh: Mesh, rules: Sequence[Rule] = FULLY_SHARDED) -> State:
    """Where each leaf of the state lives, by rules as in `sharding`.

    Averages and optimiser slots live beside the parameter whose path ends theirs, if they have its
    shape; anything else is divided like an array of its own.

    Raises:
      ValueError: for rules that do not fit the parameters or the mesh.
    """
    specs = parameter_specs(shapes.params, mesh, rules)
    leaves = jax.tree_util.tree_leaves_with_path(shapes.params)
    sizes = {path_name(path): leaf.shape for path, leaf in leaves}

    def place(path, leaf):
        name = path_name(path)
        owner = _owner(name, [p for p, shape in sizes.items() if shape == leaf.shape])
        return NamedSharding(mesh, specs[owner] if owner else fully_sharded(leaf.shape, mesh))

    return jax.tree_util.tree_map_with_path(place, shapes)


def _owner(name: str, params: Sequence[str]) -> str:
    """Of the paths "network/..." the one that a leaf of the state belongs to, "" for none.

    Optimisers put their own names between: "opt_state/network/0/mu/...".
    """

    def fit(param):
        network, _, rest = param.partition("/")
        within = f"/{name}".endswith(f"/{rest}")
        return within * (len(rest) + len(name) * (f"/{network}/" in f"/{name}"))

    best = max(params, key=fit, default="")
    return best if best and fit(best) else ""


def bytes_on_device(leaf: jax.ShapeDtypeStruct, where: NamedSharding) -> int:
    """How much of an array one device holds."""
    return math.prod(where.shard_shape(leaf.shape)) * leaf.dtype.itemsize


def replicated(mesh: Mesh) -> NamedSharding:
    """Whole on every device."""
    return NamedSharding(mesh, P())


def batched(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """Split over the batch at `axis`."""
    return NamedSharding(mesh, P(*([None] * axis), BATCH))


def compile_init(algorithm: Algorithm, shardings: PyTree) -> Callable:
    """(key) -> State, created where it lives."""
    return jax.jit(algorithm.init, out_shardings=shardings)


def many_steps(
    algorithm: Algorithm,
    prepare: Callable,
    gather: Callable,
    count: int,
    shardings: State | None = None,
) -> Callable:
    """(state, arrays, items [K, ...], run key) -> (state, metrics [K]): K counted steps.

    `gather(arrays, item)` is the raw batch of one item: example indices of data on the device, or
    the batch itself. One step is called, not scanned: convolutions inside a loop are several times
    slower on XLA:CPU. With the `shardings` of the state each step gathers its weights at its start.

    Microbatches gather no weights again, but XLA:CPU reduces the gradients of each on its own; XLA
    for GPUs has a pass that does it once (not tested). To add up on each device and reduce at the
    end is possible by hand only with a loss, noise and statistics of each device's own rows, and
    then results would depend on the number of devices.
    """
    algorithm = gathered(algorithm, shardings) if shardings else algorithm
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
    if mode == "pmap":
        return pmapped.compiled(_with_guard(train_steps), mesh)
    return compiled_once(jitted_step(train_steps, mesh, shardings))


def jitted_step(train_steps: Callable, mesh: Mesh, shardings: PyTree) -> Any:
    """The jitted function that `compile_step` compiles, which can be lowered for `describe`."""
    whole = replicated(mesh)
    return jax.jit(
        inside(mesh, _with_guard(train_steps)),
        donate_argnums=0,
        in_shardings=(shardings, whole, batched(mesh, axis=1), whole),
        out_shardings=(shardings, whole, whole),
    )


def _with_guard(train_steps: Callable) -> Callable:
    def with_guard(state, arrays, items, run_key):
        state, metrics = train_steps(state, arrays, items, run_key)
        return state, metrics, state.guard

    return with_guard


def compile_eval(
    algorithm: Algorithm, normalise: Callable, gather: Callable, mesh: Mesh, shardings: PyTree
) -> Callable:
    """(state, arrays, item, weight [B], key) -> {name: (sum of w v, sum of w)}.

    Averaged parameters are used where there are any; `weight` is 0 for rows that only fill up the
    last batch.
    """

    algorithm = gathered(algorithm, shardings)

    def evaluate(state, arrays, item, weight, key):
        values = dict(
            algorithm.eval(core.averaged(state), normalise(key, gather(arrays, item)), key)
        )
        weight = weight * values.pop("weight", 1.0)
        keep = lambda v: jnp.where(weight > 0, v, 0.0)
        return {name: ((weight * keep(v)).sum(), weight.sum()) for name, v in values.items()}

    whole, split = replicated(mesh), batched(mesh)
    jitted = jax.jit(
        inside(mesh, evaluate),
        in_shardings=(shardings, whole, split, split, whole),
        out_shardings=whole,
    )
    return compiled_once(jitted)


def put(tree: PyTree, sharding: NamedSharding) -> PyTree:
    """Host arrays onto the mesh; where it spans processes, each gives what its devices hold."""
    if sharding.is_fully_addressable:
        return jax.tree.map(lambda x: jax.device_put(x, sharding), tree)

    def place(x):
        x = np.asarray(x)
        return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])

    return jax.tree.map(place, tree)


def rows_of_process(sharding: NamedSharding, shape: Sequence[int]) -> np.ndarray:
    """The places i64 [n], sorted, along the batch axis of `shape` that this process's devices hold.

    The batch axis is the first one that `sharding` divides.
    """
    axis, (size, *_) = _batch_axis(sharding), shape[_batch_axis(sharding) :]
    indices = sharding.addressable_devices_indices_map(tuple(shape)).values()
    return np.unique(np.concatenate([np.arange(size)[index[axis]] for index in indices]))


def batch_from_rows(tree: PyTree, rows: np.ndarray, sharding: NamedSharding) -> PyTree:
    """Global arrays from the `rows_of_process` of each process, in their order: [..., n, ...]."""
    axis = _batch_axis(sharding)
    spec = sharding.spec[axis] if len(sharding.spec) else ()
    ways = math.prod(
        sharding.mesh.shape[name] for name in ([spec] if isinstance(spec, str) else spec)
    )
    held = len(rows_of_process(sharding, (1,) * axis + (ways,)))

    def join(x):
        def piece(index):
            start, stop, _ = index[axis].indices(shape[axis])
            first = np.searchsorted(rows, start)
            return x[(*index[:axis], slice(first, first + stop - start), *index[axis + 1 :])]

        shape = (*x.shape[:axis], len(rows) // held * ways, *x.shape[axis + 1 :])
        return jax.make_array_from_callback(shape, sharding, piece)

    return jax.tree.map(join, tree)


def _batch_axis(sharding: NamedSharding) -> int:
    return next((axis for axis, entry in enumerate(sharding.spec) if entry is not None), 0)
