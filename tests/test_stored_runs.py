"""Runs that earlier versions stored go on, sample and are evaluated as what they were.

`stored/` holds a GAN, a VAE, a GPT and a VAE with frozen parameters, each at step 4 of 6 on data of
four times so many batches, with what the commit in its record then made of it: the rows of steps 5
and 6, and four samples of seed 3 at step 4.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import commands
import numpy as np
import pytest

from aigc_jax import checkpoint, stored_config
from aigc_jax.identity import flatten

STORED = pathlib.Path(__file__).parent / "stored"
RUNS = ("gan", "vae", "gpt", "frozen")
RELATIVE = 1e-4
LEVELS = 2  # of 255, that a pixel of a sample may differ


@pytest.fixture
def run(request, tmp_path, monkeypatch):
    """(name, workdir): a copy of a stored run, with its text at the path that its config names."""
    corpus = pathlib.Path("tests/stored/corpus.txt")
    (tmp_path / corpus).parent.mkdir(parents=True)
    shutil.copy(STORED / corpus.name, tmp_path / corpus)
    (tmp_path / ".data").symlink_to(commands.DATA.name)  # what the runs' configs say
    monkeypatch.chdir(tmp_path)
    return request.param, shutil.copytree(STORED / request.param, tmp_path / "run")


every = pytest.mark.parametrize("run", RUNS, indirect=True)


def expected(workdir):
    return json.loads((workdir / "expected.json").read_text())


def go_on(workdir, *overrides):
    """Exit code of the command that goes on with a stored run."""
    import train

    words = [f"--config={workdir}/config.json", f"--workdir={workdir}"]
    return train.main([*words, *(f"--config.{o}" for o in overrides)])


def corners(images):
    """Features that take no training."""
    return images[:, ::7, ::7, 0].reshape(len(images), -1)


def drawn(out):
    if (out / "samples.npz").exists():
        return np.load(out / "samples.npz")["images"].reshape(4, -1)
    return [(out / f"{i:03}.txt").read_text() for i in range(4)]


@every
def test_a_stored_run_goes_on_samples_and_is_evaluated(run, capsys):
    from aigc_jax import evaluate

    name, workdir = run
    then, record = expected(workdir), checkpoint.read_run(workdir)
    length = ["--max_tokens=24"] if name == "gpt" else []
    assert commands.sample(workdir, workdir / "out", "--num=4", "--seed=3", *length) == 0
    samples = drawn(workdir / "out")
    if name == "gpt":
        assert samples == then["samples"]
    else:
        assert np.abs(np.int32(samples) - then["samples"]).max() <= LEVELS

    assert go_on(workdir) == 0
    rows = [row for row in commands.rows(workdir) if row["step"] > 4]
    assert [(row["step"], row["split"]) for row in rows] == [
        (row["step"], row["split"]) for row in then["rows"]
    ]
    for row, before in zip(rows, then["rows"], strict=True):
        numbers = {k: v for k, v in before.items() if k != "split"}
        assert {k: row[k] for k in numbers} == pytest.approx(numbers, rel=RELATIVE, abs=1e-6)
    now = checkpoint.read_run(workdir)
    assert now["digest"] == record["digest"]
    assert now["config"].items() >= {k: record["config"][k] for k in ("seed", "freeze")}.items()

    flags = [f"--workdir={workdir}", "--samples=8", "--iw_samples=2"]
    flags += [] if name == "gpt" else ["--features=test_stored_runs:corners"]
    assert evaluate.main(flags) == 0
    content = json.loads((workdir / "evaluation" / "metrics.json").read_text())
    assert {"gpt": "perplexity", "gan": "pairwise_distance"}.get(name, "iw_bound") in content[
        "metrics"
    ]
    assert not {"error", "Traceback"} & set(capsys.readouterr().err.split())


@every
def test_the_config_of_a_stored_run_is_completed_and_its_meaning_stays(run):
    _, workdir = run
    record = checkpoint.read_run(workdir)
    completed, lacking = stored_config.as_of_today(record["config"])
    flat = flatten(completed)
    assert flat.items() >= flatten(record["config"]).items()
    assert flat.keys() - flatten(record["config"]).keys() == set(lacking)
    without = stored_config.digest_of({**completed, "seed": 1})
    assert stored_config.digest_of(completed) != without


@pytest.mark.slow
@every
def test_the_commit_that_stored_a_run_goes_on_with_it_bit_for_bit_as_ours(run, tmp_path):
    """Also where options and parts of the state came later: those of that commit are equal."""
    _, workdir = run
    commit = checkpoint.read_run(workdir)["commit"]
    has = subprocess.run(["git", "cat-file", "-e", commit], cwd=commands.ROOT, check=False)
    if has.returncode:
        pytest.skip(f"the history of this clone does not reach back to {commit}")
    theirs, old = shutil.copytree(workdir, tmp_path / "theirs"), tmp_path / "old"
    archive = subprocess.run(
        ["git", "archive", commit], cwd=commands.ROOT, check=True, capture_output=True
    )
    old.mkdir()
    subprocess.run(["tar", "-x"], cwd=old, input=archive.stdout, check=True)
    for code, folder in ((old, theirs), (commands.ROOT, workdir)):
        data = f"--config.data.data_dir={tmp_path / 'data'}"
        words = [f"--config={folder}/config.json", f"--workdir={folder}", data]
        subprocess.run(
            [sys.executable, f"{code}/train.py", *words],
            env={**os.environ, "PYTHONPATH": str(code)},
            check=True,
        )
    one, other = (checkpoint.read_arrays(folder) for folder in (theirs, workdir))
    assert one.keys() <= other.keys()
    assert not [name for name in one if one[name].tobytes() != other[name].tobytes()]
    rows = [commands.rows(folder) for folder in (theirs, workdir)]
    assert len(rows[0]) == len(rows[1])
    assert all(a.items() <= b.items() for a, b in zip(*rows, strict=True))
