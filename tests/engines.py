"""What the tests of real launchers share: a run of some seconds, and how to see how far it is."""

import json
import pathlib
import time

import commands

STEPS = 600


def arguments(workdir, *overrides):
    """Of train.py: a VAE over all processes there are, for some ten seconds."""
    often = ("log_every=20", "eval_every=200", "save_every=100", "heartbeat_seconds=10")
    chosen = (f"steps={STEPS}", *often, "mesh.data=-1", *overrides)
    return commands.train_args(workdir, "vae", *chosen)


def wait_for(condition, timeout=120):
    """Until `condition()` is true."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def at_step(workdir, step):
    """Whether a run has written a row of `step` or a later one."""
    path = pathlib.Path(workdir) / "metrics.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return bool(lines) and json.loads(lines[-1])["step"] >= step
