"""What is not finite costs its own steps; a run that keeps meeting it goes back and on, or ends."""

import json

import commands
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax import checkpoint, log, rollback

HERE = __name__
PLAN = ("steps=24", "log_every=1", "eval_every=12", "save_every=4", "keep_last=9")
PLAN += ("max_bad_steps=3", "max_rollbacks=2", "rollback_lr_scale=0.25", "data.limit=None")


def broken_from(value, *, steps, first, last, high=0.3):
    """A weight that is NaN in updates `first` to `last` at learning rates above `high`."""
    return lambda step: jnp.where((step + 1 >= first) & (step < last), jnp.nan, value)


def digits_with_holes(
    *, first: int = 0, last: int = -1, data_dir: str = "", limit: int | None = None
):
    """Streamed float digits of which the batches number `first` to `last` of a run are NaN."""
    from aigc_jax.data import load
    from aigc_jax.data.dataset import Split
    from aigc_jax.data.order import indices

    whole = load.load({"name": "digits", "data_dir": data_dir})
    images = whole.train.arrays["image"].astype(np.float32) / 127.5 - 1
    for cursor in range(first, last + 1):
        images[indices(0, cursor, 16, len(images))] = np.nan
    shapes, dtypes = {"image": images.shape[1:]}, {"image": "float32"}
    info = whole.info._replace(shapes=shapes, dtypes=dtypes, num_classes=0)
    train = Split(len(images), source=[{"image": image} for image in images])
    test = {"image": whole.eval.arrays["image"].astype(np.float32) / 127.5 - 1}
    return whole._replace(info=info, train=train, eval=whole.eval._replace(arrays=test))


def weight(first, last):
    """Overrides that make a loss NaN in some updates."""
    key = "algorithm.beta_schedule"
    return (f"{key}={HERE}:broken_from", f"{key}_args={{'first': {first}, 'last': {last}}}")


def rows(workdir, split="train"):
    return [row for row in commands.rows(workdir) if row["split"] == split]


def test_single_bad_steps_are_skipped_and_the_run_ends_well(tmp_path, capsys):
    assert commands.train(tmp_path, "vae", *PLAN, *weight(6, 7)) == 0
    shares = {row["step"]: row["nonfinite_share"] for row in rows(tmp_path)}
    assert [step for step, share in shares.items() if share] == [6, 7]
    assert rows(tmp_path, "rollback") == []
    said = capsys.readouterr().out
    assert "not finite from step 6 on" in said
    arrays = checkpoint.read_arrays(tmp_path)
    assert int(arrays["guard/skipped"]) == 2
    assert all(np.isfinite(x).all() for x in arrays.values() if x.dtype == np.float32)


@pytest.fixture(scope="module")
def rolled_back(tmp_path_factory):
    """A run whose data is NaN in batches 9 to 14 and so goes back, once."""
    workdir = tmp_path_factory.mktemp("rolled_back")
    # The trace is open when the run goes back.
    assert commands.train(workdir, "vae", *PLAN, *holes(9, 14), "profile_steps=9:20") == 0
    return workdir


def holes(first, last):
    name = f"data.name={HERE}:digits_with_holes"
    # Binarisation would make something finite of a NaN.
    pixels = ("algorithm.likelihood=gaussian", "algorithm.binarize=none")
    return name, f"data.first={first}", f"data.last={last}", *pixels


def test_a_streak_in_the_data_is_left_behind(rolled_back):
    """Steps 10, 11, 12 are bad: back to 8, on with batch 12; 12 to 14 are bad again, then fine."""
    went = [
        (r["step"], r["from"], r["cursor"], r["lr_scale"]) for r in rows(rolled_back, "rollback")
    ]
    assert went == [(8, 12, 12, 0.25), (8, 11, 15, 0.0625)]
    train = rows(rolled_back)
    assert [row["step"] for row in train] == list(range(1, 25))
    arrays = checkpoint.read_arrays(rolled_back)
    assert int(arrays["cursor"]) == 24 + (15 - 8)
    assert float(arrays["guard/lr_scale"]) == 0.0625
    assert (int(arrays["guard/skipped"]), int(arrays["guard/rollbacks"])) == (6, 2)
    assert all(np.isfinite(x).all() for x in arrays.values() if x.dtype == np.float32)


