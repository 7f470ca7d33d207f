"""Two real processes of train.py: the run of one process, stopped, killed and gone on with."""

import re
import signal
import time
from typing import NamedTuple

import commands
import numpy as np
import ordered
import pytest
import test_kills
import test_rollback
import together
from commands import FAMILIES

from aigc_jax import checkpoint, failure

PLAN = ("steps=8", "save_every=3", "eval_every=5", "log_every=1", "keep_last=9")
MESHES = {
    "vae": ("mesh.data=2",),
    "gan": ("mesh.fsdp=2",),
    "attention": ("mesh.tensor=2", "sharding=tensor_parallel"),
}
# The convolutions of the GAN that `commands` knows take half a minute to compile.
MLP = ("algorithm.generator=MlpGenerator", "algorithm.generator_args.widths=(8,)")
MLP += ("algorithm.discriminator=MlpDiscriminator", "algorithm.discriminator_args.widths=(8,)")
QUICK = {"vae": (), "gan": MLP, "attention": ()}
HEARTBEAT, STEPS = 5, 120
LONG = (f"steps={STEPS}", "save_every=10", "eval_every=60", "log_every=1", "num_samples=4")
LONG += (f"heartbeat_seconds={HEARTBEAT}",)
PAUSE = 0.05  # JAX may take a second to tell of a SIGTERM, so that steps must not be too fast


def streamed(root):
    """A config of a folder of images that does not fit in its memory."""
    return f"{ordered.__file__}:{root / 'images'}", "data.max_memory_gib=1e-9"


def order(workdir):
    return [row["order"] for row in commands.rows(workdir) if row["split"] == "train"]


class Runs(NamedTuple):
    """Runs of one process in root/"one", of two in root/"two"; what each of two has written."""

    root: object
    written: list
    said: list


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    ordered.write_folder(root / "images")
    plans = {f: (f, *PLAN, *QUICK[f]) for f in FAMILIES} | {"streamed": (*streamed(root), *PLAN)}
    plans["holes"] = ("vae", *test_rollback.PLAN, *test_rollback.holes(9, 14))
    for name, plan in plans.items():
        assert commands.train(root / "one" / name, *plan) == 0
    meshes = MESHES | dict.fromkeys(("streamed", "holes"), ("mesh.data=2",))
    both = [(root / "two" / name, *plan, *meshes[name]) for name, plan in plans.items()]
    both.append((root / "two" / "long", ordered.CONFIG, *LONG, "mesh.fsdp=2"))
    with together.start(2, *(commands.train_args(*run) for run in both)) as group:
        assert group.wait(280) == [0, 0], group.said()
        each = [(together.written(group, i), group.out(i)) for i in (0, 1)]
    return Runs(root, *map(list, zip(*each, strict=True)))


def assert_equal_rows(runs, name):
    """One and two processes wrote the same rows, but for rounding; returns how many."""
    one, two = (commands.rows(runs.root / part / name) for part in ("one", "two"))
    assert [row.keys() for row in one] == [row.keys() for row in two]
    for row, other in zip(one, two, strict=True):
        assert (row["step"], row["split"]) == (other["step"], other["split"])
        values, others = ([v for v in r.values() if isinstance(v, float)] for r in (row, other))
        np.testing.assert_allclose(values, others, rtol=1e-4, atol=1e-6)
    return len(one)


@pytest.mark.parametrize("family", FAMILIES)
def test_two_give_the_losses_of_one(runs, family):
    assert assert_equal_rows(runs, family) == 8 + 2


def test_two_go_back_like_one(runs):
    """Data that is NaN: both skip, count, go back to the same step, and on with later data."""
    assert assert_equal_rows(runs, "holes") == 24 + 2 + 2
    one, two = (checkpoint.read_arrays(runs.root / part / "holes") for part in ("one", "two"))
    for name in ("cursor", *(name for name in one if name.startswith("guard/"))):
        rounding = 1e-4 if name.startswith("guard/trend/") else 0  # of losses; counts are equal
        np.testing.assert_allclose(one[name], two[name], rtol=rounding)
    assert (two["guard/rollbacks"], two["guard/skipped"]) == (2, 6)


def test_two_see_the_same_batches_as_one(runs):
    assert order(runs.root / "two" / "long") == ordered.expected(STEPS)
    assert order(runs.root / "two" / "streamed") == order(runs.root / "one" / "streamed")


def test_only_the_first_process_writes(runs):
    first, second = runs.written
    assert second == {"checkpoints"}  # its part of the state
    assert {"config.json.tmp", "metrics.jsonl", "tensorboard", "samples", ".lock"} <= first
    assert "step" in runs.said[0]
    assert "step" not in runs.said[1]
    for family in FAMILIES:
        workdir = runs.root / "two" / family
        assert [r["step"] for r in commands.rows(workdir) if r["split"] == "train"] == [
            *range(1, 9)
        ]
        shown = {path.stem for path in (workdir / "samples").iterdir()}  # with a mark beside texts
        assert shown == {"step_0000005", "step_0000008"}
        assert checkpoint.steps(workdir) == [0, 3, 6, 8]
        assert not list(workdir.rglob("*unfinished*"))


