"""SIGKILL at random moments, also inside saves: the relaunched run ends in the very same bits."""

import random
import re
import signal
import time

import commands
import processes
import pytest
from commands import FAMILIES

from aigc_jax import checkpoint

# Saves are so frequent that one is nearly always being made.
PLAN = ("save_every=5", "eval_every=100", "log_every=1", "num_samples=4")


def last_row(group):
    """The step of the last row that the process has said, -1 before the first."""
    said = re.findall(r"^step (\d+)/", group.out(0), re.MULTILINE)
    return int(said[-1]) if said else -1


def killed(argv, moment):
    """Whether a kill fell inside a save. `moment(group)` returns when it shall come."""
    with processes.start(1, lambda i: ["train.py", *argv], variables=None) as group:
        moment(group)
        group.signal(0, signal.SIGKILL)
        assert group.wait_one(0) == -signal.SIGKILL, group.said()
    (workdir,) = (w.partition("=")[2] for w in argv if w.startswith("--workdir="))
    return any(checkpoint.folder(workdir).glob("*unfinished*"))


def after_row(step, seconds):
    """The moment `seconds` after the row of a step, or any later one, was said."""

    def wait(group):
        while last_row(group) < step:
            assert group[0].poll() is None, group.said()
            time.sleep(0.005)
        time.sleep(seconds)

    return wait


def after_start(seconds):
    """A moment while the process imports, restores, compiles, or trains already."""
    return lambda group: time.sleep(seconds)


def in_a_save(workdir):
    """The moment at which a checkpoint is being made."""

    def wait(group):
        while not any(checkpoint.folder(workdir).glob("*unfinished*")):
            assert group[0].poll() is None, group.said()

    return wait


def moments(draw, workdir, count, steps):
    """`count` moments over the whole run: every fifth at a start, every fifth within a save."""
    for i in range(count):
        if i % 5 == 3:
            yield after_start(draw.uniform(0, 6))
        elif i % 5 == 1:
            yield in_a_save(workdir)
        else:
            yield after_row(draw.uniform(i, i + 1) * steps / count, draw.uniform(0, 0.05))


def finished(argv):
    """Trains to the end, in a process like those that are killed: with one device, not eight."""
    with processes.start(1, lambda i: ["train.py", *argv], variables=None) as group:
        assert group.wait(120) == [0], group.said()


def killed_often(root, family, count, steps):
    """How many of `count` kills fell inside a save; the end is that of an uninterrupted run."""
    plan = (family, f"steps={2 * steps}", *PLAN)
    whole, parts = (commands.train_args(root / name, *plan) for name in ("whole", "parts"))
    finished(whole)
    draw = random.Random(family)
    inside = sum(killed(parts, m) for m in moments(draw, root / "parts", count, steps))
    assert checkpoint.steps(root / "parts")[-1] < 2 * steps
    finished(parts)
    commands.assert_equal_runs(root / "whole", root / "parts")
    return inside


def test_three_kills_change_nothing(tmp_path):
    assert killed_often(tmp_path, "vae", 3, steps=60) >= 1


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_twenty_kills_change_nothing(tmp_path, family):
    inside = killed_often(tmp_path, family, 20, steps=300)
    print(f"{family}: {inside} of 20 kills fell inside a save")
    assert inside >= 4