def test_a_streak_is_found_however_rarely_one_looks(tmp_path):
    """Rows at every step or at the last alone: the same streaks, the same way, the same end."""
    rarely = ("eval_every=24", "save_every=24")
    for name, every in (("often", 1), ("rarely", 24)):
        chosen = (*PLAN, *holes(9, 11), *rarely, f"log_every={every}")
        assert commands.train(tmp_path / name, "vae", *chosen) == 0
    (went,), (also,) = (rows(tmp_path / name, "rollback") for name in ("often", "rarely"))
    assert went == also
    assert (went["step"], went["from"], went["cursor"]) == (0, 12, 12)
    states = [checkpoint.read_arrays(tmp_path / name) for name in ("often", "rarely")]
    assert all(states[0][k].tobytes() == states[1][k].tobytes() for k in states[0])


def test_stopped_within_a_streak_it_ends_in_the_same_bits(rolled_back, tmp_path):
    """Of the checkpoints before a streak none is deleted for the one that the stop made."""
    plan = ("vae", *PLAN, *holes(9, 14), "keep_last=1")
    argv = commands.train_args(tmp_path, *plan)
    code, said = commands.fresh({"script": "train", "argv": argv, "signal": "SIGTERM", "item": 10})
    assert code == 0, said
    assert checkpoint.steps(tmp_path) == [8, 11]
    assert commands.train(tmp_path, *plan) == 0
    commands.assert_equal_runs(rolled_back, tmp_path)
    assert checkpoint.steps(tmp_path) == [24]


def test_a_trace_is_closed_when_a_run_goes_back(rolled_back):
    """Otherwise the next one could not begin, and the run would have said so."""
    assert list((rolled_back / "profile").rglob("*.xplane.pb"))  # those of one second share a file
    jax.profiler.start_trace(str(rolled_back / "after"))
    jax.profiler.stop_trace()


def test_rows_say_what_the_state_knows(rolled_back):
    assert [r["lr_scale"] for r in log.rollbacks(rolled_back)] == [0.25, 0.0625]


def test_killed_on_the_way_back_it_ends_in_the_same_bits(rolled_back, tmp_path):
    argv = commands.train_args(tmp_path, "vae", *PLAN, *holes(9, 14))
    for item in (2, 6):
        killed = {"script": "train", "argv": argv, "signal": "SIGKILL", "item": item}
        code, said = commands.fresh(killed)
        assert code == -9, said
    assert commands.train(tmp_path, "vae", *PLAN, *holes(9, 14)) == 0
    commands.assert_equal_runs(rolled_back, tmp_path)


def test_a_run_that_going_back_does_not_help_ends_with_the_story(tmp_path, capsys):
    assert commands.train(tmp_path, "vae", *PLAN, *weight(10, 99)) == 1
    said = capsys.readouterr().err
    for part in (
        "metric beta was not finite at step 10",
        "3 in a row",
        "back 2 times",
        "from step 12 to step 8",
        "0.25 times the learning rates",
        "config.max_rollbacks = 2",
        "0, 4, 8",
        "clip_norm",
    ):
        assert part in said
    assert checkpoint.steps(tmp_path) == [0, 4, 8]
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert all(np.isfinite(v) for line in lines for v in json.loads(line).values() if v != v)


def test_parameters_that_an_update_ruins_are_never_saved(tmp_path, capsys):
    """A learning rate of NaN at step 6: its metrics are fine, those of step 7 on are not."""
    key = "optimizer.model.learning_rate_schedule"
    ruin = (f"{key}={HERE}:broken_from", f"{key}_args={{'first': 6, 'last': 6}}", "save_every=6")
    assert commands.train(tmp_path, "vae", *PLAN, *ruin) == 1
    assert "params/" in capsys.readouterr().out
    arrays = checkpoint.read_arrays(tmp_path)
    assert all(np.isfinite(x).all() for x in arrays.values() if x.dtype == np.float32)
    assert checkpoint.steps(tmp_path) == [0]


def test_no_checkpoint_is_made_within_a_streak(tmp_path):
    """Steps 7 to 9 are bad and would have been saved at 8."""
    assert commands.train(tmp_path, "vae", *PLAN, "max_bad_steps=5", *weight(7, 9)) == 0
    assert checkpoint.steps(tmp_path) == [0, 4, 12, 16, 20, 24]


@pytest.mark.parametrize(
    ("there", "before", "chosen"), [([0, 4, 8], 7, 4), ([0, 4, 8], 8, 8), ([8], 7, 8)]
)
def test_the_checkpoint_to_go_back_to(there, before, chosen):
    assert rollback.step_before(there, before) == chosen
