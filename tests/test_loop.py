"""What the loop promises whatever it trains: one trace, finite states, documented rows."""

import importlib
import json
import math
import re
import subprocess
import sys

import commands
import jax.numpy as jnp
import pytest
from commands import FAMILIES

from aigc_jax import checkpoint
from aigc_jax.log import __doc__ as log_doc

HERE = __name__
traces = []


def counted(value, *, steps):
    """A constant weight that notes when a step is traced."""

    def schedule(step):
        traces.append(step)
        return jnp.float32(value)

    return schedule


@pytest.mark.parametrize("per_call", [1, 2])
def test_the_step_is_traced_once_for_a_whole_run(tmp_path, per_call):
    traces.clear()
    plan = ("steps=8", "save_every=2", "eval_every=4", "log_every=2", f"steps_per_call={per_call}")
    schedule = f"algorithm.beta_schedule={HERE}:counted"
    assert commands.train(tmp_path, "vae", *plan, schedule) == 0
    assert len(traces) == 1
    assert checkpoint.steps(tmp_path) == [6, 8]


def test_a_huge_learning_rate_stops_the_run_and_is_never_saved(tmp_path, capsys):
    streak = ("max_bad_steps=1", "max_rollbacks=1", "optimizer.model.learning_rate=1e30")
    assert commands.train(tmp_path, "vae", *streak) == 1
    assert "was not finite at step" in capsys.readouterr().err
    rows = commands.rows(tmp_path)
    assert all(math.isfinite(v) for row in rows for v in row.values() if isinstance(v, float))
    assert any(row.get("nonfinite_share", 0) > 0 for row in rows)
    arrays = checkpoint.read_arrays(tmp_path)
    assert all(jnp.isfinite(v).all() for k, v in arrays.items() if k.startswith(("params", "ema")))


DOCUMENTED = {
    "gan": (
        {"d_loss", "g_loss", "d_real", "d_fake", "r1", "d_grad_norm", "g_grad_norm"}
        | {"d_real_sign", "d_fake_sign", "fake_distance"},
        {"d_real", "d_fake"},
    ),
    "vae": (
        {"loss", "elbo", "rate", "distortion", "beta", "active_units", "grad_norm"},
        {"elbo", "rate", "distortion"},
    ),
    "attention": ({"loss", "grad_norm"}, {"nll"}),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_hold_the_documented_names(tmp_path, family):
    assert commands.train(tmp_path, family) == 0
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    common = {"step", "split", "time"}
    train, evaluated = DOCUMENTED[family]
    of_any_run = {"examples_per_second", "peak_memory_mib", "nonfinite_share"}
    by_split = {"train": common | train | of_any_run}
    for row in found:
        assert set(row) == by_split.get(row["split"], common | evaluated)
    splits = {"gan": "test", "vae": "test", "attention": "validation"}
    assert [row["step"] for row in found if row["split"] == "train"] == [1, 2, 3, 4]
    assert [row["step"] for row in found if row["split"] == splits[family]] == [2, 4]
    documentation = importlib.import_module(f"aigc_jax.{family}.algorithm").__doc__
    # A penalty's name is the name of its function.
    for name in (train | evaluated) - {"r1"}:
        assert re.search(rf"[`\"]{name}[`\"]", documentation), name
    for name in (*common, *of_any_run):
        assert name in log_doc


@pytest.mark.parametrize("window", ["1:3", "3:99"])
def test_profile_is_written_also_when_the_run_ends_first(tmp_path, window):
    assert commands.train(tmp_path, "vae", "steps=4", f"profile_steps={window}") == 0
    (trace,) = tmp_path.glob("profile/**/*.xplane.pb")
    assert trace.stat().st_size > 0


def test_first_lines_say_what_runs_where(tmp_path, capsys):
    assert commands.train(tmp_path, "vae") == 0
    said = capsys.readouterr().out
    for part in ("cpu", "'data': 1", "encoder", "decoder", "16 x 1", "digits", "test 360"):
        assert part in said
    assert f"results     {tmp_path}" in said
    assert "step      4  test: " in said
    assert "ETA" in said


def test_a_run_keeps_its_pictures_and_where_it_came_from(tmp_path):
    assert commands.train(tmp_path, "vae") == 0
    assert {p.name for p in (tmp_path / "samples").iterdir()} == {
        "step_0000002.png",
        "step_0000004.png",
    }
    assert len(list((tmp_path / "reconstructions").iterdir())) == 2
    assert any((tmp_path / "tensorboard").iterdir())
    record = json.loads((tmp_path / "config.json").read_text())
    assert record == checkpoint.read_run(tmp_path)
    assert set(record) >= {"config", "digest", "commit", "versions", "device", "data"}


def test_scripts_import_nothing_heavy_before_their_flags_are_read():
    code = "import sys, train, sample; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=commands.ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(result.stdout.split())
    assert not loaded & {"jax", "flax", "optax", "orbax", "grain", "tensorflow_datasets", "PIL"}
