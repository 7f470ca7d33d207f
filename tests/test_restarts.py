"""A restart on other devices or processes trains on the same global batches, as it is."""

import commands
import numpy as np
import ordered
import pytest
import together
from commands import FAMILIES

from aigc_jax import checkpoint

PLAN = ("save_every=3", "eval_every=6", "log_every=1", "num_samples=4", "keep_last=9")
# Between two pieces of a run another mesh; a schedule over all steps would change with `steps`.
GROWN = (("mesh.data=1",), ("mesh.data=2",), ("mesh.data=4",), ("mesh.data=1",))
DIVIDED = (("mesh.fsdp=2",), ("mesh.data=2", "mesh.fsdp=2"), ("mesh.fsdp=4",), ("mesh.data=1",))
TENSOR = "sharding=tensor_parallel"
TURNED = (("mesh.data=1",), ("mesh.tensor=2", TENSOR), ("mesh.fsdp=2", "mesh.tensor=2", TENSOR))
TURNED += (("mesh.data=1", TENSOR),)
CONSTANT = {
    "gan": tuple(
        f"optimizer.{network}.learning_rate_schedule=constant"
        for network in ("generator", "discriminator")
    ),
    "attention": ("optimizer.model.learning_rate_schedule=constant",),
}


def numbers(row):
    return {k: v for k, v in row.items() if isinstance(v, float)}


def assert_same_run(one, other, rtol=1e-4):
    """The same rows, within a tolerance, the same batches and the same last step."""
    pairs = list(zip(commands.rows(one), commands.rows(other), strict=True))
    assert pairs
    for row, found in pairs:
        assert row.keys() == found.keys()
        assert (row["step"], row["split"]) == (found["step"], found["split"])
        values = [list(numbers(r).values()) for r in (row, found)]
        np.testing.assert_allclose(*values, rtol=rtol, atol=1e-6)
        assert row.get("order") == found.get("order")
    ends = [checkpoint.read_arrays(workdir) for workdir in (one, other)]
    assert ends[0].keys() == ends[1].keys()
    for name in ("step", "cursor"):
        assert ends[0][name] == ends[1][name]


def on_each(workdir, spec, meshes, more=()):
    """A run of 12 steps that is stopped after 3 steps on each mesh."""
    for i, mesh in enumerate(meshes):
        argv = commands.train_args(workdir, spec, "steps=12", *PLAN, *more, *mesh)
        stop = {"signal": "SIGTERM", "item": 2} if i + 1 < len(meshes) else {}
        assert commands.execute({"script": "train", "argv": argv, **stop}) == 0
        assert checkpoint.steps(workdir)[-1] == 3 * (i + 1)


def changed(root, spec, meshes, more=()):
    """An uninterrupted run on one device in root/"whole", and one on all meshes are the same."""
    assert commands.train(root / "whole", spec, "steps=12", *PLAN, *more) == 0
    on_each(root / "parts", spec, meshes, more)
    assert_same_run(root / "whole", root / "parts")


@pytest.mark.parametrize("meshes", [GROWN, DIVIDED])
def test_other_devices_see_the_same_batches(tmp_path, meshes):
    changed(tmp_path, ordered.CONFIG, meshes)
    seen = [row["order"] for row in commands.rows(tmp_path / "parts") if row["split"] == "train"]
    assert seen == ordered.expected(12)


def test_a_vae_goes_on_on_1_2_4_and_1_devices(tmp_path):
    changed(tmp_path, "vae", GROWN)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "meshes"),
    [
        ("vae", DIVIDED),
        ("gan", GROWN),
        ("gan", DIVIDED),
        ("attention", GROWN),
        ("attention", DIVIDED),
        ("attention", TURNED),
    ],
)
def test_every_family_goes_on_on_other_devices(tmp_path, family, meshes):
    changed(tmp_path, family, meshes)


def between_processes(root, plans):
    """Runs {name: what train.py gets} of 12 steps: 4 by one process, 4 by two, 4 by one."""
    plan = (*PLAN, "eval_every=4")  # the last step of each piece is evaluated, too
    argv = lambda name, steps, *more: commands.train_args(
        root / "parts" / name, *plans[name], *plan, f"steps={steps}", *more
    )
    for name, chosen in plans.items():
        assert commands.train(root / "whole" / name, *chosen, *plan, "steps=12") == 0
        assert commands.execute({"script": "train", "argv": argv(name, 4)}) == 0
    with together.start(2, *(argv(name, 8, "mesh.fsdp=2") for name in plans)) as group:
        assert group.wait(250) == [0, 0], group.said()
        assert group.out(0).count("(from step 4)") == len(plans)
    for name in plans:
        assert checkpoint.steps(root / "parts" / name)[-1] == 8
        assert commands.execute({"script": "train", "argv": argv(name, 12)}) == 0
        assert_same_run(root / "whole" / name, root / "parts" / name)


@pytest.mark.slow
def test_one_process_then_two_then_one_see_the_same_batches(tmp_path):
    ordered.write_folder(tmp_path / "images")
    images = f"{ordered.__file__}:{tmp_path / 'images'}"
    streamed = (images, "data.max_memory_gib=1e-9")
    between_processes(tmp_path, {"resident": (ordered.CONFIG,), "streamed": streamed})


@pytest.mark.slow
def test_every_family_goes_on_on_other_processes(tmp_path):
    between_processes(tmp_path, {f: (f, *CONSTANT.get(f, ())) for f in FAMILIES})
