"""Small checkpoints for tests: how to make them, spoil them and tell whether they are whole."""

import jax
import jax.numpy as jnp
import numpy as np

from aigc_jax import checkpoint, core

MIB = 1 << 20


def state_at(step, size=MIB // 4):
    """`size` + 1 numbers that all say the step."""
    params = {"net": {"kernel": np.full(size, step, np.float32), "bias": np.float32(step)}}
    return core.new_state(params, {}).replace(step=np.int32(step))


def target(size=MIB // 4):
    return jax.eval_shape(lambda: jax.tree.map(jnp.asarray, state_at(0, size)))


def save(writer, step, metrics=None, size=MIB // 4):
    writer.save(state_at(step, size), {"at": step}, metrics or {})
    writer.wait()


def write(workdir, *steps, keep=(9, "", "min"), metrics=None):
    with checkpoint.Writer(workdir, *keep) as writer:
        for step in steps:
            save(writer, step, (metrics or {}).get(step))


def assert_whole(workdir, size=MIB // 4):
    """Every step that counts can be read and is what it says; the newest of them."""
    there = checkpoint.steps(workdir)
    for step in there:
        found = checkpoint.restore(workdir, target(size), step)
        assert {float(x) for x in np.unique(found.params["net"]["kernel"])} == {step}
    return there[-1] if there else None


def names(workdir):
    return sorted(path.name for path in checkpoint.folder(workdir).iterdir())


def flip(workdir, step):
    files = [p for p in (checkpoint.folder(workdir) / str(step)).rglob("*") if p.is_file()]
    path = max(files, key=lambda p: p.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
