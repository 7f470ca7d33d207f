"""Which checkpoints are kept, which folders count, and whether there is space for more."""

import re
import shutil

import pytest
from checkpoints import MIB, assert_whole, names, state_at, target, write

from aigc_jax import checkpoint
from aigc_jax.storage import retention

METRICS = {1: {"loss": 5.0}, 2: {"loss": 1.0}, 3: {}, 4: {"loss": 3.0}, 5: {"loss": float("nan")}}


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ((1, "", "min", 0), {5}),
        ((0, "", "min", 0), {5}),
        ((2, "loss", "min", 0), {2, 4, 5}),
        ((1, "loss", "max", 0), {1, 5}),
        ((1, "", "min", 2), {2, 4, 5}),
        ((1, "other", "min", 3), {3, 5}),
        ((99, "loss", "max", 1), {1, 2, 3, 4, 5}),
    ],
)
def test_the_last_the_best_and_every_kth_are_kept(rule, expected):
    assert retention.kept(METRICS, *rule) == expected


def test_the_first_state_is_nobody_s_best_and_no_multiple():
    metrics = {0: {"loss": 0.0}, 1: {"loss": 2.0}, 2: {"loss": 3.0}}
    assert retention.kept(metrics, 1, "loss", "min", 5) == {1, 2}
    assert retention.kept({0: {}}, 1, "loss", "min", 5) == {0}


def test_the_newest_of_equally_good_ones_is_the_best():
    assert retention.kept(dict.fromkeys((1, 2, 3), {"loss": 1.0}), 1, "loss", "min", 0) == {3}
    equal = dict.fromkeys((1, 2), {"loss": 1.0}) | {3: {"loss": 2.0}}
    assert retention.kept(equal, 1, "loss", "min", 0) == {2, 3}


def test_a_link_in_the_place_of_a_checkpoint_goes_but_not_what_it_leads_to(tmp_path):
    write(tmp_path / "run", 4)
    moved = shutil.move(checkpoint.folder(tmp_path / "run") / "4", tmp_path / "4")
    (checkpoint.folder(tmp_path / "run") / "4").symlink_to(moved)
    write(tmp_path / "run", 4)
    write(tmp_path / "run", 5)
    assert assert_whole(tmp_path / "run") == 5
    assert names(tmp_path / "run") == ["4", "5"]
    assert any((tmp_path / "4").iterdir())


@pytest.mark.parametrize(
    ("kept", "most"),
    [
        (dict(keep_last=3, keep_every=0, keep_best=""), 5),
        (dict(keep_last=1, keep_every=10, keep_best="loss"), 104),
        (dict(keep_last=10**9, keep_every=0, keep_best="loss"), 503),
    ],
)
def test_space_is_asked_for_all_that_will_be_kept(kept, most):
    assert retention.most_at_once({"steps": 1000, "save_every": 2, **kept}) == most


def test_retention_goes_on_over_resumed_runs(tmp_path):
    keep = (2, "loss", "min", 4)
    losses = {step: {"loss": float(abs(step - 3))} for step in range(1, 12)}
    write(tmp_path, 0, 1, 2, 3, 4, keep=keep, metrics=losses)
    assert checkpoint.steps(tmp_path) == [3, 4]
    write(tmp_path, 5, 6, 7, keep=keep, metrics=losses)
    write(tmp_path, 8, 9, 10, 11, keep=keep, metrics=losses)
    assert checkpoint.steps(tmp_path) == [3, 4, 8, 10, 11]
    assert_whole(tmp_path)


def test_a_step_that_is_saved_again_is_replaced(tmp_path):
    write(tmp_path, 0, 2)
    with checkpoint.Writer(tmp_path, 9, "", "min") as writer:
        writer.save(state_at(0), {"at": "again"}, {})
    assert checkpoint.read_run(tmp_path, 0) == {"at": "again"}
    assert checkpoint.read_run(tmp_path) == {"at": 2}
    assert names(tmp_path) == ["0", "2"]


def test_a_checkpoint_that_is_being_deleted_does_not_count(tmp_path, monkeypatch):
    write(tmp_path, 1, 2)

    def killed(path):
        next(p for p in path.rglob("*") if p.is_file()).unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            retention.remove(checkpoint.folder(tmp_path) / "1")
    assert checkpoint.steps(tmp_path) == [2]
    write(tmp_path, 3)
    assert names(tmp_path) == ["2", "3"]


@pytest.mark.parametrize("name", ["²", "007", "-1", "1.5", "4.damaged", "4.unfinished"])
def test_other_folders_are_no_steps(tmp_path, name):
    write(tmp_path, 4)
    shutil.copytree(checkpoint.folder(tmp_path) / "4", checkpoint.folder(tmp_path) / name)
    assert checkpoint.steps(tmp_path) == [4]


def test_too_little_space_is_told_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(9, 8, 5 * MIB))
    state = target()  # a little more than one MiB
    checkpoint.check_space(tmp_path, state, 4)
    with pytest.raises(ValueError, match=re.escape(str(checkpoint.folder(tmp_path)))) as caught:
        checkpoint.check_space(tmp_path, state, 5)
    each = MIB + 4 + 8
    assert f"{5 * each:,} bytes, but {5 * MIB:,} are free" in str(caught.value)
    write(tmp_path, 1)
    checkpoint.check_space(tmp_path, state, 5)  # one of them is there
