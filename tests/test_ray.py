"""Real Ray runs launch/ray_train.py, also with a worker killed.

Ray has an environment of its own: AIGC_RAY_PYTHON names its interpreter, which has what is in
requirements.txt and launch/requirements-ray.txt.
"""

import contextlib
import os
import pathlib
import re
import signal
import subprocess

import commands
import processes
import pytest
from engines import STEPS, arguments, at_step, wait_for

from aigc_jax import checkpoint

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def python():
    name = os.environ.get("AIGC_RAY_PYTHON")
    if not name:
        pytest.skip("AIGC_RAY_PYTHON does not name a Python that has Ray")
    return name


@contextlib.contextmanager
def started(python, workdir, *overrides):
    """A Ray cluster of this machine that trains in two workers; killed at the end."""
    words = ["launch/ray_train.py", "--workers=2", "--max_failures=2"]
    process = subprocess.Popen(
        [python, *words, *arguments(workdir, *overrides)],
        cwd=commands.ROOT,
        env=processes.environment(1),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()


def finish(process):
    """(exit code, output)."""
    out, _ = process.communicate(timeout=280)
    return process.returncode, out


@pytest.fixture(scope="module")
def whole(python, tmp_path_factory):
    """The workdir of a run that nobody disturbed."""
    workdir = tmp_path_factory.mktemp("whole") / "run"
    with started(python, workdir) as process:
        code, out = finish(process)
    assert code == 0, out
    assert "2 x cpu, mesh {'data': 2" in out
    return workdir


def process_of(workdir, index):
    """The id of train.py as process `index` of a run, None without one."""
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_text().split("\0")
            told = (folder / "environ").read_text().split("\0")
        except OSError:
            continue
        named = "train.py" in words and f"--workdir={workdir}" in words
        if named and f"JAX_PROCESS_ID={index}" in told:
            return int(folder.name)
    return None


def test_two_workers_train_one_run_to_its_end(whole):
    assert commands.rows(whole)[-1]["step"] == STEPS


def test_a_killed_worker_takes_train_along_and_all_start_again(python, whole, tmp_path):
    workdir = tmp_path / "run"
    with started(python, workdir) as process:
        wait_for(lambda: at_step(workdir, 140))
        child = process_of(workdir, 1)
        status = pathlib.Path(f"/proc/{child}/status").read_text()
        os.kill(int(re.search(r"PPid:\s*(\d+)", status)[1]), signal.SIGKILL)
        wait_for(lambda: process_of(workdir, 1) != child, timeout=5)
        code, out = finish(process)
    assert code == 0, out
    commands.assert_equal_runs(whole, workdir)


def test_workers_that_are_asked_to_stop_save(python, tmp_path):
    with started(python, tmp_path / "run", "steps=100000") as process:
        wait_for(lambda: at_step(tmp_path / "run", 40))
        process.terminate()
        code, out = finish(process)
    assert code == 0, out
    (step,) = set(re.findall(r"asked to stop, after step (\d+)", out))
    assert checkpoint.steps(tmp_path / "run")[-1] == int(step)


def test_bad_input_is_final(python, tmp_path):
    with started(python, tmp_path / "run", "batch_size=15") as process:
        code, out = finish(process)
    assert code == 2, out
    assert "config.batch_size = 15" in out
