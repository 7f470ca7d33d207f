"""What every launcher leaves in the environment is understood; half of it or a lone copy is not."""

import os

import jax
import pytest

from aigc_jax import launch, launchers

KUBEFLOW = {
    "JAX_COORDINATOR_ADDRESS": "job-node-0-0.job:29500",
    "JAX_NUM_PROCESSES": "4",
    "JAX_PROCESS_ID": "3",
    "KUBERNETES_SERVICE_HOST": "10.0.0.1",
    "JOB_COMPLETION_INDEX": "3",
}
JOB = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2", "SLURM_JOB_NUM_NODES": "2", "SLURM_PROCID": "0"}
STEP = JOB | {
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_STEP_NUM_NODES": "1",
    "SLURM_STEP_NODELIST": "node[1-2]",
    "SLURM_LOCALID": "0",
}
MPI = {
    "OMPI_COMM_WORLD_SIZE": "2",
    "OMPI_COMM_WORLD_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
}
MPI_4 = MPI | {"OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1:34911"}
MPI_5 = MPI | {"PMIX_NAMESPACE": "prterun-gpu-node-1-14229@1", "OMPI_VERSION": "5.0.11"}
TPU_HOST = {"TPU_ML_PLATFORM": "JAX"}
TPU = TPU_HOST | {"TPU_WORKER_HOSTNAMES": "a,b,c,d", "TPU_WORKER_ID": "2"}
POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "1"}
TORCHRUN = {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "node1", "MASTER_PORT": "29400"}
AT = {"JAX_COORDINATOR_ADDRESS": "node1:1234"}
ONE_TASK = STEP | {"SLURM_NTASKS": "1", "SLURM_STEP_NUM_TASKS": "1"}
PMI = {"PMI_SIZE": "2", "PMI_RANK": "0"}


def explicit(address, count, index, **more):
    said = {"coordinator_address": address, "num_processes": count, "process_id": index}
    return {**said, "cluster_detection_method": "deactivate", **more}


@pytest.mark.parametrize(
    ("environ", "processes", "arguments"),
    [
        (KUBEFLOW, 4, explicit("job-node-0-0.job:29500", 4, 3)),
        (POD | AT | {"JAX_NUM_PROCESSES": "2"}, 2, explicit("node1:1234", 2, 1)),
        (STEP, 2, {"cluster_detection_method": "slurm"}),
        (STEP | AT, 2, {"cluster_detection_method": "slurm"}),
        (MPI_4, 2, {"cluster_detection_method": "ompi"}),
        (MPI_4 | STEP | JOB, 2, {"cluster_detection_method": "ompi"}),
        (MPI_5, 2, explicit("127.0.0.1:63381", 2, 1, local_device_ids=[1])),
        (MPI | AT, 2, explicit("node1:1234", 2, 1, local_device_ids=[1])),
        (PMI | AT, 2, explicit("node1:1234", 2, 0)),
        (TORCHRUN | AT, 2, explicit("node1:1234", 2, 1)),
        (TPU, 4, {"cluster_detection_method": "gketpu"}),
        (TPU | {"MEGASCALE_NUM_SLICES": "2"}, 8, {"cluster_detection_method": "gketpu"}),
        (TPU_HOST, None, {}),
        (POD, None, {}),
    ],
)
def test_several_processes_of_every_engine(environ, processes, arguments):
    found = launchers.detected(environ)
    assert (found.processes, found.arguments) == (processes, arguments)


@pytest.mark.parametrize("outer", [ONE_TASK, STEP, JOB, MPI_4 | {"OMPI_COMM_WORLD_SIZE": "1"}])
@pytest.mark.parametrize("size", [2, 16])
def test_an_inner_launcher_counts_and_not_the_outer_one(outer, size):
    for names in (("WORLD_SIZE", "RANK"), ("PMI_SIZE", "PMI_RANK")):
        for rank in range(size):
            inner = outer | dict(zip(names, (str(size), str(rank)), strict=True))
            if (size, rank) == (2, 0) and outer == STEP:
                continue  # just what srun says
            found = launchers.detected(inner | AT)
            assert found.arguments == explicit("node1:1234", size, rank)
            with pytest.raises(ValueError, match=f"expected {size} processes, found 1"):
                launchers.detected(inner)


def test_an_outer_launcher_that_repeats_its_numbers_is_no_inner_one():
    slurm = {"cluster_detection_method": "slurm"}
    assert launchers.detected(STEP | PMI).arguments == slurm
    assert launchers.detected(STEP | {"WORLD_SIZE": "2", "RANK": "0"} | AT).arguments == slurm
    ompi = {"cluster_detection_method": "ompi"}
    assert launchers.detected(MPI_4 | {"WORLD_SIZE": "2", "RANK": "1"}).arguments == ompi


def test_the_only_process_of_a_node_has_all_devices_of_it():
    one_per_node = STEP | {"SLURM_STEP_NUM_NODES": "2"}
    assert launchers.detected(one_per_node).arguments["local_device_ids"] == []
    alone = {"OMPI_COMM_WORLD_LOCAL_SIZE": "1", "OMPI_COMM_WORLD_LOCAL_RANK": "0"}
    expected = explicit("gpu-node-1:63381", 2, 1)
    assert launchers.detected(MPI_5 | alone).arguments == expected
    assert launchers.detected(MPI_4 | alone).arguments["local_device_ids"] == []
    chosen = {"JAX_LOCAL_DEVICE_IDS": "0,1"}  # which JAX reads where no argument is given
    for environ in (one_per_node, MPI_4 | alone, MPI_5 | alone):
        assert "local_device_ids" not in launchers.detected(environ | chosen).arguments


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"KUBERNETES_SERVICE_HOST": "10.0.0.1"},
        {"TPU_SKIP_MDS_QUERY": "1"},
        TPU | {"JAX_PLATFORMS": "cpu"},
        {"WORLD_SIZE": "1", "RANK": "0"},
        {"WORLD_SIZE": "4"},
        {"JAX_PLATFORMS": "cpu", "HOME": "/root"},
    ],
)
def test_an_ordinary_process(environ):
    assert launchers.detected(environ) is None


