"""Compiles a workload for simulated devices and counts what one of them does; nothing is run.

    python -m benchmarks.scaling.measure DEVICES OUT NAME...

writes one line of JSON for each mesh of the workloads named, and is a process of its own because
the number of devices is fixed when JAX starts.
"""

import contextlib
import json
import math
import pathlib
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from unittest import mock

import jax
import numpy as np

from aigc_jax import build, core, describe, feed, parallel, sharding
from aigc_jax.compiled import collectives
from benchmarks.scaling import cost, division, hoisted, network, widened
from benchmarks.scaling.workloads import WORKLOADS, Workload

# LLVM's optimisation takes most of the compiler's time and changes nothing of what is counted.
OPTIONS = {"xla_backend_optimization_level": 0, **widened.KEEP_ROUNDING}
HALVED_AT = 64  # devices at which the program with half the batch is compiled too


@contextlib.contextmanager
def as_for_accelerators() -> Iterator[None]:
    """Programs are traced in the form that they have on an accelerator, not in that of a CPU.

    Convolutions on a CPU take other forms (`aigc_jax.layers.convolution`), whose operations are not
    those of a chip. Only the project's own question for the platform is answered differently.
    """
    with mock.patch.object(jax, "default_backend", return_value="tpu"):
        yield


def run_of(workload: Workload, sizes: Mapping[str, int], batch_per_device: int) -> build.Run:
    """The workload's run in bfloat16 on a mesh; raises what `build` raises."""
    devices = math.prod(sizes.values())
    changes = dict(batch_size=batch_per_device * devices, precision="bfloat16", mesh=dict(sizes))
    changes |= {"sharding": "tensor_parallel"} if sizes["tensor"] > 1 else {}
    return build.run(build.complete({**workload.config, **changes}), workload.info)


def lowered(run: build.Run, mesh: jax.sharding.Mesh) -> Any:
    """The run's own training step, lowered for the mesh on shapes alone: no array is made."""
    state = core.shapes_of(run.algorithm)
    shardings = parallel.state_shardings(state, mesh, sharding.rules_of(run.config))
    steps = parallel.many_steps(run.algorithm, run.prepare, feed.passed_through, 1, shardings)
    count = run.config["batch_size"] * run.algorithm.batches_per_step
    items = {
        name: jax.ShapeDtypeStruct((1, count, *shape), np.dtype(run.info.dtypes[name]))
        for name, shape in run.info.shapes.items()
    }
    key = jax.eval_shape(lambda: jax.random.key(0))
    jitted = parallel.jitted_step(steps, mesh, shardings)
    return jitted.lower(state, {}, items, key)


def point(workload: Workload, sizes: Mapping[str, int], batch_per_device: int) -> dict[str, Any]:
    """What one of the mesh's devices does in a step, counted from the compiled program.

    {"devices", "parameters", "seconds" of the compiler, "flops" and "flops_traced" of products,
    "product_elements", "state_bytes", "moved_bytes", "temporary_bytes", "collectives": [{"kind",
    "axes", "count", "bytes" of all together}]}.
    """
    started = time.perf_counter()
    devices = math.prod(sizes.values())
    mesh = parallel.make_mesh(sizes, jax.devices()[:devices])
    with as_for_accelerators():
        run = run_of(workload, sizes, batch_per_device)
        program = lowered(run, mesh)
        traced, _ = describe.update_flops(run)
    compiled = program.compile(compiler_options=OPTIONS)
    text = compiled.as_text()
    found = widened.as_traced(text, hoisted.counted_once(text, collectives.of(text)))
    return {
        "devices": devices,
        "parameters": sum(x.size for x in jax.tree.leaves(core.shapes_of(run.algorithm).params)),
        "flops_traced": traced.matmul / devices,
        **cost.of(text)._asdict(),
        "temporary_bytes": compiled.memory_analysis().temp_size_in_bytes,
        "collectives": summed(found, sizes),
        "seconds": round(time.perf_counter() - started, 1),
    }


def summed(
    found: Sequence[collectives.Collective], sizes: Mapping[str, int]
) -> list[dict[str, Any]]:
    """The collectives of each kind along each set of axes: how many, and their bytes together."""
    total: dict[Any, list[float]] = {}
    for one in found:
        entry = total.setdefault((one.kind, one.axes(sizes)), [0, 0])
        entry[0] += one.count
        entry[1] += one.count * one.bytes
    return [
        {"kind": kind, "axes": list(axes), "count": count, "bytes": size}
        for (kind, axes), (count, size) in sorted(total.items())
    ]


def lines(names: Sequence[str], devices: int) -> Iterator[dict[str, Any]]:
    """{"workload", "mesh", "batch_per_device", "undivided", "point"} of every mesh of workloads."""
    for name in names:
        workload = WORKLOADS[name]
        for mesh in workload.meshes:
            batches = [workload.batch_per_device]
            batches += [workload.batch_per_device // 2] * (devices == HALVED_AT)
            sizes, node = (network.MESHES[mesh](n) for n in (devices, network.NODE))
            whole = division.undivided(run_of(workload, node, 1), mesh)
            for batch in batches:
                yield {
                    **{"workload": name, "mesh": mesh, "batch_per_device": batch},
                    **{"undivided": whole, "point": point(workload, sizes, batch)},
                }


def main() -> None:
    """Compiles for as many simulated devices as the first argument says."""
    devices, out, *names = sys.argv[1:]
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", int(devices))
    with pathlib.Path(out).open("w") as file:
        for line in lines(names, int(devices)):
            print(json.dumps(line), file=file, flush=True)


if __name__ == "__main__":
    main()
