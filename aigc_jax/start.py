"""What a run starts from: a fresh state, another run's parameters, or its own checkpoint."""

import pathlib

import jax

from aigc_jax import build, checkpoint, core, finetune, parallel, sharding


def layout(run: build.Run, mesh: jax.sharding.Mesh) -> tuple[core.State, core.State]:
    """The abstract state, and where each of its leaves lives on the mesh."""
    shapes = core.shapes_of(run.algorithm)
    return shapes, parallel.state_shardings(shapes, mesh, sharding.rules_of(run.config))


def restore(
    run: build.Run, workdir: pathlib.Path, mesh: jax.sharding.Mesh, step: int | None = None
) -> core.State:
    """The state of a checkpoint, newest by default, laid out on the mesh."""
    shapes, shardings = layout(run, mesh)
    place = lambda leaf, where: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where)
    return checkpoint.restore(workdir, jax.tree.map(place, shapes, shardings), step)


def resumed(run: build.Run, workdir: pathlib.Path, mesh: jax.sharding.Mesh) -> core.State | None:
    """The newest whole checkpoint of the workdir, None without any.

    The checkpoint of step 0 alone only shows that the place can be written to.
    """
    if not any(checkpoint.steps(workdir)):
        return None
    return restore(run, workdir, mesh)


def first_state(run: build.Run, mesh: jax.sharding.Mesh) -> core.State:
    """A pretrained start, else a fresh one."""
    _, shardings = layout(run, mesh)
    init = parallel.compile_init(run.algorithm, shardings)
    state = init(core.stream(run.config["seed"], core.INIT))
    if run.config["init_from"]:
        state = finetune.start_from(state, run.config["init_from"], run.config["init_params"])
    return state
