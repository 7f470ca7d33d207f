"""Rows of metrics.jsonl: stable names, and what a kill left behind is cut back."""

import json

import commands
import pytest
import tiny_runs

from aigc_jax import build, checkpoint, log, loop
from aigc_jax.media import images as pictures


def lines(workdir):
    return (workdir / "metrics.jsonl").read_text().splitlines()


def write(workdir, steps, resume_at=0):
    with log.Log(workdir, 10, resume_at) as written:
        for step in steps:
            written.write(step, "train", {"loss": 1.0 / step, "rate": 0.5})
            if step % 2 == 0:
                written.write(step, "test", {"elbo": -1.0})


@pytest.mark.parametrize("rest", ["", '{"step": 5, "split": "tr', '{"step": 5, "split": "train"}'])
def test_a_resumed_file_is_that_of_an_uninterrupted_run(tmp_path, rest):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
    write(whole, range(1, 9))
    write(parts, range(1, 5))
    with open(parts / "metrics.jsonl", "a") as file:
        file.write(rest)  # without a line end: killed while it wrote
    write(parts, range(4, 9), resume_at=3)
    without_time = lambda line: {k: v for k, v in json.loads(line).items() if k != "time"}
    assert [without_time(x) for x in lines(parts)] == [without_time(x) for x in lines(whole)]


def test_rows_up_to_the_step_stay_as_they_are(tmp_path):
    write(tmp_path, range(1, 5))
    before = lines(tmp_path)
    write(tmp_path, [], resume_at=2)
    assert lines(tmp_path) == before[:3]


def test_a_row_has_step_split_time_and_the_values(tmp_path):
    write(tmp_path, [2])
    rows = [json.loads(line) for line in lines(tmp_path)]
    assert [list(row) for row in rows] == [
        ["step", "split", "time", "loss", "rate"],
        ["step", "split", "time", "elbo"],
    ]
    assert (rows[0]["step"], rows[0]["split"], rows[0]["loss"]) == (2, "train", 0.5)


def test_each_start_writes_tensorboard_events_of_its_own(tmp_path):
    write(tmp_path, range(1, 3))
    write(tmp_path, range(3, 5), resume_at=2)
    files = list((tmp_path / "tensorboard").glob("events.out.tfevents.*"))
    assert len(files) == 2
    content = b"".join(path.read_bytes() for path in files)
    assert b"train/loss" in content
    assert b"test/elbo" in content


def test_progress_says_step_values_and_time_left(tmp_path, capsys):
    write(tmp_path, [1, 2])
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("step 1/10  loss 1  rate 0.5  ETA ")
    assert said[2] == "step      2  test: elbo -1"


@pytest.fixture(scope="module")
def resumed(tmp_path_factory):
    """The workdir of a run of two and then two more steps, profiled from step 1 to 3."""
    workdir = tmp_path_factory.mktemp("resumed")
    raw = tiny_runs.GAN | {"data": {"name": "tiny_runs:images"}, "batch_size": 8, "num_samples": 2}
    raw |= dict(log_every=1, eval_every=2, save_every=2, mesh={"data": 1}, profile_steps="1:3")
    loop.train(build.complete(raw | {"steps": 2}), workdir)
    loop.train(build.complete(raw | {"steps": 4}), workdir)
    return workdir


def test_a_trace_is_written_by_each_start_that_has_a_part_in_it(resumed):
    assert len(list((resumed / "profile").rglob("*.xplane.pb"))) == 2


def test_rows_of_a_run_have_the_same_names_throughout(resumed):
    rows = [json.loads(line) for line in lines(resumed)]
    names = {
        split: [list(r)[3:] for r in rows if r["split"] == split] for split in ("train", "test")
    }
    assert [len(names[split]) for split in ("train", "test")] == [4, 2]
    assert all(found == names["train"][0] for found in names["train"])
    metrics = {"d_loss", "g_loss", "d_real", "d_fake", "d_grad_norm", "g_grad_norm"}
    metrics |= {"d_real_sign", "d_fake_sign", "fake_distance"}
    metrics |= {"examples_per_second", "peak_memory_mib", "nonfinite_share"}
    assert set(names["train"][0]) == metrics
    assert names["test"] == [["d_fake", "d_real"]] * 2


class Broken:
    """A logger that raises whatever it is asked for."""

    def __getattr__(self, name):
        def fail(*args, **keywords):
            raise RuntimeError(f"no connection for {name}")

        return fail


def test_loggers_that_raise_never_stop_a_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(log, "Events", lambda *args: Broken())
    monkeypatch.setattr(pictures, "write_png", Broken().write_png)
    assert commands.train(tmp_path, "vae") == 0
    said = capsys.readouterr().out
    assert said.count("warning: TensorBoard: no connection for scalars; the run goes on") == 1
    assert said.count("warning: samples: no connection for write_png; the run goes on") == 1
    rows = [row for row in commands.rows(tmp_path) if row["split"] == "train"]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert checkpoint.steps(tmp_path)[-1] == 4


def test_a_disk_that_is_full_under_tensorboard_is_said_once_and_nothing_waits(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("tensorboardX.record_writer.open_file", lambda _: open("/dev/full", "wb"))
    with log.Log(tmp_path, 40) as written:
        for step in range(1, 41):
            written.write(step, "train", {"loss": 1.0, "rate": 2.0})
    assert capsys.readouterr().out.count("warning: TensorBoard: ") == 1
    assert len(lines(tmp_path)) == 40


@pytest.mark.parametrize("fails", ["from the start", "later"])
def test_rows_that_cannot_be_written_are_said_once(tmp_path, capsys, fails):
    if fails == "from the start":
        (tmp_path / "metrics.jsonl").mkdir()
    with log.Log(tmp_path, 3) as written:
        if fails == "later":
            written._rows.close()
        for step in (1, 2, 3):
            written.write(step, "train", {"loss": 1.0})
    said = capsys.readouterr().out
    assert said.count("warning: metrics.jsonl: ") == 1
    assert said.count("loss 1") == 3
    files = list((tmp_path / "tensorboard").glob("events.out.tfevents.*"))
    assert b"train/loss" in files[0].read_bytes()


def test_only_the_first_of_several_processes_writes(tmp_path, capsys):
    with log.Log(tmp_path, 3, writes=False) as silent:
        silent.write(1, "train", {"loss": 1.0})
        silent.say("a line")
        silent.text(1, "samples", "a text")
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().out == ""


def test_rows_of_rollbacks_that_are_yet_to_come_are_dropped(tmp_path):
    """They are of the step that a run went back to, so that step alone does not tell."""
    with log.Log(tmp_path, 9) as written:
        written.write(4, "train", {"loss": 1.0})
        for number in (1, 2):
            written.write(4, "rollback", {"from": 6 + number})
    with log.Log(tmp_path, 9, resume_at=4, rollbacks=1):
        pass
    assert [row["from"] for row in log.rollbacks(tmp_path)] == [7]
    assert len(lines(tmp_path)) == 2
