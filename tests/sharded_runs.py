"""Steps of the runs in `tiny_runs`, compiled and taken with rules and a mesh of one's choice."""

from typing import Any, NamedTuple

import jax
import tiny_runs

from aigc_jax import core, describe_compiled, feed, parallel, sharding
from aigc_jax.compiled import collectives, traffic


class Step(NamedTuple):
    """A compiled step, and what it was compiled for."""

    run: Any
    mesh: Any
    shapes: core.State
    shardings: core.State
    compiled: Any

    @property
    def collectives(self):
        """Everything that its devices say to each other."""
        return collectives.of(self.compiled.as_text())

    @property
    def flops(self):
        """Operations of one device."""
        return self.compiled.cost_analysis()["flops"]

    @property
    def excess(self):
        """Bytes sent, over the least possible."""
        least = traffic.minimum(self.run, self.shapes, self.shardings)
        return sum(one.sent for one in self.collectives) / sum(one.sent for one in least)


def laid_out(raw, sizes, rules, **changes):
    """(run, mesh, shapes, shardings)."""
    run = tiny_runs.run_of(raw, **changes)
    mesh = parallel.make_mesh({"data": 1, "fsdp": 1, "tensor": 1} | sizes)
    shapes = core.shapes_of(run.algorithm)
    return run, mesh, shapes, parallel.state_shardings(shapes, mesh, rules)


def step(raw, sizes, rules=sharding.FULLY_SHARDED, **changes):
    """The compiled step of a run."""
    made = laid_out(raw, sizes, rules, **changes)
    return Step(*made, describe_compiled.compiled_step(*made))


def trained(raw, sizes, rules, steps):
    """(first state, last state, metrics of every step) of some steps."""
    run, mesh, _, shardings = laid_out(raw, sizes, rules)
    data = tiny_runs.dataset(run.info).train
    update = parallel.many_steps(run.algorithm, run.prepare, data.gather, 1, shardings)
    update = parallel.compile_step(update, mesh, shardings, "jit")
    state = parallel.compile_init(run.algorithm, shardings)(core.stream(0, core.INIT))
    first, seen = jax.device_get(state), []
    arrays = parallel.put(data.arrays, parallel.replicated(mesh))
    items = feed.training_items(
        data,
        seed=0,
        cursor=0,
        batch_size=run.config["batch_size"],
        batches_per_step=run.algorithm.batches_per_step,
        steps=1,
    )
    for _ in range(steps):
        state, metrics, _ = update(state, arrays, next(items), core.stream(0, core.STEP))
        seen.append(jax.device_get(metrics))
    return first, state, {name: [row[name][0] for row in seen] for name in seen[0]}
