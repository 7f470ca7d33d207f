"""Trains on a Ray cluster, with Ray Train's JaxTrainer placing and restarting the processes.

    pip install -r requirements.txt -r launch/requirements-ray.txt
    python launch/ray_train.py --workers=2 --config=configs/gan_mnist.py --workdir=runs/x
    python launch/ray_train.py --workers=4 --gpus=8 --config=... --workdir=/shared/runs/y

One worker per node with all of its GPUs is the simplest; without --gpus it trains on CPUs. The
repository, the workdir and the data must be at the same place on all nodes. A cluster is joined by
--address=auto or RAY_ADDRESS, otherwise one is started on this machine.

JaxTrainer itself starts jax.distributed only on GPUs and TPUs: on CPUs its workers would be lone
copies that train the same run side by side. And it calls what it trains in a thread, where a
process cannot handle signals. So every worker here runs train.py as a process of its own, and
tells it the coordinator, the number of processes and its own by JAX's three variables, in which
train.py knows a lone copy. A worker that dies takes its process along.

A group that fails is started again as a whole, --max_failures times, and goes on from the newest
checkpoint. Exit codes 1 (training failed) and 2 (bad input) are final, and the code of this
script. SIGTERM to this script has all processes save and leave; Ctrl-C ends them at once, and loses
what came after the last checkpoint.

Tested: run for real with Ray 2.60.0 on one machine, two workers on CPUs, also with one of them
killed and with all asked to stop (tests/test_ray.py). Not tested: several nodes, GPUs. TPUs are
left out: see jobset.yaml.
"""

import argparse
import ctypes
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[1]
FINAL = (1, 2, 130)  # exit codes of train.py after which trying again is of no use
PR_SET_PDEATHSIG = 1  # of Linux's prctl


def parse(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """The flags of this script, and the words for train.py."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--gpus", type=int, default=0, help="GPUs per worker; 0: CPUs")
    parser.add_argument("--cpus", type=int, default=1, help="cores that Ray reserves per worker")
    parser.add_argument("--max_failures", type=int, default=20, help="restarts of all workers")
    parser.add_argument("--address", help="of a Ray cluster, e.g. auto")
    parser.add_argument("--workdir", type=pathlib.Path, required=True, help="that of train.py")
    flags, words = parser.parse_known_args(argv)
    return flags, [*words, f"--workdir={flags.workdir}"]


class Notes:
    """What the workers of a run have to know of each other, also after they were started again."""

    def __init__(self) -> None:
        self._final, self._stopping = 0, False

    def set_final(self, code: int) -> None:
        """A process left with a final exit code."""
        self._final = code

    def final(self) -> int:
        """The final exit code, 0 as long as there is none."""
        return self._final

    def stop(self) -> None:
        """All processes shall save and leave."""
        self._stopping = True

    def stopping(self) -> bool:
        """Whether they shall."""
        return self._stopping


def own_address() -> str:
    """HOST:PORT of this node, on a port that nobody listens on."""
    import ray

    with socket.socket() as probe:
        probe.bind(("", 0))
        return f"{ray.util.get_node_ip_address()}:{probe.getsockname()[1]}"


def work(told: dict[str, Any]) -> None:
    """Runs train.py as one process of the run; called by Ray in every worker.

    Raises:
      RuntimeError: if it left with anything but 0, so that Ray starts all workers again.
    """
    import ray
    import ray.train
    from ray.train.collective import broadcast_from_rank_zero

    notes = told["notes"]
    if ray.get(notes.final.remote()) or ray.get(notes.stopping.remote()):
        return  # what failed for good before the restart would fail again
    context = ray.train.get_context()
    rank, count = context.get_world_rank(), context.get_world_size()
    chosen = {
        "JAX_COORDINATOR_ADDRESS": broadcast_from_rank_zero(own_address() if rank == 0 else None),
        "JAX_NUM_PROCESSES": str(count),
        "JAX_PROCESS_ID": str(rank),
        "JAX_PLATFORMS": "cuda" if told["gpus"] else "cpu",
    }
    prctl = ctypes.CDLL(None).prctl  # Linux kills train.py when this thread is no more
    process = subprocess.Popen(
        [sys.executable, "train.py", *told["argv"]],
        cwd=ROOT,
        env={**os.environ, **chosen},
        preexec_fn=lambda: prctl(PR_SET_PDEATHSIG, signal.SIGKILL),
    )
    while process.poll() is None:
        time.sleep(1)
        if ray.get(notes.stopping.remote()):
            process.terminate()
            break
    code = process.wait()
    if code in FINAL:
        ray.get(notes.set_final.remote(code))
    if code:
        raise RuntimeError(f"process {rank} of {count} left with {code}")


def main(argv: list[str]) -> int:
    """Trains; the exit code of train.py where it is final, 75 after too many failures."""
    flags, words = parse(argv)
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.v2.jax import JaxConfig, JaxTrainer

    ray.init(address=flags.address)
    notes = ray.remote(num_cpus=0)(Notes).remote()
    signal.signal(signal.SIGTERM, lambda *_: notes.stop.remote())
    # Ray's own notes, for which it wants a place that all nodes see.
    storage = str(ROOT / flags.workdir / "ray")
    trainer = JaxTrainer(
        work,
        train_loop_config={"argv": words, "gpus": flags.gpus, "notes": notes},
        jax_config=JaxConfig(use_tpu=False, use_gpu=False),
        scaling_config=ScalingConfig(
            num_workers=flags.workers,
            use_gpu=flags.gpus > 0,
            resources_per_worker={"CPU": flags.cpus, "GPU": flags.gpus},
        ),
        run_config=RunConfig(
            storage_path=storage, failure_config=FailureConfig(max_failures=flags.max_failures)
        ),
    )
    try:
        trainer.fit()
    except ray.train.TrainingFailedError as error:
        print(f"error: gave up after {flags.max_failures} restarts: {error}", file=sys.stderr)
        return ray.get(notes.final.remote()) or 75
    return ray.get(notes.final.remote())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
