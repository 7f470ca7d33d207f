"""What a run starts from: a fresh state, another run's parameters, or its own checkpoint."""

import functools
import pathlib

import jax

from aigc_jax import build, checkpoint, core, finetune, log, memory, parallel, sharding


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
    initial = functools.partial(_fresh, run, shardings)
    return checkpoint.restore(workdir, jax.tree.map(place, shapes, shardings), step, initial)


def _fresh(run: build.Run, shardings: core.State) -> core.State:
    """The state that the run begins with."""
    init = parallel.compile_init(run.algorithm, shardings)
    return init(core.stream(run.config["seed"], core.INIT))


def resumed(run: build.Run, workdir: pathlib.Path, mesh: jax.sharding.Mesh) -> core.State | None:
    """The newest whole checkpoint of the workdir, None without any.

    The checkpoint of step 0 alone only shows that the place can be written to.

    Raises:
      ValueError: if rows of earlier steps say that there were checkpoints, and there is none.
    """
    there = checkpoint.steps(workdir)
    if not there:
        _check_untrained(workdir)
    return restore(run, workdir, mesh) if any(there) else None


def _check_untrained(workdir: pathlib.Path) -> None:
    """A run whose checkpoints are lost, on a disk that is not mounted say, never begins anew."""
    done = max((row["step"] for row in log.rows_of(workdir)), default=0)
    if done:
        path = checkpoint.folder(workdir)
        names = ", ".join(sorted(p.name for p in path.glob("*"))) or "nothing"
        raise ValueError(
            f"--workdir={workdir}: metrics.jsonl goes to step {done}, but {path} holds no "
            f"checkpoint (it holds {names}); put them back, or give another folder"
        )


def first_state(run: build.Run, mesh: jax.sharding.Mesh) -> core.State:
    """A pretrained start, else a fresh one."""
    shapes, shardings = layout(run, mesh)
    memory.check_state(shapes, shardings)
    state = _fresh(run, shardings)
    if run.config["init_from"]:
        state = finetune.start_from(state, run.config["init_from"], run.config["init_params"])
    return state
