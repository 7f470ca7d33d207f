"""launch/slurm.sbatch and launch/mpirun.sh, with small scripts for srun, mpirun and so on."""

import os
import pathlib
import re
import subprocess
import time

import pytest

LAUNCH = pathlib.Path(__file__).resolve().parents[1] / "launch"


class Bench:
    """A folder that passes for the repository, with stand-ins for an engine's commands."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "launch").symlink_to(LAUNCH)
        (folder / "train.py").touch()
        (folder / "bin").mkdir()
        self.told = folder / "told"
        self.told.touch()
        self.write("sleep", "exit 0")

    def write(self, name, script):
        """An executable of a few lines of bash."""
        path = self.folder / "bin" / name
        path.write_text(f"#!/usr/bin/env bash\n{script}\n")
        path.chmod(0o755)

    def run(self, script, *words, **variables):
        """(exit code, stderr, what the stand-ins were told)."""
        path = f"{self.folder}/bin:{os.environ['PATH']}"
        env = {**os.environ, "PATH": path, "TOLD": str(self.told), **variables}
        command = ["bash", f"launch/{script}", *words]
        done = subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True)
        return done.returncode, done.stderr, self.told.read_text().splitlines()


@pytest.fixture
def slurm(tmp_path):
    """Two tasks, of which $CODES says how they leave; srun reports the highest code."""
    bench = Bench(tmp_path)
    bench.write(
        "srun",
        'echo "srun $1 ${*: -2}" >>"$TOLD"; shift; highest=0\n'
        "for rank in 0 1; do\n"
        '  code=0; SLURM_PROCID=$rank "$@" || code=$?\n'
        "  ((code <= highest)) || highest=$code\n"
        'done; exit "$highest"',
    )
    bench.write(
        "python",
        'codes=($CODES); [[ -z ${ASKED:-} ]] || kill -TERM "$PPID"; exit "${codes[SLURM_PROCID]}"',
    )
    shown = '[[ $1 == show ]] && echo "PreemptEligibleTime=$NOW PreemptTime=${PREEMPTED:-None}"'
    bench.write("scontrol", f'NOW=2026-01-01T00:00:00\n{shown} || echo "scontrol $*" >>"$TOLD"')
    bench.write("squeue", 'echo "${END:-N/A}"')

    def run(codes, **variables):
        code, err, told = bench.run(
            "slurm.sbatch", "--config=c", SLURM_JOB_ID="7", CODES=codes, **variables
        )
        assert told[0] == "srun --kill-on-bad-exit=1 train.py --config=c", err
        assert not list(bench.folder.glob(".slurm*"))
        return code, told[1:] == ["scontrol requeue 7"], err

    return run


@pytest.mark.parametrize("code", [0, 1, 2, 130])
def test_slurm_takes_final_codes_as_final(slurm, code):
    assert slurm(f"{code} {code}")[:2] == (code, False)


@pytest.mark.parametrize("code", [75, 134, 137, 143])
def test_slurm_requeues_what_is_worth_a_retry(slurm, code):
    assert slurm(f"0 {code}")[:2] == (code, True)


@pytest.mark.parametrize("codes", ["2 143", "75 1"])
def test_slurm_knows_a_task_that_failed_for_good_among_others(slurm, codes):
    """The others are killed or miss their peer, and srun reports their higher codes."""
    final = next(int(code) for code in codes.split() if code in "12")
    assert slurm(codes)[:2] == (final, False)


def test_slurm_requeues_only_so_often(slurm):
    assert slurm("75 75", MAX_RESTARTS="3", SLURM_RESTART_COUNT="2")[:2] == (75, True)
    code, requeued, err = slurm("75 75", MAX_RESTARTS="3", SLURM_RESTART_COUNT="3")
    assert (code, requeued) == (75, False)
    assert "restart 3 of at most 3" in err


def test_slurm_requeues_at_the_time_limit_but_not_for_a_person(slurm):
    now = time.time()
    at = lambda seconds: time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(now + seconds))
    assert slurm("0 0", ASKED="yes", END=at(100))[:2] == (0, True)
    assert slurm("0 0", ASKED="yes", END=at(4000))[:2] == (0, False)
    assert slurm("0 0", ASKED="yes", END="N/A")[:2] == (0, False)  # without a limit
    assert slurm("0 0", END=at(100))[:2] == (0, False)  # done just in time


def test_slurm_requeues_what_saved_for_a_more_urgent_job(slurm):
    code, requeued, err = slurm("0 0", ASKED="yes", PREEMPTED="2026-01-01T00:00:00")
    assert (code, requeued) == (0, True)
    assert "saved for a more urgent job" in err
    assert slurm("0 0", ASKED="yes")[:2] == (0, False)
    assert slurm("0 0", PREEMPTED="2026-01-01T00:00:00")[:2] == (0, False)  # done just in time


def test_slurm_asks_for_what_the_restarts_need():
    text = (LAUNCH / "slurm.sbatch").read_text()
    directives = dict(re.findall(r"^#SBATCH --([a-z-]+)=?(\S*)", text, re.M))
    needed = {"requeue": "", "signal": "TERM@120", "open-mode": "append"}
    assert directives.items() >= needed.items()


def test_slurm_and_mpirun_refuse_another_folder(tmp_path):
    for name in ("slurm.sbatch", "mpirun.sh"):
        done = subprocess.run(["bash", LAUNCH / name], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 2
        assert "root of the repository" in done.stderr


@pytest.fixture
def mpi(tmp_path):
    """A stand-in for mpirun that leaves with each code of $CODES in turn."""
    bench = Bench(tmp_path)
    bench.write(
        "mpirun",
        'echo "$*" | tr "\\n" " " >>"$TOLD"; echo >>"$TOLD"; codes=($CODES)\n'
        'exit "${codes[$(wc -l <"$TOLD") - 1]}"',
    )
    return lambda *words, **variables: bench.run("mpirun.sh", *words, **variables)


def test_mpirun_tells_its_own_options_from_those_of_train(mpi):
    code, _, (told,) = mpi("-n", "2", "--config=c", "-n=3", CODES="0", JAX_PLATFORMS="cpu")
    ours, theirs = told.split(" bash -c ")
    assert code == 0
    assert ours.endswith("-n 2")
    assert "-x JAX_PLATFORMS" in ours
    assert ("--allow-run-as-root" in ours) == (os.geteuid() == 0)
    assert theirs.strip().endswith("train.py --config=c -n=3")


@pytest.mark.parametrize(
    ("codes", "code", "runs"), [("0", 0, 1), ("2", 2, 1), ("137 75 0", 0, 3), ("75 75 75", 75, 3)]
)
def test_mpirun_starts_again_what_is_worth_a_retry(mpi, codes, code, runs):
    left, _, told = mpi("--config=c", CODES=codes, MAX_RESTARTS="2")
    assert (left, len(told)) == (code, runs)
