"""The two commands as tests call them: in this process, or in a fresh one with a single device.

Run as a script with JSON, it executes one command after another, see `start`.
"""

import itertools
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading

ROOT = pathlib.Path(__file__).resolve().parents[1]
DATA = tempfile.TemporaryDirectory(prefix="aigc_jax_data_")  # prepared once per test session
# What two equal runs may write differently.
VARYING = ("time", "examples_per_second", "peak_memory_mib")

# The three families as small as they get, with all that a state can hold: optimiser slots,
# averages, batch statistics, and noise from dropout, augmentation, latents and binarisation.
FAMILIES = {
    "gan": (
        "gan_digits.py:test",
        *("algorithm.generator_args.widths=(8,8,8)", "algorithm.discriminator_args.widths=(8,8)"),
        *("algorithm.latent_dim=8", "algorithm.n_critic=2", "data.limit=128", "augment.flip=0.5"),
    ),
    "vae": (
        "vae_digits.py:test",
        *("algorithm.encoder_args.hidden=(16,)", "algorithm.decoder_args.hidden=(16,)"),
        *("algorithm.latent_dim=4", "data.limit=64", "ema_decay=0.9", "augment.shift=1"),
    ),
    "attention": (
        "gpt_python.py:test",
        *("algorithm.network_args.layers=1", "algorithm.network_args.heads=2"),
        *("algorithm.network_args.dim=16", "algorithm.network_args.dropout=0.1"),
        *("data.context=16", "data.limit=80", "ema_decay=0.9"),
    ),
}


def train_args(workdir, spec, *overrides):
    """Arguments of train.py: a family or a config file, and overrides such as "steps=8".

    An epoch of a family's data is four steps of 16 (the GAN's: 32) examples.
    """
    batch = ("batch_size=16",) if spec in FAMILIES else ()
    spec, *chosen = FAMILIES.get(spec, (spec,))
    path = spec if pathlib.Path(spec.split(":")[0]).is_absolute() else f"{ROOT}/configs/{spec}"
    options = (f"data.data_dir={DATA.name}", *chosen, *batch, "mesh.data=1", *overrides)
    return [f"--config={path}", f"--workdir={workdir}", *(f"--config.{o}" for o in options)]


def train(workdir, spec, *overrides):
    """Exit code of train.py in this process."""
    import train

    return train.main(train_args(workdir, spec, *overrides))


def sample(workdir, out, *options):
    """Exit code of sample.py in this process."""
    import sample

    return sample.main([f"--workdir={workdir}", f"--out={out}", *options])


def start(*commands, blocked=(), forbidden=()):
    """A fresh process with one device that executes `commands`, one after another.

    A command is {"script": "train" | "sample", "argv": [...]}. With "signal": name and "item": n,
    the process sends itself that signal when the loop asks for the n-th batch of this run; with
    "signal": name and "item": "unfinished", as soon as a checkpoint is being written. Modules in
    `blocked` cannot be imported, files in the folders `forbidden` not be opened, and with these no
    connection be made. It ends with the first exit code that is not 0.
    """
    import jax

    cache = jax.config.jax_compilation_cache_dir
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": cache}
    told = {"commands": commands, "blocked": blocked, "forbidden": [str(f) for f in forbidden]}
    words = [sys.executable, __file__, json.dumps(told)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(words, cwd=ROOT, env=environment, **pipes)


def finish(process):
    """(exit code, what it wrote to stdout and stderr) of a started process."""
    out, err = process.communicate(timeout=300)
    return process.returncode, out + err


def fresh(*commands, **barred):
    """`start` and `finish`."""
    return finish(start(*commands, **barred))


def rows(workdir):
    """The rows of a run's metrics.jsonl, without what varies."""
    lines = (pathlib.Path(workdir) / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in VARYING} for line in lines]


def assert_equal_runs(one, other):
    """The newest states, step and cursor included, and all rows are equal bit for bit."""
    from aigc_jax import checkpoint

    assert checkpoint.steps(one)[-1] == checkpoint.steps(other)[-1]
    states = [checkpoint.read_arrays(workdir) for workdir in (one, other)]
    assert states[0].keys() == states[1].keys()
    differing = [k for k in states[0] if states[0][k].tobytes() != states[1][k].tobytes()]
    assert not differing
    assert rows(one) == rows(other)


def signalling(items, number, at):
    """`items`, with a signal to this process before the one numbered `at`."""
    for count, item in enumerate(items):
        if count == at:
            os.kill(os.getpid(), number)
        yield item


def signal_while_saving(folder, number):
    """Waits for an unfinished checkpoint in `folder` and sends a signal to this process."""
    while not any("tmp" in path.name for path in folder.glob("*")):
        pass
    os.kill(os.getpid(), number)


def forbid(folders):
    """Makes opening a file in `folders` or connecting to anything an error."""

    def refuse(event, details):
        opens = event == "open" and isinstance(details[0], str)
        inside = opens and os.path.abspath(details[0]).startswith(tuple(folders))
        if inside or event in ("socket.connect", "socket.getaddrinfo"):
            raise PermissionError(f"{event} {details[:1]} is forbidden here")

    sys.addaudithook(refuse)


def execute(command):
    """Executes one command as `start` describes it."""
    script = __import__(command["script"])
    if "signal" not in command:
        return script.main(command["argv"])
    from aigc_jax import feed

    number = signal.Signals[command["signal"]]
    whole = feed.training_items
    if command["item"] == "unfinished":
        (workdir,) = (w.partition("=")[2] for w in command["argv"] if w.startswith("--workdir="))
        folder = pathlib.Path(workdir) / "checkpoints"
        threading.Thread(target=signal_while_saving, args=(folder, number), daemon=True).start()
    else:
        feed.training_items = lambda *a, **k: signalling(whole(*a, **k), number, command["item"])
    try:
        return script.main(command["argv"])
    finally:
        feed.training_items = whole


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    told = json.loads(sys.argv[1])
    sys.modules.update(dict.fromkeys(told["blocked"]))
    if told["forbidden"]:
        forbid(told["forbidden"])
    codes = map(execute, told["commands"])
    sys.exit(next(itertools.filterfalse(lambda code: code == 0, codes), 0))
