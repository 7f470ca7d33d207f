"""Several real processes of one run on this machine, as tests start them; no test itself.

    with processes.start(2, lambda i: ["train.py", *arguments]) as group:
        group.wait_for("step 4", index=1)           # until process 1 has said so
        group.signal(1, signal.SIGTERM)
        assert group.wait(60) == [0, 0], group.said()

Every process has `devices` CPU devices, the three variables of Kubeflow's JAX runtime (others by
`variables`) on a free port of this machine, no proxy, no other launcher's variables, and the tests'
compilation cache. What it says goes to files, so that nobody waits for a full pipe. At the end of
the `with` block whatever still runs is killed, stopped processes too.
"""

import contextlib
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
# What an outer launcher or shell may have set, and a process of the test must not see.
FOREIGN = ("SLURM_", "OMPI_", "PMI_", "PMIX_", "PRTE_", "JAX_", "TPU_", "MEGASCALE_", "KUBERNETES_")
FOREIGN_NAMES = ("JOB_COMPLETION_INDEX", "WORLD_SIZE", "RANK", "XLA_FLAGS")


def kubeflow(index, count, port):
    """The variables of process `index` of `count` under Kubeflow's JAX runtime."""
    address = f"127.0.0.1:{port}"
    numbers = {"JAX_NUM_PROCESSES": str(count), "JAX_PROCESS_ID": str(index)}
    return {"JAX_COORDINATOR_ADDRESS": address, **numbers}


def free_port():
    """A port that nobody listens on, and that the system hands out to nobody else soon."""
    with socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::", 0))
        return probe.getsockname()[1]


def environment(devices, **more):
    """Of a process with CPU devices and without launchers and proxies; None in `more` removes."""
    import jax

    foreign = lambda k: k.startswith(FOREIGN) or k in FOREIGN_NAMES or "_proxy" in k.lower()
    chosen = {
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(devices),
        "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
        "PYTHONUNBUFFERED": "1",
        **more,
    }
    kept = {k: v for k, v in os.environ.items() if not foreign(k)} | chosen
    return {k: v for k, v in kept.items() if v is not None}


class Group:
    """Running processes; `group[i]` is the `Popen` of process i."""

    def __init__(self, folder, commands, environments):
        self._folder = pathlib.Path(folder)
        self._running = []
        for i, (words, env) in enumerate(zip(commands, environments, strict=True)):
            with (
                open(self._folder / f"{i}.out", "wb") as out,
                open(self._at(i, "err"), "wb") as err,
            ):
                self._running.append(
                    subprocess.Popen(words, cwd=ROOT, env=env, stdout=out, stderr=err)
                )

    def _at(self, index, which):
        return self._folder / f"{index}.{which}"

    def __getitem__(self, index):
        return self._running[index]

    def __len__(self):
        return len(self._running)

    def out(self, index):
        """What process `index` has written to stdout so far."""
        return self._at(index, "out").read_text(errors="replace")

    def err(self, index):
        """The same of stderr."""
        return self._at(index, "err").read_text(errors="replace")

    def said(self):
        """Everything of everyone, for the message of an assertion."""
        each = range(len(self))
        return "\n".join(f"--- process {i}\n{self.out(i)}{self.err(i)}" for i in each)

    def signal(self, index, number):
        """Sends a signal, such as signal.SIGKILL, to one process."""
        self[index].send_signal(number)

    def wait(self, timeout=120):
        """The exit codes of all, negative for signals, once all have ended.

        Raises:
          AssertionError: with all they said, if one still runs after `timeout` seconds.
        """
        end = time.monotonic() + timeout
        return [self.wait_one(i, end - time.monotonic()) for i in range(len(self))]

    def wait_one(self, index, timeout=120):
        """The exit code of one process."""
        try:
            return self[index].wait(max(timeout, 0.01))
        except subprocess.TimeoutExpired:
            raise AssertionError(f"process {index} still runs\n{self.said()}") from None

    def wait_for(self, text, index=0, timeout=120):
        """Returns as soon as process `index` has said `text`; an error if it ends without."""
        end = time.monotonic() + timeout
        while text not in self.out(index) + self.err(index):
            ended = self[index].poll() is not None and text not in self.out(index) + self.err(index)
            if ended or time.monotonic() > end:
                raise AssertionError(f"process {index} did not say {text!r}\n{self.said()}")
            time.sleep(0.02)

    def kill(self):
        """Ends what still runs."""
        for process in self._running:
            if process.poll() is None:
                process.kill()
                process.wait()


@contextlib.contextmanager
def start(count, words, *, devices=1, variables=kubeflow, prefix=None, **more):
    """Starts `count` processes; yields their `Group`.

    Args:
      words: what comes after `python`: a function of the index that returns a list, such as
        ["train.py", "--config=..."] or [commands.__file__, json]; or a Python program as a string,
        the same for all.
      devices: CPU devices of each process.
      variables: (index, count, port) -> the environment variables of a launcher; `None` for none.
      prefix: index -> words before `python`, such as another machine's shell; None for none.
      more: further environment variables for all.
    """
    words_of = (lambda i: ["-c", words]) if isinstance(words, str) else words
    port, told = free_port(), variables or (lambda *_: {})
    environments = [environment(devices, **told(i, count, port), **more) for i in range(count)]
    before = prefix or (lambda i: [])
    commands = [[*before(i), sys.executable, *map(str, words_of(i))] for i in range(count)]
    with tempfile.TemporaryDirectory(prefix="aigc_jax_processes_") as folder:
        group = Group(folder, commands, environments)
        try:
            yield group
        finally:
            group.kill()
