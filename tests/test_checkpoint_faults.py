"""Full disks, kills and failures in the background: what is whole stays whole.

Run as a script with (what to do, folder) it is the process that is limited or killed.
"""

import errno
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from checkpoints import MIB, assert_whole, names, save, state_at, target, write

from aigc_jax import checkpoint, failure
from aigc_jax.storage import saving

ROOT = pathlib.Path(__file__).resolve().parents[1]


def test_the_copy_of_a_state_uses_the_memory_of_the_last():
    first, second = state_at(1), jax.tree.map(jnp.asarray, state_at(2))
    copied = saving._copied(first, None)
    assert not np.shares_memory(copied.params["net"]["kernel"], first.params["net"]["kernel"])
    kept = copied.params["net"]["kernel"]
    assert saving._copied(second, copied).params["net"]["kernel"] is kept
    assert (kept == 2).all()
    assert saving._copied(state_at(3, 5), copied).params["net"]["kernel"].shape == (5,)


def test_a_replacement_that_fails_leaves_the_old_one(tmp_path, monkeypatch):
    write(tmp_path, 1)

    def fail(*args):
        raise OSError("no")

    with monkeypatch.context() as patched:
        patched.setattr(saving.retention, "put_in_place", fail)
        with pytest.raises(OSError, match="could not be saved"):
            write(tmp_path, 1)
    assert names(tmp_path) == ["1"]
    assert assert_whole(tmp_path) == 1


def test_a_disk_that_fails_for_a_moment_is_worth_a_retry(tmp_path, monkeypatch):
    def fail(*args):
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(saving.retention, "put_in_place", fail)
    with pytest.raises(OSError, match="could not be saved .*Stale") as caught:
        write(tmp_path, 1)
    assert failure.exit_code(caught.value) == failure.RETRY


def test_a_failure_in_the_background_is_told_at_once(tmp_path, monkeypatch):
    write(tmp_path, 1)
    with checkpoint.Writer(tmp_path, 9, "", "min") as writer:
        with monkeypatch.context() as patched:

            def fail(*args):
                raise RuntimeError("the network is gone")

            patched.setattr(saving.stored, "meta_of", fail)
            writer.save(state_at(2), {}, {})
            told = []
            for _ in range(200):
                try:
                    writer.check()
                except OSError as error:
                    told.append(str(error))
                time.sleep(0.01)
        (said,) = told
        assert str(checkpoint.folder(tmp_path) / "2") in said
        assert "the network is gone" in said
        assert names(tmp_path) == ["1"]
        save(writer, 3)
    assert checkpoint.steps(tmp_path) == [1, 3]
    assert_whole(tmp_path)


def test_a_save_that_left_nothing_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(saving.ocp.Checkpointer, "save", lambda *args, **more: None)
    with pytest.raises(OSError, match="could not be saved"):
        write(tmp_path, 1)


def limited(folder):
    """Saves 1, fails at 2 for want of space, saves 3 where there is more again."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with checkpoint.Writer(folder, 9, "", "min") as writer:
        save(writer, 1)
        resource.setrlimit(resource.RLIMIT_FSIZE, (MIB // 2, hard))
        fails(writer, folder)
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        save(writer, 3)
    assert checkpoint.steps(folder) == [1, 3]
    assert_whole(folder)


def fails(writer, folder, size=MIB // 4):
    """The save of step 2 says where and how much is free, and leaves the others as they are."""
    before = names(folder)
    with pytest.raises(OSError, match=r"could not be saved .*bytes are free") as caught:
        save(writer, 2, size=size)
    assert str(checkpoint.folder(folder) / "2") in str(caught.value)
    assert names(folder) == before
    assert_whole(folder)
    assert failure.exit_code(caught.value) == failure.BAD_INPUT
    print("told:", caught.value, flush=True)


def mounted(folder):
    """The same on a real file system of 8 MiB, then on one that may only be read."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(folder)]
    subprocess.run(mount, check=True)
    with checkpoint.Writer(folder, 9, "", "min") as writer:
        save(writer, 1)
        fails(writer, folder, size=3 * MIB)
        save(writer, 3)
    assert checkpoint.steps(folder) == [1, 3]
    with pytest.raises(ValueError, match="are free"):
        checkpoint.check_space(folder, target(), 20)
    with checkpoint.Writer(folder, 9, "", "min") as writer:
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        fails(writer, folder)
    with pytest.raises(OSError, match="Read-only"):
        checkpoint.Writer(folder / "more", 9, "", "min")
    assert assert_whole(folder) == 3


def saving_for_ever(folder):
    """Saves one step after another until it is killed."""
    with checkpoint.Writer(folder, 2, "", "min") as writer:
        for step in range(1 + (assert_whole(folder) or 0), 10**6):
            writer.save(state_at(step), {"at": step}, {})
            print(step, flush=True)


def start(what, folder, *before):
    words = [*before, sys.executable, __file__, what, str(folder)]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(words, env=environment, **pipes)


def test_a_full_disk_by_a_limit_on_file_sizes(tmp_path):
    process = start("limited", tmp_path)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert "told: " in said


def test_a_full_disk_and_one_that_may_only_be_read(tmp_path):
    own_mounts = ["unshare", "-rm"]
    if shutil.which("unshare") is None or subprocess.run([*own_mounts, "true"]).returncode:
        pytest.skip("needs root, or a system that gives users mounts of their own (unshare -rm)")
    process = start("mounted", tmp_path, *own_mounts)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert "No space left" in said or "ENOSPC" in said
    assert "Read-only" in said


def kill(folder, after):
    """Kills a process that saves for ever, `after` seconds after its first one is on the disk."""
    process = start("saving_for_ever", folder)
    assert all(process.stdout.readline().strip().isdigit() for _ in range(2))
    time.sleep(after)
    process.kill()
    process.communicate()


@pytest.mark.parametrize("moments", [(0.01, 0.3), pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_any_moment_only_whole_checkpoints_count(tmp_path, moments):
    if isinstance(moments, int):
        moments = np.random.default_rng(0).uniform(0, 0.6, moments)
    newest = 0
    for after in moments:
        kill(tmp_path, after)
        found = assert_whole(tmp_path) or 0
        assert found > newest
        newest = found
    write(tmp_path, newest + 1, keep=(1, "", "min"))
    assert names(tmp_path) == [str(newest + 1)]


if __name__ == "__main__":
    globals()[sys.argv[1]](pathlib.Path(sys.argv[2]))
