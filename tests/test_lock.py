"""One run per workdir, with a file system that has locks and without, on one host and several."""

import errno
import fcntl
import json
import os
import pathlib
import subprocess
import sys
import threading
import time

import jax
import processes
import pytest

from aigc_jax import lock

HOLD = """
import pathlib, sys, time
from aigc_jax import lock
with lock.locked(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(100)
"""
GONE = {"pid": 2**22 + 5, "host": "here", "started": "yesterday", "born": "12345"}
ELSEWHERE = {**GONE, "pid": 1, "host": "node7", "machine": "another boot"}


@pytest.fixture(params=["flock", "no flock"])
def system(request, monkeypatch):
    """A file system with locks, and one without any, such as Lustre as it is often mounted."""
    if request.param == "no flock":
        monkeypatch.setattr(lock, "SETTLE", 0.05)
        code = errno.ENOSYS

        def refuse(handle, operation):
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(lock, "REFRESH", 0.05)
    monkeypatch.setattr(lock, "STALE", 0.5)
    return request.param


def write(workdir, holder):
    (workdir / ".lock").write_text(json.dumps(holder))


def take(workdir):
    with lock.locked(workdir):
        return json.loads((workdir / ".lock").read_text())


def here(**changes):
    """A holder that is this very process."""
    return lock._this_process() | changes


def test_it_is_held_until_it_is_let_go(tmp_path, system):
    workdir = tmp_path / "run"
    told = f"--workdir={workdir}: process {os.getpid()} is training there, on .* since 20"
    with lock.locked(workdir), pytest.raises(ValueError, match=told):
        take(workdir)
    assert not (workdir / ".lock").read_text()
    assert take(workdir)["pid"] == os.getpid()


def test_another_process_is_refused_and_frees_it_however_it_ends(tmp_path, capsys):
    words = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(
        words, env=processes.environment(1), stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match=f"process {holder.pid} is training there"):
            take(tmp_path)
        holder.kill()
    take(tmp_path)
    assert f"stale lock of process {holder.pid} on" in capsys.readouterr().out


def test_a_dead_process_of_this_host_is_recognised(tmp_path, system, capsys):
    write(tmp_path, GONE | {"machine": lock._machine()})
    assert take(tmp_path)["pid"] == os.getpid()
    said = capsys.readouterr().out
    assert f"stale lock of process {GONE['pid']} on here, since yesterday" in said
    assert said.count("\n") == 1


def test_a_number_that_another_process_has_by_now_is_stale(tmp_path, system, capsys):
    write(tmp_path, here(pid=os.getppid(), born="1"))
    take(tmp_path)
    assert "stale lock" in capsys.readouterr().out


def test_without_flock_a_living_process_of_this_host_is_refused(tmp_path, monkeypatch):
    def refuse(handle, operation):
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    parent = os.getppid()
    write(tmp_path, here(pid=parent, born=lock._born(parent)))
    with pytest.raises(ValueError, match=f"process {parent} is training there"):
        take(tmp_path)


def test_a_run_on_another_host_is_refused_while_it_gives_signs(tmp_path, system, capsys):
    write(tmp_path, ELSEWHERE)
    over = threading.Event()
    arguments = (open(tmp_path / ".lock"), ELSEWHERE, over)
    other = threading.Thread(target=lock._keep, args=arguments)
    other.start()
    try:
        with pytest.raises(ValueError, match="process 1 is training there, on node7 since yest"):
            take(tmp_path)
    finally:
        over.set()
        other.join()
    assert json.loads((tmp_path / ".lock").read_text()) == ELSEWHERE


def test_a_run_on_another_host_without_signs_is_stale(tmp_path, system, capsys):
    write(tmp_path, ELSEWHERE)
    start = time.monotonic()
    take(tmp_path)
    assert time.monotonic() - start >= lock.STALE
    assert "stale lock of process 1 on node7" in capsys.readouterr().out


def test_an_old_lock_of_another_host_costs_no_wait(tmp_path, system, monkeypatch):
    monkeypatch.setattr(lock, "STALE", 1000.0)
    write(tmp_path, ELSEWHERE)
    os.utime(tmp_path / ".lock", (0, time.time() - lock.OLD - 1))
    take(tmp_path)


def test_a_holder_touches_it(tmp_path, system):
    with lock.locked(tmp_path):
        before = (tmp_path / ".lock").stat().st_mtime_ns
        time.sleep(0.3)
        assert (tmp_path / ".lock").stat().st_mtime_ns > before


def test_a_holder_that_has_been_replaced_ends(tmp_path, system, monkeypatch, capsys):
    codes = []
    monkeypatch.setattr(os, "_exit", codes.append)
    with lock.locked(tmp_path):
        write(tmp_path, ELSEWHERE)
        time.sleep(0.3)
    assert codes[0] == 1
    assert "process 1 on node7 has taken over" in capsys.readouterr().err
    assert json.loads((tmp_path / ".lock").read_text()) == ELSEWHERE


def test_of_two_that_come_at_once_without_flock_one_is_refused(tmp_path, monkeypatch):
    def refuse(handle, operation):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(lock, "SETTLE", 0.3)
    other = threading.Timer(0.1, lambda: write(tmp_path, ELSEWHERE))
    other.start()
    with pytest.raises(ValueError, match="on node7"):
        take(tmp_path)
    other.join()


@pytest.mark.parametrize("text", ["4242", "not json", "[1]", ""])
def test_what_is_not_understood_is_nobody(tmp_path, system, text):
    (tmp_path / ".lock").write_text(text)
    assert take(tmp_path)["pid"] == os.getpid()


def test_only_the_first_process_locks(tmp_path, monkeypatch):
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    with lock.locked(tmp_path / "run"):
        assert not (tmp_path / "run").exists()


def test_a_place_that_is_no_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    for place, said in (("file", "is a file"), ("file/run", "cannot be written")):
        with pytest.raises(ValueError, match=f"--workdir=.*/{place}: {said}"):
            take(tmp_path / place)


def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / ".lock").write_text("")  # an old lock may be writable where the folder is not

    def refuse(**where):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(lock.tempfile, "TemporaryFile", refuse)
    with pytest.raises(ValueError, match=rf"{tmp_path}: cannot be written \(Read-only file"):
        take(tmp_path)


def test_other_errors_of_a_lock_are_not_swallowed(tmp_path, monkeypatch):
    def refuse(handle, operation):
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match="input/output"):
        take(tmp_path)


def test_the_file_stays_one_small_line(tmp_path, system):
    for _ in range(3):
        take(tmp_path)
    with lock.locked(tmp_path):
        text = pathlib.Path(tmp_path / ".lock").read_text()
    assert text.count("{") == 1
