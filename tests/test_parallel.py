"""One device equals eight however they are arranged, and parameters really are divided."""

import pathlib
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest
import tiny_runs
from jax.sharding import PartitionSpec as P

from aigc_jax import core, parallel

MESHES = {"data": {"data": 8}, "fsdp": {"fsdp": 8}, "mixed": {"data": 2, "fsdp": 4}}
STEPS = 3


@pytest.fixture(scope="module")
def on_one_device():
    """{family: (first state, last state, metrics, evaluation)} on one device."""
    results = {}

    def trained(family):
        if family not in results:
            session = tiny_runs.Session(tiny_runs.EVERY[family])
            first = jax.device_get(session.state)
            metrics = session.train(STEPS)
            results[family] = first, jax.device_get(session.state), metrics, session.evaluate()
        return results[family]

    return trained


CASES = [(family, mesh) for family in tiny_runs.EVERY for mesh in ("data", "mixed")]


@pytest.mark.parametrize(("family", "mesh"), [*CASES, ("autoencoder", "fsdp")])
def test_eight_devices_equal_one(family, mesh, on_one_device):
    first, last, metrics, values = on_one_device(family)
    session = tiny_runs.Session(tiny_runs.EVERY[family], MESHES[mesh])
    assert tiny_runs.largest_difference(session.state, first) == 0
    found = session.train(STEPS)
    assert tiny_runs.largest_difference(first.params, last.params) > 1e-3
    assert tiny_runs.largest_difference(session.state.params, last.params) < 1e-5
    assert tiny_runs.largest_difference(session.state.mutable, last.mutable) < 1e-5
    for name, expected in metrics.items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, err_msg=name)
    found = session.evaluate()
    for name, expected in values.items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, err_msg=name)


def test_parameters_optimiser_and_averages_are_divided_alike():
    adam = {"name": "adam", "learning_rate": 1e-3}
    raw = {**tiny_runs.VAE, "optimizer": {"model": adam}, "ema_decay": 0.9}
    session = tiny_runs.Session(raw, {"data": 2, "fsdp": 4})
    session.train(1)
    leaves = jax.tree_util.tree_flatten_with_path(session.state)[0]
    specs = {core.path_name(path): leaf.sharding.spec for path, leaf in leaves}
    kernel = "encoder/Dense_0/kernel"  # [64, 32]
    assert specs[f"params/{kernel}"] == P("fsdp", None)
    assert specs[f"ema/params/{kernel}"] == P("fsdp", None)
    params = {name[7:]: spec for name, spec in specs.items() if name.startswith("params/")}
    beside = [(name, p) for name in specs for p in params if name.endswith(f"/{p}")]
    assert len(beside) == 4 * len(params)  # itself, its average, Adam's mu and nu
    assert all(specs[name] == params[p] for name, p in beside)


def test_a_device_holds_its_share_of_a_divided_state_alone():
    whole = tiny_runs.Session(tiny_runs.ATTENTION)
    divided = tiny_runs.Session(tiny_runs.ATTENTION, {"fsdp": 8})
    of_one = lambda session: sum(
        leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(session.state.params)
    )
    large = sum(x.nbytes for x in jax.tree.leaves(whole.state.params) if x.size >= 1024)
    small = of_one(whole) - large
    assert large > 0.8 * of_one(whole)
    assert of_one(divided) == small + large // 8


