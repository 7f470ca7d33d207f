"""Real SLURM and real Open MPI run launch/slurm.sbatch and launch/mpirun.sh, and things go wrong.

The cluster is that of launch/slurm_overlay.sh: one node, in namespaces and a memory overlay.
"""

import itertools
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import time

import commands
import processes
import pytest
from engines import STEPS, arguments, at_step, wait_for

from aigc_jax import checkpoint

pytestmark = pytest.mark.slow

ROOT = commands.ROOT
OVERLAY = ROOT / "launch" / "slurm_overlay.sh"
LINUX = (sys.platform == "linux", os.geteuid() == 0, shutil.which("apt-get"))
REASONS = ("needs Linux", "needs root, to mount an overlay", "needs apt-get, to install SLURM")


class Cluster:
    """A shell in the overlay."""

    def __init__(self, process, folder):
        self._process, self._folder, self._numbers = process, folder, itertools.count()

    def run(self, script, timeout=240):
        """(exit code, output) of a bash script."""
        out = self._folder / f"{next(self._numbers)}.out"
        code = out.with_suffix(".code")
        self._process.stdin.write(
            f"( {script}\n) >{out} 2>&1 </dev/null; echo $? >{code}.part; mv {code}.part {code}\n"
        )
        self._process.stdin.flush()
        end = time.monotonic() + timeout
        while not code.exists():
            if self._process.poll() is not None or time.monotonic() > end:
                said = out.read_text() if out.exists() else ""
                raise AssertionError(f"not done after {timeout} s: {script}\n{said}")
            time.sleep(0.1)
        return int(code.read_text()), out.read_text()

    def submit(self, folder, words, *options):
        """The job of launch/slurm.sbatch, with two tasks unless `options` say otherwise."""
        own = ["sbatch", "--parsable", "--ntasks=2", f"--output={folder}.log", *options]
        code, out = self.run(shlex.join([*own, "launch/slurm.sbatch", *words]))
        assert code == 0, out
        return Job(self, int(out), pathlib.Path(f"{folder}.log"))


