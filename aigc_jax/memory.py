"""Whether a run fits into memory, told by its shapes, before anything is read or made."""

import math
import os
import pathlib

import jax

from aigc_jax import build, core, parallel

CGROUP = pathlib.Path("/sys/fs/cgroup/memory.max")


def host() -> int:
    """Bytes that this machine or container has."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = CGROUP.read_text().strip() if CGROUP.is_file() else "max"
    return machine if limit == "max" else min(machine, int(limit))


def available() -> int:
    """Bytes that a device may hold; of a CPU its share of what this machine or container has."""
    stats = jax.local_devices()[0].memory_stats() or {}  # those of other processes tell nothing
    if "bytes_limit" in stats:
        return stats["bytes_limit"]
    return host() // len(jax.local_devices())


def check_batch(run: build.Run, mesh: jax.sharding.Mesh) -> None:
    """A batch of a step, and the samples of an evaluation, as far as they are like examples.

    Raises:
      ValueError: naming the option, its bytes and those of a device.
    """
    each = sum(x.size // x.shape[0] * x.dtype.itemsize for x in run.example.batch.values())
    there = available()
    ways = mesh.shape["data"] * mesh.shape["fsdp"]
    batches = {"batch_size": run.algorithm.batches_per_step / ways, "num_samples": 1}
    for option, share in batches.items():
        needed = math.ceil(run.config[option] * share * each)
        if needed > there:
            raise ValueError(
                f"config.{option} = {run.config[option]}: takes {needed:,} bytes of a device, "
                f"which has {there:,}; an example, such as config.data makes them, takes {each:,}"
            )


def check_state(shapes: core.State, shardings: core.State) -> None:
    """Parameters, optimiser and averages on one device, as `--describe` counts them.

    Raises:
      ValueError: naming the largest parameter, the bytes and those of a device.
    """
    leaves, wheres = jax.tree.leaves(shapes), jax.tree.leaves(shardings)
    needed = sum(map(parallel.bytes_on_device, leaves, wheres))
    there = available()
    if needed > there:
        params = jax.tree_util.tree_leaves_with_path(shapes.params)
        sizes = {core.path_name(path): leaf for path, leaf in params}
        largest = max(sizes, key=lambda name: math.prod(sizes[name].shape))
        raise ValueError(
            f"config.algorithm: the state takes {needed:,} bytes of a device, which has {there:,}; "
            f"the largest parameter is {largest} {_shown(sizes[largest])}: make it smaller, or "
            "divide the state by config.mesh.fsdp"
        )


def _shown(leaf: jax.ShapeDtypeStruct) -> str:
    return " x ".join(map(str, leaf.shape))
