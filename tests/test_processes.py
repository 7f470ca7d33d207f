"""Several processes of one run find each other, or are refused, and stop after the same step."""

import signal

import processes
import pytest

JOIN = """
import sys
from aigc_jax import launch
try:
    launch.initialize_from_env(heartbeat_seconds=5)
except ValueError as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)
import jax
"""
MEET = (
    JOIN
    + """
print(f"{jax.process_index()} of {jax.process_count()}, {jax.device_count()} devices")
launch.part()
"""
)
LATE = (
    JOIN.replace("=5", "=2")
    + """
import time
time.sleep(5 * jax.process_index())
launch.part()
print("done")
"""
)
LOOP = (
    JOIN
    + """
import time
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
mesh = jax.make_mesh((jax.device_count(),), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
place = NamedSharding(mesh, PartitionSpec("d"))
x = jax.make_array_from_callback((4,), place, lambda rows: np.ones(4)[rows])
total = jax.jit(lambda x: x.sum())
with launch.stop_requests() as stop_requested:
    for step in range(0, 30_000, 3):
        total(x).block_until_ready()
        time.sleep(0.005)
        if step == 30:
            print("step 30", flush=True)
        if stop_requested(step):
            print(f"stopped at {step}")
            break
launch.part()
"""
)


ONE_TASK = {
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_ID": "0",
    "SLURM_NTASKS": "1",
    "SLURM_STEP_NUM_TASKS": "1",
    "SLURM_PROCID": "0",
}


def torchrun(index, count, port):
    return {"WORLD_SIZE": str(count), "RANK": str(index)}


def torchrun_in_one_task(index, count, port):
    """`srun --ntasks=1 torchrun --nproc-per-node=2`."""
    address = {"JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}"}
    return ONE_TASK | torchrun(index, count, port) | address


def open_mpi_on_two_nodes(index, count, port):
    """Open MPI 4 with one process per node; the port is chosen by the number of the job."""
    return {
        "OMPI_MCA_orte_hnp_uri": "1.0;tcp://127.0.0.1:9",
        "OMPI_COMM_WORLD_SIZE": str(count),
        "OMPI_COMM_WORLD_RANK": str(index),
        "OMPI_COMM_WORLD_LOCAL_SIZE": "1",
        "OMPI_COMM_WORLD_LOCAL_RANK": "0",
        "JAX_COORDINATOR_PORT": str(port),
    }


def test_two_processes_see_each_other_through_no_proxy():
    blackhole = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    with processes.start(2, MEET, devices=2, **blackhole) as group:
        assert group.wait(60) == [0, 0], group.said()
        assert [group.out(i) for i in (0, 1)] == [f"{i} of 2, 4 devices\n" for i in (0, 1)]


def test_processes_of_an_inner_launcher_meet():
    with processes.start(2, MEET, variables=torchrun_in_one_task) as group:
        assert group.wait(60) == [0, 0], group.said()
        assert [group.out(i) for i in (0, 1)] == [f"{i} of 2, 2 devices\n" for i in (0, 1)]


def test_no_gpu_is_hidden_from_the_only_process_of_a_node():
    program = MEET.replace("launch.part()", 'print(jax.config.values["jax_cuda_visible_devices"])')
    with processes.start(2, program, variables=open_mpi_on_two_nodes) as group:
        assert group.wait(60) == [0, 0], group.said()
        assert [group.out(i).split()[-1] for i in (0, 1)] == ["all", "all"]


@pytest.mark.parametrize("around", [{}, ONE_TASK])
def test_lone_copies_are_refused(around):
    with processes.start(2, MEET, variables=torchrun, **around) as group:
        assert group.wait(60) == [2, 2], group.said()
        for i in (0, 1):
            assert "expected 2 processes, found 1" in group.err(i)


def test_a_request_to_one_stops_both_after_the_same_step():
    for number in (signal.SIGTERM, signal.SIGINT):
        with processes.start(2, LOOP) as group:
            group.wait_for("step 30", index=1)
            group.signal(1, number)
            assert group.wait(60) == [0, 0], group.said()
            last = [group.out(i).splitlines()[-1] for i in (0, 1)]
            assert last[0] == last[1]
            assert last[0].startswith("stopped at")
            assert all(f"process {i} of 2: asked to stop" in group.err(i) for i in (0, 1))


def test_the_first_to_be_done_waits_for_the_last_beyond_a_heartbeat():
    with processes.start(2, LATE) as group:
        assert group.wait(60) == [0, 0], group.said()
        assert "done" in group.out(0)


def test_what_still_runs_is_killed_and_said():
    with processes.start(2, "import time; print('here', flush=True); time.sleep(100)") as group:
        group.wait_for("here", index=1)
        with pytest.raises(AssertionError, match="process 0 still runs"):
            group.wait(0.1)
        with pytest.raises(AssertionError, match="did not say 'there'"):
            group.wait_for("there", index=1, timeout=0.1)
    assert [process.poll() for process in group] == [-9, -9]