def begun_at(group):
    return int(re.search(r"\(from step (\d+)\)", group.out(0)).group(1))


def stopped(argv, victims):
    """The step at which two processes stop after a SIGTERM to `victims`; both end well."""
    with together.start(2, argv, pause=PAUSE) as group:
        group.wait_for("step 5/")
        for victim in victims:
            group.signal(victim, signal.SIGTERM)
        assert group.wait(120) == [0, 0], group.said()
        last = [re.search(r"asked to stop, after step (\d+)", group.err(i)) for i in (0, 1)]
        assert all(last), group.said()
        steps = {int(found.group(1)) for found in last}
        assert len(steps) == 1
        return steps.pop()


def failed(argv, victim, number, moment=lambda group: None):
    """The step that a pair begins at, of which one is killed or stopped; the other leaves soon.

    `moment(group)` returns when the signal shall come, after 15 steps.
    """
    other = 1 - victim
    with together.start(2, argv, pause=PAUSE) as group:
        group.wait_for("results ")
        step = begun_at(group)
        group.wait_for(f"step {step + 15}/")
        moment(group)
        group.signal(victim, number)
        start = time.monotonic()
        code = group.wait_one(other, 60)
        assert time.monotonic() - start < HEARTBEAT + 5
        assert code in (failure.RETRY, -signal.SIGABRT), group.said()
        assert re.search(r"line \d+,? in loop\b", group.err(other)), group.said()  # its stack
        return step


def finished(argv):
    """The step at which a pair begins that trains to the end."""
    with together.start(2, argv) as group:
        assert group.wait(120) == [0, 0], group.said()
        return begun_at(group)


def test_a_stop_of_one_and_a_kill_of_one_lose_nothing(runs, tmp_path):
    """The kill comes while a checkpoint is being made."""
    argv = commands.train_args(tmp_path, ordered.CONFIG, *LONG, "mesh.fsdp=2")
    step = stopped(argv, [1])
    assert 5 <= step < STEPS
    assert checkpoint.steps(tmp_path)[-1] == step
    assert [row["step"] for row in commands.rows(tmp_path)][-1] == step
    assert failed(argv, 1, signal.SIGKILL, test_kills.in_a_save(tmp_path)) == step
    assert step <= finished(argv) < STEPS
    commands.assert_equal_runs(runs.root / "two" / "long", tmp_path)


@pytest.mark.slow
def test_kills_of_either_in_a_save_lose_nothing(runs, tmp_path):
    argv, begun = commands.train_args(tmp_path, ordered.CONFIG, *LONG, "mesh.fsdp=2"), []
    for victim in (0, 1, 0, 1):
        begun.append(failed(argv, victim, signal.SIGKILL, test_kills.in_a_save(tmp_path)))
    begun.append(finished(argv))
    assert begun[0] == 0
    assert begun == sorted(set(begun))
    assert begun[-1] < STEPS
    commands.assert_equal_runs(runs.root / "two" / "long", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("family", "victim"), [("vae", 0), ("gan", 1), ("attention", 0)])
def test_stops_and_kills_of_every_family_lose_nothing(tmp_path, family, victim):
    argv_in = lambda name: commands.train_args(tmp_path / name, family, *LONG, *MESHES[family])
    assert finished(argv_in("whole")) == 0
    step = stopped(argv_in("parts"), [victim])
    assert checkpoint.steps(tmp_path / "parts")[-1] == step
    assert failed(argv_in("parts"), victim, signal.SIGKILL) == step
    assert step <= finished(argv_in("parts")) < STEPS
    commands.assert_equal_runs(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_the_peer_of_a_stopped_process_leaves_and_the_restart_loses_nothing(runs, tmp_path, victim):
    argv = commands.train_args(tmp_path, ordered.CONFIG, *LONG, "mesh.fsdp=2")
    assert failed(argv, victim, signal.SIGSTOP) == 0
    assert finished(argv) < STEPS
    commands.assert_equal_runs(runs.root / "two" / "long", tmp_path)


@pytest.mark.slow
def test_a_request_to_both_is_one_request(runs, tmp_path):
    argv = commands.train_args(tmp_path, ordered.CONFIG, *LONG, "mesh.fsdp=2")
    step = stopped(argv, [0, 1])
    assert checkpoint.steps(tmp_path)[-1] == step < STEPS
    assert finished(argv) == step
    commands.assert_equal_runs(runs.root / "two" / "long", tmp_path)
