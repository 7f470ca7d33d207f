"""Which launcher started this process, and what it promised, read from environment variables.

Known are the variables of Kubeflow's JAX runtime (which anyone may set by hand), MPICH and Intel
MPI, torchrun, Open MPI, SLURM, TPUs on GKE and Cloud TPU, and Kubernetes' indexed jobs.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

ADDRESS, COUNT, INDEX = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"
BY_HAND = f"set {ADDRESS}=HOST:PORT of process 0, {COUNT} and {INDEX}"
INDEPENDENT = f"{COUNT}=1 says that every copy is a run of its own"
# Launchers that number their processes but do not say where the first one is.
NUMBERED = {"MPI": ("PMI_SIZE", "PMI_RANK"), "torchrun": ("WORLD_SIZE", "RANK")}
# What srun and Open MPI number by. They, and scripts, repeat it in variables of the ones above.
OUTER = (
    ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
)
IN_STEP = ("SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")
Environ = Mapping[str, str]


class Launcher(NamedTuple):
    """What is known of a run's processes before they have met.

    Attributes:
      name: of the launcher, for messages.
      processes: how many it promised; None where only JAX can ask it.
      arguments: for `jax.distributed.initialize`; what is missing JAX finds out by itself.
    """

    name: str
    processes: int | None
    arguments: Mapping[str, Any]


def detected(environ: Environ) -> Launcher | None:
    """The launcher of this process, None for an ordinary single one.

    Args:
      environ: `os.environ` after JAX has been imported, which leaves a mark on TPU machines.

    Raises:
      ValueError: if variables are missing or not numbers, or this is a lone copy of several.
    """
    # From the innermost to the outermost: inside one task of srun torchrun may start several.
    engines = (_variables, _numbered, _open_mpi, _slurm, _tpu, _kubernetes)
    found = next(filter(None, (engine(environ) for engine in engines)), None)
    alone = found is None or (found.processes == 1 and not environ.get(COUNT))
    if alone and environ.get(ADDRESS):
        raise ValueError(
            f"{ADDRESS} is set, but {COUNT} and {INDEX} are missing; {BY_HAND}. {INDEPENDENT}"
        )
    return found


def _number(environ: Environ, name: str) -> int:
    if not environ[name].isdecimal():
        raise ValueError(f"{name}={environ[name]}: must be a whole number, 0 or more")
    return int(environ[name])


def _require(environ: Environ, launcher: str, names: tuple[str, ...], hint: str = BY_HAND) -> None:
    missing = [name for name in names if not environ.get(name)]
    if missing:
        raise ValueError(f"{launcher}: {', '.join(missing)} missing in the environment; {hint}")


def _explicit(name: str, address: str, count: int, index: int, **more: Any) -> Launcher:
    """A launcher of which everything is known, so that JAX asks nobody."""
    if not re.fullmatch(r".+:\d+", address):
        raise ValueError(f"{ADDRESS}={address}: must be HOST:PORT")
    if index >= count:
        raise ValueError(f"{name}: process {index} of {count}; they are numbered from 0")
    whole = {"coordinator_address": address, "num_processes": count, "process_id": index}
    return Launcher(name, count, {**whole, "cluster_detection_method": "deactivate", **more})


def _variables(environ: Environ) -> Launcher | None:
    """Kubeflow's three; in an indexed job of Kubernetes the last comes by itself."""
    if not environ.get(COUNT) and not environ.get(INDEX):
        return None
    _require(environ, "JAX's variables", (COUNT,))
    count = _number(environ, COUNT)
    if count == 1:
        return Launcher("JAX's variables", 1, {})
    index = INDEX if environ.get(INDEX) else "JOB_COMPLETION_INDEX"
    name = f"{COUNT}={count}"
    needed = (ADDRESS, index if environ.get(index) else INDEX)
    _require(environ, name, needed, f"expected {count} processes, found 1; {BY_HAND}")
    return _explicit(name, environ[ADDRESS], count, _number(environ, index))


def _open_mpi(environ: Environ) -> Launcher | None:
    names = ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK")
    if not any(environ.get(name) for name in names[:2]):
        return None
    _require(environ, "Open MPI", names)
    count, index, local = (_number(environ, name) for name in names)
    if count == 1:
        return Launcher("Open MPI", 1, {})
    alone_there = environ.get("OMPI_COMM_WORLD_LOCAL_SIZE") == "1"
    if not environ.get(ADDRESS) and environ.get("OMPI_MCA_orte_hnp_uri"):
        arguments = {"cluster_detection_method": "ompi"}
        return Launcher("Open MPI", count, arguments | _devices(environ, alone_there))
    address = environ.get(ADDRESS) or _prrte_address(environ, count)
    one_each = not alone_there and not environ.get("JAX_LOCAL_DEVICE_IDS")
    more = {"local_device_ids": [local]} if one_each else {}
    return _explicit("Open MPI", address, count, index, **more)


