"""An interrupted run is the run that nobody interrupted, bit for bit."""

import json
import shutil

import commands
import pytest
from commands import FAMILIES

from aigc_jax import checkpoint, lock, loop

# Four steps are an epoch of the families' data. No interval divides another.
PLAN = ("steps=8", "save_every=3", "eval_every=5", "log_every=1", "keep_last=9")


def command(folder, family, **stop):
    return {"script": "train", "argv": commands.train_args(folder, family, *PLAN), **stop}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with runs of all families: "whole", and "parts" made by three processes."""
    root = tmp_path_factory.mktemp("runs")
    every = lambda part, **stop: [command(root / part / f, f, **stop) for f in FAMILIES]
    whole = commands.start(*every("whole"))
    parts = [
        commands.fresh(*every("parts", signal="SIGTERM", item=1)),
        commands.fresh(*every("parts", signal="SIGINT", item=1)),
        commands.fresh(*every("parts")),
    ]
    for code, said in [*parts, commands.finish(whole)]:
        assert code == 0, said
    middle, end, _ = (said for _, said in parts)
    assert middle.count("stopped at step 2") == end.count("stopped at step 4") == len(FAMILIES)
    return root


@pytest.mark.parametrize("family", FAMILIES)
def test_stopped_in_an_epoch_and_at_its_end_equals_uninterrupted(runs, family):
    commands.assert_equal_runs(runs / "whole" / family, runs / "parts" / family)


@pytest.mark.parametrize("family", FAMILIES)
def test_samples_on_the_way_are_the_same(runs, family):
    whole, parts = (runs / part / family / "samples" for part in ("whole", "parts"))
    names = sorted(path.name for path in whole.iterdir())
    assert {name[:12] for name in names} == {"step_0000005", "step_0000008"}  # the evaluations
    assert all((whole / name).read_bytes() == (parts / name).read_bytes() for name in names)


@pytest.mark.parametrize("lost", ["folder", "contents", "link"])
def test_a_run_whose_checkpoints_are_lost_does_not_begin_anew(runs, tmp_path, capsys, lost):
    workdir = shutil.copytree(runs / "whole" / "vae", tmp_path / "run")
    rows = (workdir / "metrics.jsonl").read_bytes()
    folder = checkpoint.folder(workdir)
    shutil.move(folder, tmp_path / "moved")
    if lost != "folder":
        folder.mkdir()
    if lost == "contents":
        (folder / "8").mkdir()
    if lost == "link":
        (folder / "8").symlink_to(tmp_path / "moved" / "8")
    assert commands.train(workdir, "vae", *PLAN) == 2
    said = capsys.readouterr().err
    assert f"metrics.jsonl goes to step 8, but {folder} holds no checkpoint" in said
    assert ("nothing" if lost == "folder" else "(it holds 8)") in said
    assert (workdir / "metrics.jsonl").read_bytes() == rows


@pytest.mark.parametrize("text", ["", '{"config": {"see', "{}"])
def test_what_became_of_config_json_does_not_matter(runs, tmp_path, capsys, text):
    """Whose checkpoints they are the checkpoints say."""
    workdir = shutil.copytree(runs / "whole" / "vae", tmp_path / "run")
    (workdir / "config.json").write_text(text)
    assert commands.train(workdir, "vae", *PLAN, "seed=7") == 2
    assert "seed: 0 -> 7" in capsys.readouterr().err
    assert commands.train(workdir, "vae", *PLAN) == 0


def test_a_second_process_on_a_workdir_is_refused(tmp_path):
    with lock.locked(tmp_path):
        code, said = commands.fresh(command(tmp_path, "vae"))
    assert code == 2
    assert f"--workdir={tmp_path}" in said
    assert "is training there" in said
    assert not checkpoint.steps(tmp_path)


def test_a_finished_run_says_so_and_trains_nothing(runs, capsys, monkeypatch):
    def train_anyway(*args):
        raise AssertionError("the run was finished")

    monkeypatch.setattr(loop, "loop", train_anyway)
    monkeypatch.setattr(loop, "compile_run", train_anyway)
    workdir = runs / "whole" / "vae"
    before = {p: p.stat().st_mtime_ns for p in workdir.rglob("*") if p.name != ".lock"}
    assert commands.train(workdir, "vae", *PLAN) == 0
    assert "has done its 8 steps" in capsys.readouterr().out
    assert before == {p: p.stat().st_mtime_ns for p in workdir.rglob("*") if p.name != ".lock"}


def test_more_steps_at_other_intervals_go_on_as_the_same_run(tmp_path):
    written = ("eval_every=2", "log_every=2")
    assert commands.train(tmp_path / "whole", "vae", *written, "steps=8", "save_every=8") == 0
    assert commands.train(tmp_path / "parts", "vae", *written, "steps=4", "save_every=4") == 0
    other = ("save_every=2", "keep_last=1", "keep_best=elbo", "num_samples=2")
    assert commands.train(tmp_path / "parts", "vae", *written, *other, "steps=8") == 0
    commands.assert_equal_runs(tmp_path / "whole", tmp_path / "parts")


def test_fewer_steps_than_were_done_are_refused(runs, capsys):
    assert commands.train(runs / "whole" / "vae", "vae", *PLAN, "steps=3") == 2
    assert "config.steps = 3" in capsys.readouterr().err


def test_a_damaged_checkpoint_is_passed_over_and_made_again(runs, tmp_path, capsys):
    assert commands.train(tmp_path, "vae", *PLAN) == 0
    newest = checkpoint.folder(tmp_path) / "8"
    for path in (newest / "state" / "d").iterdir():
        path.write_bytes(b"\0" * path.stat().st_size)
    assert commands.train(tmp_path, "vae", *PLAN) == 0
    assert "damaged checkpoint passed over" in capsys.readouterr().out
    commands.assert_equal_runs(runs / "whole" / "vae", tmp_path)


def test_best_checkpoint_survives_a_stop_before_the_first_evaluation(tmp_path):
    best = ("keep_best=elbo", "keep_last=1", "save_every=5")
    argv = commands.train_args(tmp_path, "vae", *PLAN, *best)
    stopped = {"script": "train", "argv": argv, "signal": "SIGTERM", "item": 1}
    assert commands.execute(stopped) == 0
    assert checkpoint.steps(tmp_path) == [2]
    assert commands.execute({"script": "train", "argv": argv}) == 0
    elbo = {row["step"]: row["elbo"] for row in commands.rows(tmp_path) if row["split"] == "test"}
    assert checkpoint.steps(tmp_path) == sorted({max(elbo, key=elbo.get), 8})


def test_a_stop_leaves_with_the_code_that_was_asked_for_and_the_end_with_0(tmp_path, monkeypatch):
    monkeypatch.setenv("AIGC_STOPPED_EXIT_CODE", "75")
    assert commands.execute(command(tmp_path, "vae", signal="SIGTERM", item=1)) == 75
    assert checkpoint.steps(tmp_path)[-1] < 8
    assert commands.execute(command(tmp_path, "vae")) == 0
    assert commands.execute(command(tmp_path, "vae")) == 0  # where nothing is left to do


def test_no_exit_code_is_refused_before_training(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("AIGC_STOPPED_EXIT_CODE", "again")
    assert commands.execute(command(tmp_path, "vae")) == 2
    assert "AIGC_STOPPED_EXIT_CODE=again: must be" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_other_data_under_the_same_name_is_refused(tmp_path, capsys):
    text = tmp_path / "text.txt"
    text.write_text("To be, or not to be.\n" * 40)
    chosen = (f"data.name={text}", "data.limit=None")
    assert commands.train(tmp_path / "run", "attention", "steps=2", *chosen) == 0
    text.write_text("To be, or not to bee\n" * 40)
    assert commands.train(tmp_path / "run", "attention", "steps=4", *chosen) == 2
    said = capsys.readouterr().err
    assert "is not the data" in said
    assert "sha256" in said
    stored = json.loads((tmp_path / "run" / "config.json").read_text())
    assert str(stored["data"]["fingerprint"]["sha256"]) in said