def test_many_steps_in_one_call_equal_as_many_calls():
    results = []
    for steps_per_call in (1, 4):
        changes = dict(steps_per_call=steps_per_call, log_every=4, eval_every=4, save_every=4)
        session = tiny_runs.Session(tiny_runs.GAN, {"data": 2}, **changes, ema_decay=0.9)
        results.append((session.train(4 // steps_per_call), jax.device_get(session.state)))
    (expected, state), (found, other) = results
    assert {name: values.shape for name, values in found.items()} == dict.fromkeys(expected, (4,))
    assert tiny_runs.largest_difference(found, expected) < 1e-4
    assert tiny_runs.largest_difference(state, other) < 1e-5
    assert int(other.step) == 4
    assert int(other.cursor) == 8


def test_accumulated_steps_on_a_mesh_equal_whole_ones(on_one_device):
    _, last, _, _ = on_one_device("vae")
    session = tiny_runs.Session(tiny_runs.VAE, {"data": 2, "fsdp": 2}, accumulate=4)
    session.train(STEPS)
    assert tiny_runs.largest_difference(session.state.params, last.params) < 1e-5


def test_a_step_is_traced_once():
    run = tiny_runs.run_of(tiny_runs.VAE)
    traces = []

    def step(state, batch, key):
        traces.append(1)
        return run.algorithm.step(state, batch, key)

    mesh = parallel.make_mesh({"data": 8, "fsdp": 1, "tensor": 1})
    algorithm = run.algorithm._replace(step=step)
    shardings = parallel.state_shardings(jax.eval_shape(algorithm.init, jax.random.key(0)), mesh)
    data = tiny_runs.dataset(run.info).train
    steps = parallel.many_steps(algorithm, run.prepare, data.gather, 1)
    compiled = parallel.compile_step(steps, mesh, shardings, "jit")
    state = parallel.compile_init(algorithm, shardings)(jax.random.key(0))
    arrays = parallel.put(data.arrays, parallel.replicated(mesh))
    for start in range(4):
        items = np.arange(start, start + 16, dtype=np.int32)[None]
        state, _, _ = compiled(state, arrays, items, jax.random.key(1))
    assert traces == [1]


@pytest.mark.parametrize(("batch", "accumulate"), [(12, 1), (8, 2), (4, 1)])
def test_a_batch_that_does_not_divide_is_refused(batch, accumulate):
    mesh = parallel.make_mesh({"data": 2, "fsdp": 4, "tensor": 1})
    rule = rf"batch_size = {batch}: with accumulate = {accumulate}.*multiple of {8 * accumulate}"
    with pytest.raises(ValueError, match=rule):
        parallel.check_batch(batch, accumulate, mesh)
    parallel.check_batch(8 * accumulate, accumulate, mesh)


class Chip:
    """What is asked of a TPU's chip to arrange it."""

    platform, device_kind, core_on_chip = "tpu", "TPU v5", 0

    def __init__(self, number, coords, slice_index):
        self.id, self.coords, self.slice_index = number, coords, slice_index
        self.process_index = number // 4


def slices_of(count, *sizes):
    """Chips of `count` slices, each a torus of these sizes."""
    places = [*np.ndindex(*sizes)] * count
    size = len(places) // count
    return [Chip(i, coords[::-1], i // size) for i, coords in enumerate(places)]


@pytest.mark.parametrize(
    ("chips", "sizes"),
    [
        (slices_of(1, 4, 4, 4), (8, 8, 1)),
        (slices_of(1, 16, 16, 16), (512, 8, 1)),
        (slices_of(2, 2, 2, 2), (2, 8, 1)),
        (slices_of(2, 2, 2, 2), (1, 16, 1)),
        (slices_of(4, 2, 2, 1), (8, 1, 2)),
    ],
)
def test_a_mesh_of_tpus_holds_every_chip_once_and_cuts_slices_once(chips, sizes):
    mesh = parallel.make_mesh(dict(zip(parallel.AXES, sizes, strict=True)), chips)
    assert mesh.devices.shape == sizes
    assert sorted(chip.id for chip in mesh.devices.flat) == list(range(len(chips)))
    index = np.vectorize(lambda chip: chip.slice_index)(mesh.devices)
    first = next(axis for axis, size in enumerate(sizes) if size % (index.max() + 1) == 0)
    others = tuple(axis for axis in range(3) if axis != first)
    assert (index.min(others) == index.max(others)).all()


def test_slices_that_no_axis_divides_are_refused():
    with pytest.raises(ValueError, match="one axis must be a multiple of 4 slices"):
        parallel.make_mesh({"data": 2, "fsdp": 2, "tensor": 1}, slices_of(4, 1, 1, 1))


@pytest.mark.parametrize(
    ("sizes", "shape"),
    [((-1, 1, 1), (8, 1, 1)), ((2, -1, 1), (2, 4, 1)), ((1, 2, -1), (1, 2, 4)), ((3, 1, 1), (3,))],
)
def test_a_mesh_takes_what_remains(sizes, shape):
    mesh = parallel.make_mesh(dict(zip(parallel.AXES, sizes, strict=True)))
    assert tuple(mesh.shape.values())[: len(shape)] == shape


@pytest.mark.parametrize("sizes", [(9, 1, 1), (-1, -1, 1), (-1, 3, 1), (0, 1, 1), (-2, -2, 1)])
def test_a_mesh_that_cannot_be_is_refused(sizes):
    with pytest.raises(ValueError, match=r"config\.mesh = .*8 devices of 1 process"):
        parallel.make_mesh(dict(zip(parallel.AXES, sizes, strict=True)))


def test_evaluation_counts_weights_and_leaves_filling_out():
    """sum(w v) and sum(w) of values that are NaN where the weight is 0."""
    value = lambda state, batch, key: {"v": batch["v"], "weight": batch["w"]}
    algorithm = core.Algorithm(None, None, value, None)
    mesh = parallel.make_mesh({"data": 4, "fsdp": 1, "tensor": 1})
    shardings = parallel.state_shardings(core.new_state({}, {}), mesh)
    evaluate = parallel.compile_eval(
        algorithm, lambda key, raw: raw, lambda arrays, item: item, mesh, shardings
    )
    item = {"v": np.float32([1, 2, 4, np.nan]), "w": np.float32([1, 0.5, 2, 1])}
    weight = np.float32([1, 1, 1, 0])
    total, count = evaluate(core.new_state({}, {}), {}, item, weight, jax.random.key(0))["v"]
    assert (float(total), float(count)) == (1 + 1 + 8, 3.5)


@pytest.mark.parametrize("sizes", [(8, 1, 1), (2, 2, 2), (1, 1, 8)])
def test_a_batch_comes_back_from_the_rows_of_a_process(sizes):
    """One process holds all rows; several are in the next test."""
    mesh = parallel.make_mesh(dict(zip(parallel.AXES, sizes, strict=True)))
    where = parallel.batched(mesh, axis=1)
    x = np.arange(3 * 16 * 2).reshape(3, 16, 2)
    rows = parallel.rows_of_process(where, x.shape)
    assert rows.tolist() == list(range(16))
    found = parallel.batch_from_rows({"x": x, "y": x[..., 0]}, rows, where)
    assert found["x"].sharding.is_equivalent_to(where, 3)
    assert (np.asarray(found["x"]) == x).all()
    assert (np.asarray(found["y"]) == x[..., 0]).all()


TWO = """
import sys
import jax, numpy as np
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 2)
jax.distributed.initialize(sys.argv[1], 2, int(sys.argv[2]), initialization_timeout=60)
from aigc_jax import parallel
me, x = jax.process_index(), np.arange(32).reshape(2, 8, 2)
for sizes, held in (((4, 1, 1), 4), ((1, 2, 2), 4), ((1, 1, 4), 8), ((2, 2, 1), 4)):
    mesh = parallel.make_mesh(dict(zip(parallel.AXES, sizes)))
    where = parallel.batched(mesh, axis=1)
    rows = parallel.rows_of_process(where, x.shape)
    assert len(rows) == held, (sizes, rows)
    for found in (parallel.put(x, where), parallel.batch_from_rows(x[:, rows], rows, where)):
        assert found.shape == x.shape
        for shard in found.addressable_shards:
            assert (np.asarray(shard.data) == x[shard.index]).all()
        whole = jax.jit(lambda x: x, out_shardings=parallel.replicated(mesh))(found)
        assert (np.asarray(whole) == x).all()
try:
    parallel.make_mesh({"data": 2, "fsdp": 1, "tensor": 1})
except ValueError as error:
    assert "must use all of the 4 devices of 2 process" in str(error)
    print("done")
"""


def test_two_processes_put_and_join_what_their_devices_hold():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    root = pathlib.Path(parallel.__file__).parents[1]
    start = lambda rank: subprocess.Popen(
        [sys.executable, "-c", TWO, address, str(rank)],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for process in [start(0), start(1)]:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert out.endswith("done\n")
