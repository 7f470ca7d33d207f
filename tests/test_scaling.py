"""Counts grow as theory says, laws are found again, and predictions are what a hand calculates."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from aigc_jax.compiled import collectives
from benchmarks import readme, report
from benchmarks.scaling import cost, division, fit, hoisted, measure, network, plot, predict
from benchmarks.scaling.chips import CHIPS
from benchmarks.scaling.workloads import WORKLOADS
from benchmarks.sections import scaling as section

GPT = WORKLOADS["gpt2_124m"]
TINY_GPT = GPT._replace(
    config={
        **GPT.config,
        "algorithm": {
            "name": "attention",
            "network_args": {"dim": 64, "layers": 2, "heads": 2, "scan_layers": True},
        },
    },
    info=GPT.info._replace(shapes={"tokens": (17,)}, vocab=64),
)
GAN = WORKLOADS["gan_256"]
TINY_GAN = GAN._replace(
    config={
        **GAN.config,
        "algorithm": {
            **GAN.config["algorithm"],
            "latent_dim": 8,
            "generator_args": {"features": (32, 16), "hidden": 16},
            "discriminator_args": {"widths": (16, 32)},
        },
    },
    info=GAN.info._replace(shapes={"image": (16, 16, 3)}),
)


TINY = {"gpt": TINY_GPT, "gan": TINY_GAN}


@functools.cache
def moved(name, mesh, devices):
    """(counted point, {kind: bytes together})."""
    point = measure.point(TINY[name], network.MESHES[mesh](devices), 2)
    found = {}
    for one in point["collectives"]:
        found[one["kind"]] = found.get(one["kind"], 0) + one["bytes"]
    return point, found


@pytest.mark.parametrize(
    ("name", "counts"),
    [("gpt", (2, 8)), pytest.param("gan", (2, 4, 8), marks=pytest.mark.slow)],
)
def test_a_data_parallel_step_reduces_its_gradients_whatever_the_number(name, counts):
    points = [moved(name, "data", devices) for devices in counts]
    gradients = 2 * points[0][0]["parameters"]  # in bfloat16, as they are traced
    for point, found in points:
        assert set(found) == {"all-reduce"}
        assert gradients <= found["all-reduce"] < 1.35 * gradients  # tied embeddings come twice
        assert found["all-reduce"] == pytest.approx(points[0][1]["all-reduce"], rel=0.02)
        assert point["flops"] == pytest.approx(points[0][0]["flops"], rel=0.01)


def test_a_fully_sharded_step_gathers_weights_and_scatters_gradients():
    for devices in (2, 8):
        point, found = moved("gpt", "fsdp", devices)
        weights, gradients = 4 * point["parameters"], 2 * point["parameters"]
        assert found["all-gather"] == pytest.approx(weights, rel=0.1)
        assert 0.9 * gradients < found["reduce-scatter"] < 1.35 * gradients
        assert found["all-reduce"] < 0.1 * weights


@pytest.mark.parametrize("name", TINY)
def test_operations_of_the_compiled_program_are_those_of_the_traced_one(name):
    point, _ = moved(name, "data", 2)
    assert point["flops"] == pytest.approx(point["flops_traced"], rel=0.02)


def test_costs_of_a_loop_count_as_often_as_it_runs():
    def loop(x, w):
        return jax.lax.scan(lambda x, _: (jnp.tanh(x @ w), None), x, length=7)[0]

    x, w = jnp.zeros((32, 64)), jnp.zeros((64, 64))
    found = cost.of(jax.jit(loop).lower(x, w).compile().as_text())
    assert found.flops == 7 * 2 * 32 * 64 * 64
    assert found.product_elements == 7 * (2 * 32 * 64 + 64 * 64)
    assert found.state_bytes == 4 * (2 * 32 * 64 + 64 * 64)
    assert found.moved_bytes >= 4 * found.product_elements


def test_a_strided_convolution_counts_pairs_with_real_inputs():
    x, kernel = jnp.zeros((2, 8, 8, 3)), jnp.zeros((4, 4, 3, 5))

    def convolve(x, kernel):
        layout = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, kernel, (2, 2), "SAME", dimension_numbers=layout)

    found = cost.of(jax.jit(convolve).lower(x, kernel).compile().as_text())
    along = 4 * 4 - 2  # of 16 pairs along an axis one at either end meets padding
    assert found.flops == 2 * 2 * 5 * 3 * along**2


def test_a_sum_in_a_loop_is_reduced_once_behind_it():
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    split = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(None, "data"))
    whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())

    def total(x):
        add = lambda carry, piece: (carry + piece.T @ piece, None)
        return jax.lax.scan(add, jnp.zeros((16, 16)), x)[0]

    jitted = jax.jit(total, in_shardings=split, out_shardings=whole)
    text = jitted.lower(jax.ShapeDtypeStruct((5, 64, 16), jnp.float32)).compile().as_text()
    (inside,) = collectives.of(text)
    (behind,) = hoisted.counted_once(text, [inside])
    assert (inside.count, behind.count, behind.bytes) == (5, 1, 4 * 16 * 16)


@pytest.mark.parametrize(
    ("form", "true"),
    [
        ("a", lambda n: 7e6),
        ("a + b/n", lambda n: 5e6 + 3e8 / n),
        ("a + b n", lambda n: 1e5 + 2e3 * n),
        ("a + b log n", lambda n: 1e3 + 2e3 * math.log2(n)),
        ("a + b n + c/n", lambda n: 1e5 + 2e3 * n + 3e6 / n),
    ],
)
def test_a_planted_law_is_found_again(form, true):
    law = fit.law({n: true(n) for n in (8, 16, 32, 64, 128, 512)})
    assert law.form == form
    assert law.error < 1e-6
    assert law.at(4096) == pytest.approx(true(4096), rel=1e-6)


def test_a_law_states_how_far_it_was_off_at_the_greatest_number_of_devices():
    values = {n: 1e6 for n in (8, 16, 32, 64)} | {512: 2e6}
    changed = fit.law(values)
    assert (changed.form, changed.at(4096)) == ("last", 2e6)
    assert changed.error == pytest.approx(0.5, rel=1e-6)
    noisy = {n: 1e6 * (1 + 0.01 * (-1) ** i) for i, n in enumerate((8, 16, 32, 64, 128, 512))}
    assert 0.005 < fit.law(noisy).error < 0.05
    assert math.isnan(fit.law({8: 3.0}).error)
    with pytest.raises(ValueError, match="at least one"):
        fit.law({})


def planted(devices=(1, 8, 16, 64, 512), mesh="data"):
    """A row of a program that reduces 400 MB of gradients in four pieces."""

    def point(n, batch=1.0):
        talk = {"kind": "all-reduce", "axes": [mesh], "count": 4, "bytes": 4e8}
        own = {"flops": 1e13 * batch, "product_elements": 1e9 * batch, "state_bytes": 1e9}
        return {"devices": n, **own, "collectives": [talk] * (n > 1)}

    return {
        **{"workload": "planted", "title": "planted", "unit": "image", "mesh": mesh},
        **{"batch_per_device": 16, "fixed_batch": 256, "half": point(64, 0.5)},
        **{"undivided": {str(n): 0.0 for n in predict.CHIP_COUNTS}},
        **{"points": [point(n) for n in devices], "minutes": 1.0, "date": "2026-01-02"},
        **{"commit": "0123456789+changes", "versions": {"jax": "0"}, "processor": "2 cores of X"},
    }


def test_a_prediction_is_what_a_hand_calculates():
    row, h100 = planted(), CHIPS["H100"]
    step = predict.weak(row, 4096, h100)
    assert step.products == pytest.approx(1e13 / (0.5 * 989e12))
    assert step.memory == pytest.approx(3e9 / (0.8 * 3350e9))
    link = 0.8 * 8 * 50e9
    ring = 2 * 4095 / 4096 * 4e8 / link + 4 * 2 * (3584 * 1.9e-6 + 511 * 4e-6)
    tree = 2 * 4e8 / link + 4 * 2 * (7 * 1.25e-6 + 9 * 8.5e-6)
    expected = 4 * 14e-6 + min(ring, tree)
    assert step.talking == pytest.approx(expected)
    assert step.seconds(hidden=False) == pytest.approx(step.products + expected)
    assert step.seconds(hidden=True) == pytest.approx(max(step.products, expected))
    assert predict.blame(row, 4096, h100) == "bandwidth of all-reduce over data"


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize("hidden", [False, True])
def test_efficiency_is_one_on_one_chip_and_falls_on_full_slices(chip, hidden):
    at = lambda n: predict.efficiency(planted(), n, CHIPS[chip], hidden)
    counts = [1, *(n for n in predict.CHIP_COUNTS if n >= network.CLOSED)]
    values = [at(n) for n in counts]
    assert values[0] == 1
    assert all(later <= earlier for earlier, later in zip(values, values[1:], strict=False))
    assert values[-1] > 0


def test_a_fixed_batch_scales_less_than_a_growing_one():
    row, h100 = planted(), CHIPS["H100"]
    assert predict.strong_efficiency(row, 1, h100, 256, False) == 1
    weak = predict.efficiency(row, 64, h100, False)
    assert predict.strong_efficiency(row, 64, h100, 64 * 16, False) == pytest.approx(weak, rel=0.05)
    assert predict.strong_efficiency(row, 256, h100, 256, False) < 0.5 * weak
    halved = predict.strong(row, 64, h100, 64 * 8)
    assert halved.products == pytest.approx(predict.weak(row, 64, h100).products / 2)
    assert halved.talking == pytest.approx(predict.weak(row, 64, h100).talking)


def test_scaling_stops_where_efficiency_stays_below():
    values = {1: 1.0, 2: 0.4, 4: 0.6, 8: 0.45, 16: 0.3}
    assert predict.stops(values.get, tuple(values)) == 8
    assert predict.stops(lambda n: 0.9, (1, 2)) is None
    assert predict.stops(lambda n: 0.1, (1, 2)) == 1


def test_tables_say_that_nothing_was_run():
    assert "Simulated, not measured" in section.provenance([planted()])
    assert "never" in section.table([planted()])
    assert "| planted | data | 256 |" in section.fixed([planted()])
    assert section.errors([planted()]).endswith("| a | 400 MB | 0 % |")
    assert section.table([]) == "Not measured yet: `python -m benchmarks.scaling`"


def test_sizes_of_the_models_are_those_that_their_names_promise():
    promised = {"gpt2_124m": 124e6, "gpt2_1.5b": 1557e6, "gan_256": 53e6, "autoencoder_256": 81e6}
    for name, count in promised.items():
        run = measure.run_of(WORKLOADS[name], network.MESHES["data"](8), 2)
        shapes = jax.eval_shape(run.algorithm.init, jax.eval_shape(lambda: jax.random.key(0)))
        found = sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(shapes.params))
        assert found == pytest.approx(count, rel=0.02)


def test_a_mesh_divides_the_state_as_far_as_its_arrays_have_axes_for_it():
    run = measure.run_of(TINY_GPT, network.MESHES["data"](8), 1)
    fsdp = division.undivided(run, "fsdp")  # the longest axis is 4 x 64
    assert fsdp["1"] == 0
    assert fsdp["8"] == fsdp["64"] < 0.05  # biases and scales
    assert fsdp["64"] < fsdp["128"] < fsdp["512"] == 1
    assert set(division.undivided(run, "data").values()) == {0}
    assert division.undivided(run, "data x fsdp 8")["4096"] == fsdp["8"]


def test_of_a_mesh_that_divides_the_state_no_more_nothing_is_predicted():
    row = planted(predict.CHIP_COUNTS[:8], "fsdp")
    row["undivided"] |= {"256": 0.3, "512": 1.0, "1024": 1.0, "2048": 1.0, "4096": 1.0}
    assert predict.reach(row) == (1, 8, 16, 32, 64, 128)
    row["points"][-1]["collectives"] = []  # as 512 devices that divide nothing would say otherwise
    (law,) = (law for name, law in predict.laws(row).items() if name[0] == "bytes")
    assert (law.form, law.error, law.at(128)) == ("a", 0, pytest.approx(4e8))
    line = section.table([row]).splitlines()[-1]
    assert "| 100 % of 128 | 128: " in line
    assert line.split("%")[-1].split("|")[1:6] == [" – ", " – ", " not up to 128 ", " – ", " – "]
    assert section.errors([row]) == section.errors([])
    assert len(plot.curves([row])["planted"]["H100"]["fsdp"]) == 6


def test_points_that_divide_other_arrays_than_the_last_say_nothing_of_its_law():
    row = planted(mesh="fsdp")
    row["undivided"] |= {str(n): 0.01 for n in predict.CHIP_COUNTS if n >= 64}
    for point in row["points"]:
        if point["devices"] < 64:
            point["collectives"] = [{**c, "bytes": 1e12} for c in point["collectives"]]
    (law,) = (law for name, law in predict.laws(row).items() if name[0] == "bytes")
    assert law.at(4096) == pytest.approx(4e8)


def test_the_plot_is_drawn_and_marked(tmp_path):
    pytest.importorskip("matplotlib", reason="requirements-bench.txt has matplotlib")
    image = Image.open(plot.draw([planted()], tmp_path / "plot.png"))
    assert image.text["Description"] == plot.digest([planted()])
    assert image.getpixel((0, 0))[:3] == (255, 255, 255)


def test_the_committed_plot_is_of_the_committed_results():
    rows = section.newest(readme.recorded(report.RESULTS, "scaling"))
    path = report.RESULTS / plot.NAME
    assert path.exists() == bool(rows)
    if rows:
        assert Image.open(path).text["Description"] == plot.digest(rows)
