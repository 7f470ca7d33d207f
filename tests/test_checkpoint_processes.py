"""Two real processes save together while they train, and read what they or others have written.

Run as a script with (what to do, process, port, folder) it is one of the two.
"""

import os
import pathlib
import resource
import signal
import socket
import subprocess
import sys
import time
import traceback

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

ROOT = pathlib.Path(__file__).resolve().parents[1]
RUN = {"config": {"name": "both"}, "tokenizer": None}
SAVED = (5, 10, 15)


def state_at(step):
    """Whole numbers, so that any number of devices computes them exactly."""
    from aigc_jax import core

    kernel = np.arange(64 * 48, dtype=np.float32).reshape(64, 48) + step
    params = {"kernel": kernel, "half": jnp.full((8,), step, jnp.bfloat16)}
    state = core.new_state({"net": params}, {"count": np.int32(step)})
    return state.replace(step=np.int32(step), ema={"params": {"net": kernel + 1}, "mutable": {}})


def target(devices):
    """The abstract state, its large arrays divided over an "fsdp" axis of all devices."""
    from aigc_jax import parallel

    mesh = parallel.make_mesh({"data": 1, "fsdp": devices, "tensor": 1})
    shapes = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, state_at(0)))
    shardings = parallel.state_shardings(shapes, mesh)
    assert devices == 1 or shardings.params["net"]["kernel"].spec == P("fsdp", None)
    place = lambda leaf, where: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where)
    return jax.tree.map(place, shapes, shardings)


def placed(step, wanted):
    """The state of a step, laid out over all processes."""
    make = lambda x, leaf: jax.make_array_from_callback(x.shape, leaf.sharding, lambda at: x[at])
    return jax.tree.map(make, jax.tree.map(np.asarray, state_at(step)), wanted)


def assert_is(state, step):
    """Every part that this process holds is that of `step`."""

    def compare(found, expected):
        for shard in found.addressable_shards:
            np.testing.assert_array_equal(np.asarray(shard.data), expected[shard.index])

    jax.tree.map(compare, state, jax.tree.map(np.asarray, state_at(step)))


def meet(name):
    from jax.experimental import multihost_utils

    multihost_utils.sync_global_devices(name)


def train_and_save(workdir, wanted):
    """Collectives of a donated step go on in this thread while files are being written."""
    from aigc_jax import checkpoint

    shardings = jax.tree.map(lambda leaf: leaf.sharding, wanted)
    state = placed(0, wanted)

    def one(state):
        zero = 0 * sum(x.sum().astype(jnp.float32) for x in jax.tree.leaves(state.params))
        return jax.tree.map(lambda x: x + (1 + zero).astype(x.dtype), state)

    step = jax.jit(one, donate_argnums=0, out_shardings=shardings)
    with checkpoint.Writer(workdir, 2, "", "min") as writer:
        for count in range(1, 21):
            state = step(state)
            writer.check()
            if count in SAVED:
                writer.save(state.replace(cursor=state.cursor - count), RUN, {})
        assert int(state.step) == 20
    meet("the first process has deleted what is in excess")
    assert checkpoint.steps(workdir) == list(SAVED[-2:])


def read_and_agree(workdir, index, wanted):
    """Both see the damage that either finds, and go back to the same step."""
    from checkpoints import flip

    from aigc_jax import checkpoint
    from aigc_jax.storage import stored

    assert_is(checkpoint.restore(workdir, wanted), 15)
    pair = jax.ShapeDtypeStruct((2,), jnp.int32, sharding=wanted.step.sharding)
    with pytest.raises(ValueError, match=r"another run.*\n.*step: int32\[\] there"):
        checkpoint.restore(workdir, wanted.replace(step=pair))
    whole = stored.read_state
    if index == 1:  # what only one process sees
        damage = stored.DamagedError(f"{workdir}: this process sees nothing")
        stored.read_state = lambda path, *rest: (
            whole(path, *rest) if path.name == "10" else (_ for _ in ()).throw(damage)
        )
    assert_is(checkpoint.restore(workdir, wanted), 10)
    stored.read_state = whole
    assert checkpoint.steps(workdir) == [10]
    meet("read")
    if index == 0:
        folder = checkpoint.folder(workdir)
        (folder / "15.damaged").rename(folder / "15")
        flip(workdir, 15)
    meet("flipped")
    began = time.perf_counter()
    assert_is(checkpoint.restore(workdir, wanted), 10)
    assert time.perf_counter() - began < 20
    assert (checkpoint.folder(workdir) / "15.damaged").is_dir()
    assert checkpoint.steps(workdir) == [10]
    meet("renamed")
    if index == 0:
        flip(workdir, 10)
    meet("none")
    with pytest.raises(ValueError, match="no checkpoint could be restored"):
        checkpoint.restore(workdir, wanted)
    meet("the end")
    assert checkpoint.steps(workdir) == [10]