def _devices(environ: Environ, alone_there: bool) -> dict[str, Any]:
    """All GPUs for the only process of a node, where JAX would give it the first one."""
    whole = alone_there and not environ.get("JAX_LOCAL_DEVICE_IDS")
    return {"local_device_ids": []} if whole else {}  # None would let JAX choose


def _prrte_address(environ: Environ, count: int) -> str:
    """Where process 0 of Open MPI 5 is: on the host of `mpirun`, after which the job is named."""
    job = re.fullmatch(r"[a-z]+-(.+)-(\d+)@\d+", environ.get("PMIX_NAMESPACE", ""))
    if not job:
        raise ValueError(f"Open MPI: expected {count} processes, found 1; set {ADDRESS}=HOST:PORT")
    host, number = job.groups()
    everyone_here = environ.get("OMPI_COMM_WORLD_LOCAL_SIZE") == str(count)
    # As JAX chooses a port where it knows the job's number: among the last 4096.
    return f"{'127.0.0.1' if everyone_here else host}:{61440 + int(number) % 4096}"


def _slurm(environ: Environ) -> Launcher | None:
    if not environ.get("SLURM_JOB_ID"):
        return None
    nodes = environ.get("SLURM_JOB_NUM_NODES") or "1"
    tasks = _number({"SLURM_NTASKS": nodes, **environ}, "SLURM_NTASKS")
    here = _number({"SLURM_STEP_NUM_TASKS": str(tasks), **environ}, "SLURM_STEP_NUM_TASKS")
    # The shell of a job is no step; that of `salloc` may be one, of a single task.
    if tasks > 1 and (not environ.get("SLURM_STEP_ID") or here != tasks):
        raise ValueError(
            f"SLURM: expected {tasks} processes, found 1: this is the shell of the job; start it "
            f"with srun, or with srun --ntasks=1. {INDEPENDENT}"
        )
    if tasks == 1:
        return Launcher("SLURM", 1, {})
    _require(environ, "SLURM", IN_STEP, f"start it with srun, or {BY_HAND}")
    alone_there = environ.get("SLURM_STEP_NUM_NODES") == str(tasks)
    arguments = {"cluster_detection_method": "slurm"}
    return Launcher("SLURM", tasks, arguments | _devices(environ, alone_there))


def _numbered(environ: Environ) -> Launcher | None:
    known = [tuple(map(environ.get, names)) for names in OUTER]
    for name, (size, rank) in NUMBERED.items():
        if environ.get(size, "1") == "1" or not environ.get(rank):
            continue
        if (environ[size], environ[rank]) in known:
            continue
        count, index = _number(environ, size), _number(environ, rank)
        if not environ.get(ADDRESS):
            raise ValueError(
                f"{name} ({size}={count}): expected {count} processes, found 1; "
                f"set {ADDRESS}=HOST:PORT of process 0, or unset {size} if it is left over. "
                f"{INDEPENDENT}"
            )
        return _explicit(name, environ[ADDRESS], count, index)
    return None


def _tpu(environ: Environ) -> Launcher | None:
    """A TPU machine, which JAX has marked when it was imported."""
    wanted = "tpu" in (environ.get("JAX_PLATFORMS") or "tpu")
    if environ.get("TPU_ML_PLATFORM") != "JAX" or not wanted:
        return None
    if environ.get("TPU_PROCESS_ADDRESSES_PATH"):
        return Launcher("TPU", None, {})
    hosts = environ.get("TPU_PROCESS_ADDRESSES") or environ.get("TPU_WORKER_HOSTNAMES")
    if not hosts:
        asks = not environ.get("TPU_SKIP_MDS_QUERY")
        return Launcher("Cloud TPU", None, {}) if asks else None
    slices = _number({"MEGASCALE_NUM_SLICES": "1", **environ}, "MEGASCALE_NUM_SLICES")
    count = len(hosts.split(",")) * slices
    if count > 1:
        _require(environ, "TPU", ("TPU_WORKER_ID",))
    return Launcher("TPU", count, {"cluster_detection_method": "gketpu"} if count > 1 else {})


def _kubernetes(environ: Environ) -> Launcher | None:
    """A pod of an indexed job; how many there are JAX asks the cluster."""
    if environ.get("KUBERNETES_SERVICE_HOST") and environ.get("JOB_COMPLETION_INDEX"):
        return Launcher("Kubernetes", None, {})
    return None