@pytest.mark.parametrize(
    "environ",
    [
        {"JAX_NUM_PROCESSES": "1"},
        JOB | {"JAX_NUM_PROCESSES": "1"},
        {"SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_JOB_NUM_NODES": "1"},
        ONE_TASK,
        ONE_TASK | {"PMI_SIZE": "1", "PMI_RANK": "0"},
        MPI_5 | {"OMPI_COMM_WORLD_SIZE": "1"},
        TPU_HOST | {"TPU_WORKER_HOSTNAMES": "localhost"},
    ],
)
def test_one_process_under_a_launcher(environ):
    assert launchers.detected(environ)[1:] == (1, {})


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        (AT, "JAX_NUM_PROCESSES and JAX_PROCESS_ID are missing"),
        (ONE_TASK | AT, "JAX_NUM_PROCESSES and JAX_PROCESS_ID are missing"),
        ({"JAX_PROCESS_ID": "0"}, "JAX_NUM_PROCESSES missing"),
        (
            {"JAX_NUM_PROCESSES": "2"},
            "ADDRESS, JAX_PROCESS_ID missing.*expected 2 processes, found 1",
        ),
        (KUBEFLOW | {"JAX_COORDINATOR_ADDRESS": ""}, "expected 4 processes, found 1"),
        (KUBEFLOW | {"JAX_COORDINATOR_ADDRESS": "node1"}, "must be HOST:PORT"),
        (KUBEFLOW | {"JAX_PROCESS_ID": "4"}, "process 4 of 4"),
        (KUBEFLOW | {"JAX_NUM_PROCESSES": "two"}, "JAX_NUM_PROCESSES=two: must be a whole"),
        (JOB, "expected 2 processes, found 1.*srun"),
        ({"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "2"}, "expected 2 processes, found 1.*srun"),
        (STEP | {"SLURM_STEP_NUM_TASKS": "1"}, "expected 2 processes, found 1.*srun"),
        (STEP | {"SLURM_LOCALID": ""}, "SLURM_LOCALID missing"),
        (MPI, "expected 2 processes, found 1; set JAX_COORDINATOR_ADDRESS"),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, "OMPI_COMM_WORLD_RANK, OMPI_COMM_WORLD_LOCAL_RANK missing"),
        (TORCHRUN, r"torchrun \(WORLD_SIZE=2\): expected 2 processes, found 1"),
        (PMI, "expected 2 processes, found 1"),
        (TPU | {"TPU_WORKER_ID": ""}, "TPU_WORKER_ID missing"),
    ],
)
def test_half_of_the_variables_and_lone_copies_are_refused(environ, said):
    with pytest.raises(ValueError, match=said):
        launchers.detected(environ)


def only(monkeypatch, environ):
    for name in list(os.environ):
        if name.startswith(("SLURM_", "OMPI_", "JAX_COORD", "JAX_NUM_PROC", "JAX_PROC", "KUBER")):
            monkeypatch.delenv(name)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)


def test_the_count_is_compared_with_the_promise(monkeypatch):
    only(monkeypatch, KUBEFLOW)
    monkeypatch.setattr(jax.distributed, "initialize", lambda **arguments: None)
    with pytest.raises(ValueError, match="expected 4 processes, found 1"):
        launch.initialize_from_env()


def test_who_has_met_before_is_only_counted(monkeypatch):
    only(monkeypatch, STEP)
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    launch.initialize_from_env()
    monkeypatch.setenv("JAX_NUM_PROCESSES", "2")
    with pytest.raises(ValueError, match="expected 2 processes, found 1"):
        launch.initialize_from_env()


def test_an_ordinary_process_is_left_alone(monkeypatch):
    only(monkeypatch, {"JAX_PLATFORMS": "cpu"})
    monkeypatch.setattr(jax.distributed, "initialize", None)
    launch.initialize_from_env()
    assert not jax.distributed.is_initialized()


def test_an_indexed_job_says_what_its_processes_need_to_meet(monkeypatch):
    only(monkeypatch, POD)
    with pytest.raises(ValueError, match="kubernetes, which is not installed.*JAX_NUM_PROCESSES"):
        launch.initialize_from_env()


def test_proxies_are_hidden_while_processes_meet_and_back_afterwards(monkeypatch):
    only(monkeypatch, KUBEFLOW | {"http_proxy": "http://a", "HTTPS_PROXY": "http://b"})
    seen = {}
    monkeypatch.setattr(jax.distributed, "initialize", lambda **_: seen.update(os.environ))
    with pytest.raises(ValueError, match="found 1"):
        launch.initialize_from_env(heartbeat_seconds=7)
    assert not any("_proxy" in name.lower() for name in seen)
    assert os.environ["http_proxy"] == "http://a"
    assert os.environ["HTTPS_PROXY"] == "http://b"
