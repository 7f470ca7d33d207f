"""`train.py --describe=compiled`: what one step moves, holds and computes on each device.

The step is compiled for the mesh of the config, on batches in the abstract: no data is read, and
the gathering of examples from data on the devices is left out. What is said of collectives is read
from the program by `collectives` and set beside the least that the mesh can do with.

On a CPU a mesh may be larger than the machine: `simulate` makes as many devices as it asks for, so
`JAX_PLATFORMS=cpu python train.py --config=... --describe=compiled --config.mesh.data=64` shows the
step of 64 devices anywhere. XLA:CPU fuses and schedules otherwise than XLA for accelerators do:
bytes of weights and collectives hold there too, bytes of activations only roughly.
"""

import contextlib
import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from aigc_jax import build, core, flops, parallel
from aigc_jax.compiled import collectives, traffic
from aigc_jax.compiled.traffic import Traffic
from aigc_jax.compiling import compiled_with_options

Rows = list[tuple[str, ...]]


def simulate(sizes: Mapping[str, int]) -> None:
    """Has the CPU stand for as many devices as a mesh asks for, if no device was used before."""
    asked = math.prod(size for size in sizes.values() if size > 0)
    if asked > jax.config.jax_num_cpu_devices:
        # Once the devices are known it raises; `make_mesh` says if they are too few.
        with contextlib.suppress(RuntimeError):
            jax.config.update("jax_num_cpu_devices", asked)


def compiled_step(run: build.Run, mesh: Mesh, shapes: core.State, shardings: core.State) -> Any:
    """One update of `run` compiled for the mesh: what `as_text` and `memory_analysis` are asked.

    Raises:
      ValueError: for a run under pmap, whose program is another one.
    """
    if run.config["parallel"] != "jit":
        raise ValueError(
            f"--describe=compiled: config.parallel = {run.config['parallel']!r}: must be 'jit'"
        )
    count = run.config["batch_size"] * run.algorithm.batches_per_step
    items = {
        name: jax.ShapeDtypeStruct((1, count, *shape), np.dtype(run.info.dtypes[name]))
        for name, shape in run.info.shapes.items()
    }
    batch_itself = lambda arrays, item: item
    steps = parallel.many_steps(run.algorithm, run.prepare, batch_itself, 1, shardings)
    key = jax.eval_shape(lambda: jax.random.key(0))
    return compiled_with_options(
        parallel.jitted_step(steps, mesh, shardings).lower(shapes, {}, items, key)
    )


def sections(
    run: build.Run, mesh: Mesh, shapes: core.State, shardings: core.State, counted: flops.Flops
) -> dict[str, Rows]:
    """{title: rows of a table} on the compiled step; `counted` is what the update takes in all."""
    compiled = compiled_step(run, mesh, shapes, shardings)
    found = traffic.found(collectives.of(compiled.as_text()), mesh.shape)
    least = traffic.minimum(run, shapes, shardings)
    axes = ", ".join(f"{axis} {size}" for axis, size in mesh.shape.items())
    sent, needed = (sum(row.sent for row in rows) for rows in (found, least))
    ratio = f"{sent / needed:.3f} times the least" if needed else "nothing is needed"
    computed = [
        ("FLOPs", f"{compiled.cost_analysis()['flops']:,.0f}", "by XLA, bodies of loops once"),
        ("its share", f"{counted.total // mesh.size:,}", f"of the update over {mesh.size} devices"),
        ("sent", f"{sent:,.0f}", f"bytes, {ratio}"),
    ]
    return {
        f"compiled step on each device of the mesh {axes}": computed,
        "its memory in bytes": _memory(compiled, shapes, shardings),
        "its collectives in bytes": _traffic(found),
        "the least that the mesh can do with": _traffic(least),
    }


def _memory(compiled: Any, shapes: core.State, shardings: core.State) -> Rows:
    """Bytes on one device: the state's parts, the batch, and what the step needs beside them."""
    held = {"params": "parameters", "opt_state": "optimiser", "ema": "averages"}
    sizes = {field.name: 0 for field in dataclasses.fields(shapes)}
    for name in sizes:
        leaves = jax.tree.leaves(getattr(shapes, name))
        places = jax.tree.leaves(getattr(shardings, name))
        for leaf, where in zip(leaves, places, strict=True):
            sizes[name] += parallel.bytes_on_device(leaf, where)
    analysis = compiled.memory_analysis()
    rows = {words: sizes[name] for name, words in held.items()}
    rows["rest of the state"] = sum(sizes.values()) - sum(rows.values())
    rows["batch"] = analysis.argument_size_in_bytes - sum(sizes.values())
    rows["activations and gathered weights"] = analysis.temp_size_in_bytes
    return [(words, f"{size:,}") for words, size in rows.items() if size > 0]


def _traffic(rows: list[Traffic]) -> Rows:
    total = Traffic("total", (), *(sum(row[i] for row in rows) for i in (2, 3, 4)))
    return [
        ("kind", "mesh axes", "count", "bytes", "sent by each device"),
        *(
            (row.kind, ", ".join(row.axes), f"{row.count:,}", f"{row.bytes:,}", f"{row.sent:,.0f}")
            for row in (*rows, total)
        ),
    ]