def work(index, folder):
    """Saves and restores of all kinds."""
    from aigc_jax import checkpoint

    wanted = target(4)
    train_and_save(folder / "both", wanted)
    read_and_agree(folder / "both", index, wanted)
    assert_is(checkpoint.restore(folder / "one", wanted), 3)
    train_and_save(folder / "kept", wanted)
    meet("done")


def fail(index, folder):
    """The second process cannot write what is its part of a second checkpoint."""
    from aigc_jax import checkpoint

    state = placed(3, target(4))
    with checkpoint.Writer(folder, 9, "", "min") as writer:
        writer.save(state, RUN, {})
        writer.wait()
        state = state.replace(step=state.step + 1)
        if index == 1:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        began = time.perf_counter()
        writer.save(state, RUN, {})
        while time.perf_counter() - began < 60:
            writer.check()  # the other one notices by the heartbeat
            time.sleep(0.1)


def for_ever(index, folder):
    """Saves one step after another from the newest on, until it is killed."""
    from aigc_jax import checkpoint

    wanted, first = target(4), 1
    if checkpoint.steps(folder):
        state = checkpoint.restore(folder, wanted)
        first = 1 + int(state.step)
        assert_is(state, first - 1)
    meet("restored")
    with checkpoint.Writer(folder, 2, "", "min") as writer:
        for step in range(first, first + 10**6):
            writer.save(placed(step, wanted), RUN, {})
            print(step, flush=True)


def start(what, index, port, folder):
    """One of the two processes; when it fails it leaves at once, as `train.py` does."""
    jax.config.update("jax_num_cpu_devices", 2)
    jax.distributed.initialize(
        f"localhost:{port}", 2, index, heartbeat_timeout_seconds=10, shutdown_timeout_seconds=10
    )
    try:
        {"work": work, "fail": fail, "for_ever": for_ever}[what](index, folder)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(75)
    jax.distributed.shutdown()


def free_port():
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]


def started(what, folder):
    """Two processes at work."""
    port = str(free_port())
    words = [[sys.executable, __file__, what, str(i), port, str(folder)] for i in range(2)]
    environment = {"JAX_PLATFORMS": "cpu", "PATH": "", "PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return [subprocess.Popen(w, env=environment, **pipes) for w in words]


def both(what, folder):
    """(exit codes, what was said) of two processes."""
    processes = started(what, folder)
    try:
        said = [process.communicate(timeout=150)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [process.returncode for process in processes], said


def test_two_processes_save_together_and_read_what_any_number_wrote(tmp_path):
    from aigc_jax import checkpoint

    alone = target(8)
    with checkpoint.Writer(tmp_path / "one", 1, "", "min") as writer:
        writer.save(placed(3, alone), RUN, {})
    codes, said = both("work", tmp_path)
    assert codes == [0, 0], "\n".join(said)
    assert "damaged checkpoint passed over" in said[0]
    assert_is(checkpoint.restore(tmp_path / "kept", alone), 15)
    assert_is(checkpoint.restore(tmp_path / "kept", target(1), step=10), 10)
    assert checkpoint.read_run(tmp_path / "kept") == RUN
    arrays = checkpoint.read_arrays(tmp_path / "kept")
    np.testing.assert_array_equal(arrays["params/net/kernel"], state_at(15).params["net"]["kernel"])


@pytest.mark.slow
def test_a_process_that_cannot_write_says_so_at_once_and_nobody_hangs(tmp_path):
    from aigc_jax import checkpoint

    began = time.perf_counter()
    codes, said = both("fail", tmp_path)
    assert time.perf_counter() - began < 60
    assert 0 not in codes
    assert f"{checkpoint.folder(tmp_path) / '4'}: could not be saved" in said[1]
    assert checkpoint.steps(tmp_path) == [3]
    assert_is(checkpoint.restore(tmp_path, target(8)), 3)


@pytest.mark.slow
def test_two_processes_killed_at_any_moment_leave_whole_checkpoints(tmp_path):
    from aigc_jax import checkpoint

    newest = 0
    for after in (0.02, 0.11, 0.23, 0.37):
        processes = started("for_ever", tmp_path)
        while not (line := processes[0].stdout.readline()).strip().isdigit():
            assert line, processes[1].communicate()
        processes[0].stdout.readline()  # now the first one is on the disk
        time.sleep(after)
        for process in processes:
            process.kill()
        said = [process.communicate()[0] for process in processes]
        there = checkpoint.steps(tmp_path)
        assert there, said
        assert there[-1] > newest
        for step in there:
            assert_is(checkpoint.restore(tmp_path, target(8), step), step)
        newest = there[-1]


if __name__ == "__main__":
    start(sys.argv[1], int(sys.argv[2]), sys.argv[3], pathlib.Path(sys.argv[4]))