class Job:
    """One that was submitted."""

    def __init__(self, cluster, number, log):
        self.cluster, self.number, self._log = cluster, number, log

    def log(self):
        """What it has written so far."""
        return self._log.read_text() if self._log.exists() else ""

    def seen(self):
        """What SLURM knows of it, by name."""
        _, out = self.cluster.run(f"scontrol show job {self.number}")
        return dict(re.findall(r"(\w+)=(\S*)", out))

    def ended(self, timeout=240):
        """The same, once it has come to its end."""
        end = time.monotonic() + timeout
        while (seen := self.seen())["JobState"] in ("PENDING", "RUNNING", "COMPLETING"):
            assert time.monotonic() < end, f"{seen}\n{self.log()}"
            time.sleep(0.5)
        return seen


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    for holds, reason in zip(LINUX, REASONS, strict=True):
        if not holds:
            pytest.skip(f"SLURM: {reason}")
    folder = tmp_path_factory.mktemp("cluster")
    # apt may need the proxies that the processes of a run must not see; they hide them themselves.
    chosen = {**os.environ, **processes.environment(1), "PYTHON": sys.executable}
    chosen.update(WAIT_SECONDS="1", MAX_RESTARTS="2")
    process = subprocess.Popen(
        [OVERLAY, "bash"],
        cwd=ROOT,
        env=chosen,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    started = Cluster(process, folder)
    try:
        started.run("sinfo", timeout=400)
    except (AssertionError, BrokenPipeError):
        process.kill()
        pytest.skip(f"SLURM: {process.stderr.read().strip()}")
    yield started
    process.stdin.close()
    process.wait(30)


@pytest.fixture(scope="module")
def whole(cluster, tmp_path_factory):
    """The workdir of a run of two tasks that nobody disturbed."""
    workdir = tmp_path_factory.mktemp("whole") / "run"
    job = cluster.submit(workdir, arguments(workdir))
    seen = job.ended()
    assert (seen["JobState"], seen["ExitCode"], seen["Restarts"]) == ("COMPLETED", "0:0", "0"), (
        job.log()
    )
    assert checkpoint.steps(workdir)[-1] == STEPS
    return workdir


def kill_second_task(job):
    """SIGKILL to train.py of task 1."""
    script = f"""
    task=$(scontrol listpids {job.number}.0 | awk '$5 == 1 {{ print $1 }}')
    pkill -KILL --parent "$task"
    """
    code, out = job.cluster.run(script)
    assert code == 0, out


def stopped_at(text):
    """The step after which both processes were asked to stop."""
    found = dict(re.findall(r"process (\d) of 2: asked to stop, after step (\d+)", text))
    assert found.keys() == {"0", "1"}, text
    assert found["0"] == found["1"], text
    return int(found["0"])


def test_two_tasks_train_one_run_to_its_end(whole):
    assert [row["step"] for row in commands.rows(whole)][-1] == STEPS


def test_a_job_that_is_asked_to_stop_saves_and_is_not_requeued(cluster, tmp_path):
    job = cluster.submit(tmp_path / "run", arguments(tmp_path / "run", "steps=100000"))
    wait_for(lambda: at_step(tmp_path / "run", 40))
    cluster.run(f"scancel --signal=TERM {job.number}")
    seen = job.ended()
    assert (seen["JobState"], seen["ExitCode"], seen["Restarts"]) == ("COMPLETED", "0:0", "0")
    assert checkpoint.steps(tmp_path / "run")[-1] == stopped_at(job.log())


def test_a_job_with_a_killed_task_is_requeued_and_ends_as_if_nothing_had_been(
    cluster, whole, tmp_path
):
    job = cluster.submit(tmp_path / "run", arguments(tmp_path / "run"))
    wait_for(lambda: at_step(tmp_path / "run", 140))
    kill_second_task(job)
    seen = job.ended()
    assert (seen["JobState"], seen["ExitCode"], seen["Restarts"]) == ("COMPLETED", "0:0", "1"), (
        job.log()
    )
    commands.assert_equal_runs(whole, tmp_path / "run")


def test_a_job_is_requeued_before_its_time_limit(cluster, tmp_path):
    words = arguments(tmp_path / "run", "steps=1000000", "save_every=100000")
    job = cluster.submit(tmp_path / "run", words, "--time=3")
    wait_for(lambda: "saved before the time limit" in job.log(), timeout=180)
    assert checkpoint.steps(tmp_path / "run")[-1] == stopped_at(job.log())
    cluster.run(f"scancel {job.number}")


def test_a_preempted_job_is_requeued_and_can_be_asked_to_stop_later(cluster, tmp_path):
    job = cluster.submit(tmp_path / "run", arguments(tmp_path / "run", "steps=1000000"))
    wait_for(lambda: at_step(tmp_path / "run", 40))
    code, out = cluster.run("sbatch --partition=urgent --exclusive --output=/dev/null --wrap=true")
    assert code == 0, out
    wait_for(lambda: "saved for a more urgent job" in job.log())
    step = stopped_at(job.log())
    assert checkpoint.steps(tmp_path / "run")[-1] == step
    wait_for(lambda: at_step(tmp_path / "run", step + 40))
    cluster.run(f"scancel --signal=TERM {job.number}")
    seen = job.ended()
    assert (seen["JobState"], seen["ExitCode"], seen["Restarts"]) == ("COMPLETED", "0:0", "1"), (
        job.log()
    )


def test_bad_input_is_final(cluster, tmp_path):
    job = cluster.submit(tmp_path / "run", arguments(tmp_path / "run", "batch_size=15"))
    seen = job.ended()
    assert (seen["JobState"], seen["ExitCode"], seen["Restarts"]) == ("FAILED", "2:0", "0")
    assert "config.batch_size = 15" in job.log()


def test_the_shell_of_a_job_is_refused_as_a_lone_copy(cluster, tmp_path):
    words = shlex.join([sys.executable, "train.py", *arguments(tmp_path / "run")])
    own = ["sbatch", "--wait", "--ntasks=2", f"--output={tmp_path}/log", f"--wrap={words}"]
    code, _ = cluster.run(shlex.join(own))
    assert code == 2
    assert "expected 2 processes, found 1" in (tmp_path / "log").read_text()
    assert not (tmp_path / "run").exists()


def mpirun(workdir, *overrides):
    """The command line of two processes under Open MPI."""
    own = ["launch/mpirun.sh", "-n", "2", "--oversubscribe"]
    return shlex.join([*own, *arguments(workdir, *overrides)])


def during(workdir, step, do):
    """A script that does something when a run in the background has come to a step."""
    return f"""
    child=$!
    until grep --quiet '"step": {step}\\b' {workdir}/metrics.jsonl; do sleep 0.1; done 2>/dev/null
    {do}
    wait $child
    """


def test_mpirun_starts_again_and_ends_as_slurm_does(cluster, whole, tmp_path):
    # The newest shell that has train.py as a child is that of the last process.
    shell = "pgrep --newest --full '^bash -c .*train[.]py --config'"
    kill = f'pkill --signal=KILL --parent "$({shell})"'
    script = mpirun(tmp_path / "run") + " &" + during(tmp_path / "run", 140, kill)
    code, out = cluster.run(script)
    assert code == 0, out
    assert "left with 137 after restart 0" in out
    commands.assert_equal_runs(whole, tmp_path / "run")


def test_mpirun_hands_a_stop_request_on(cluster, tmp_path):
    command = mpirun(tmp_path / "run", "steps=100000")
    code, out = cluster.run(command + " &" + during(tmp_path / "run", 40, "kill -TERM $child"))
    assert code == 0, out
    assert checkpoint.steps(tmp_path / "run")[-1] == stopped_at(out)
