"""A checkpoint of somebody else's is read as data: nothing of it is run, followed or believed."""

import json
import os
import pathlib
import pickle
import random
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from checkpoints import flip
from commands import fresh, train

import sample
from aigc_jax import checkpoint, core, evaluate
from aigc_jax.storage import stored


def state_of(step=1):
    params = {"net": {"kernel": np.arange(600, dtype=np.float32).reshape(20, 30)}}
    return core.new_state(params, {}).replace(step=np.int32(step))


def target():
    return jax.eval_shape(lambda: jax.tree.map(jnp.asarray, state_of()))


@pytest.fixture
def workdir(tmp_path):
    with checkpoint.Writer(tmp_path, 1, "", "min") as writer:
        writer.save(state_of(), {"config": {}}, {})
    return tmp_path


def step_folder(workdir):
    return checkpoint.folder(workdir) / "1"


def forge(folder, change):
    """Changes the `meta` of a checkpoint as its author could: with a fitting sha256."""
    file = folder / "meta/metadata"
    meta = json.loads(file.read_text())
    change(meta)
    content = {k: v for k, v in meta.items() if k != "sha256"}
    file.write_text(json.dumps(content | {"sha256": stored.sha256(content)}))


def refused(workdir, match):
    """Neither reader takes it, and none allocates or takes long."""
    readers = (
        lambda: checkpoint.read_arrays(workdir),
        lambda: checkpoint.restore(workdir, target(), 1),
    )
    for read in readers:
        with pytest.raises(ValueError, match=match):
            read()


KERNEL = "params/net/kernel"


def change_kernel(**values):
    return lambda meta: meta["leaves"][KERNEL].update(values)


def rename_kernel(name):
    return lambda meta: meta["leaves"].update({name: meta["leaves"].pop(KERNEL)})


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (change_kernel(shape=[2**40, 2**20]), "bytes of arrays in|another run"),
        (change_kernel(shape=[10**30]), "has the shape"),
        (change_kernel(shape=[-1]), "has the shape"),
        (change_kernel(shape=["20", "30"]), "has the shape"),
        (change_kernel(shape=[20.0, 30.0]), "has the shape"),
        (change_kernel(dtype="object"), "has the dtype"),
        (change_kernel(dtype="O"), "has the dtype"),
        (change_kernel(dtype="(99999999,)f8"), "has the dtype"),
        (change_kernel(dtype="no_such"), "damaged"),
        (change_kernel(dtype=["f4"]), "damaged"),
        (rename_kernel("../../../kernel"), "is no name of a leaf"),
        (rename_kernel("/etc/passwd"), "is no name of a leaf"),
        (rename_kernel("params/net/other"), "not in both|another run"),
        (lambda meta: meta.update(leaves=[]), "damaged"),
        (lambda meta: meta.update(leaves=None), "damaged"),
        (lambda meta: meta.update(format="2"), "has format"),
        (lambda meta: meta.pop("leaves"), "damaged"),
    ],
)
def test_forged_descriptions_are_refused(workdir, change, match):
    forge(step_folder(workdir), change)
    refused(workdir, match)


@pytest.mark.parametrize("text", ["", "[]", "7", "null", "[" * 100_000, '{"a":' * 5000, "\xff\xfe"])
def test_other_json_is_refused(workdir, text):
    (step_folder(workdir) / "meta/metadata").write_bytes(text.encode("latin-1"))
    refused(workdir, str(step_folder(workdir)))


def test_a_huge_description_is_not_read(workdir):
    file = step_folder(workdir) / "meta/metadata"
    os.truncate(file, stored.LARGEST_META + 1)
    refused(workdir, "is larger than")


def rewrite(folder, state, **options):
    """Puts other arrays under the `meta` of a checkpoint."""
    shutil.rmtree(folder / "state")
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler(**options)) as checkpointer:
        checkpointer.save(folder / "state", args=ocp.args.PyTreeSave(state))


def test_a_small_file_that_unpacks_to_a_large_array_is_refused(workdir):
    state = state_of()
    size = 40 << 20
    bomb = state.replace(params={"net": {"kernel": np.zeros(size // 4, np.float32)}})
    rewrite(step_folder(workdir), bomb)
    files = (step_folder(workdir) / "state").rglob("*")
    assert sum(f.stat().st_size for f in files if f.is_file()) < size / 100
    refused(workdir, r"is stored as float32\[10485760\]")
    forge(step_folder(workdir), change_kernel(shape=[size // 4]))
    with pytest.raises(ValueError, match="bytes of arrays in"):
        checkpoint.read_arrays(workdir)


def test_arrays_beside_those_described_are_refused(workdir):
    state = state_of()
    more = {"net": state.params["net"] | {"more": np.zeros(3, np.float32)}}
    rewrite(step_folder(workdir), state.replace(params=more), use_compression=False)
    refused(workdir, "params/net/more is in its arrays or in its meta, but not in both")


def test_links_are_not_followed(workdir, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    folder = step_folder(workdir)
    moved = shutil.move(folder / "state", outside / "state")
    (folder / "state").symlink_to(moved)
    refused(workdir, "is neither a plain file nor a folder")
    (folder / "state").unlink()
    shutil.move(moved, folder / "state")
    checkpoint.read_arrays(workdir)
    os.mkfifo(folder / "state" / "pipe")
    refused(workdir, "is neither a plain file nor a folder")
    shutil.move(folder, outside / "1")
    folder.symlink_to(outside / "1")
    assert checkpoint.steps(workdir) == []


def test_garbage_in_any_file_ends_in_an_error_or_in_the_right_arrays(workdir):
    """Random bytes and lengths in each file of the state, many times."""
    draw = random.Random(0)
    expected = state_of().params["net"]["kernel"]
    refusals = 0
    files = sorted(f for f in (step_folder(workdir) / "state").rglob("*") if f.is_file())
    for _, path in ((i, f) for i in range(6) for f in files):
        content = path.read_bytes()
        changed = bytearray(content)
        for _ in range(draw.choice((1, 4, 16))):
            if changed:
                changed[draw.randrange(len(changed))] = draw.randrange(256)
        path.write_bytes(changed[: draw.choice((len(changed), len(changed) // 2))])
        try:
            found = checkpoint.read_arrays(workdir)
            np.testing.assert_array_equal(found[KERNEL], expected)
        except ValueError as error:
            assert str(step_folder(workdir)) in str(error)  # noqa: PT017
            refusals += 1
        path.write_bytes(content)
    assert refusals > len(files)


class Bomb:
    """Its pickle writes a file when it is loaded."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (pathlib.Path.write_text, (self.marker, "executed"))


def plant(workdir, marker):
    """Everything that a careless reader would execute, in all places where one would look."""
    code = f"import pathlib\npathlib.Path({str(marker)!r}).write_text('executed')\n"
    code += "def get_config(arg=None):\n    return {}\n\n\nrun = make = get_config\n"
    bomb = pickle.dumps(Bomb(marker))
    folder = checkpoint.folder(workdir)
    inside = next(path for path in folder.iterdir() if path.name.isdigit())
    for place in (workdir, folder, inside, inside / "state", inside / "meta"):
        for name in ("config.py", "__init__.py", "evil.py", "conftest.py", "jax.py", "setup.py"):
            (place / name).write_text(code)
        for name in ("checkpoint.pkl", "metadata.pkl", "state.pickle", "tokenizer.pkl", "model.pt"):
            (place / name).write_bytes(bomb)
        np.savez(place / "arrays.npz", x=np.array([Bomb(marker)], object))
        np.save(place / "params.npy", np.array([Bomb(marker)], object))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("trained")
    assert train(workdir, "vae", "steps=2", "num_samples=4", "eval_batches=1") == 0
    return workdir


def test_what_is_planted_beside_a_checkpoint_is_never_executed(trained, tmp_path):
    marker = tmp_path / "executed"
    pickle.loads(pickle.dumps(Bomb(marker)))
    assert marker.exists()  # the trap works
    marker.unlink()
    workdir = shutil.copytree(trained, tmp_path / "run")
    plant(workdir, marker)
    argv = [f"--workdir={workdir}", f"--out={tmp_path / 'out'}", "--num=2"]
    code, said = fresh({"script": "sample", "argv": argv})
    assert code == 0, said
    assert (tmp_path / "out" / "grid.png").exists()
    assert not marker.exists()


@pytest.mark.parametrize("key", ["encoder", "decoder"])
def test_names_of_foreign_code_in_a_stored_config_are_refused(trained, tmp_path, key):
    marker = tmp_path / "executed"
    workdir = shutil.copytree(trained, tmp_path / "run")
    plant(workdir, marker)
    (step,) = checkpoint.steps(workdir)[-1:]
    name = "evil:run"
    change = lambda meta: meta["run"]["config"]["algorithm"].update({key: name})
    forge(checkpoint.folder(workdir) / str(step), change)
    argv = [f"--workdir={workdir}", f"--out={tmp_path / 'out'}", "--num=2"]
    code, said = fresh({"script": "sample", "argv": argv})
    assert code == 2, said
    assert f"config.algorithm.{key} = 'evil:run'" in said
    assert "--trust=evil" in said
    assert not marker.exists()


def test_data_of_foreign_code_is_not_evaluated_on(trained, tmp_path, monkeypatch, capsys):
    marker = tmp_path / "executed"
    workdir = shutil.copytree(trained, tmp_path / "run")
    plant(workdir, marker)
    monkeypatch.chdir(workdir)  # where it could be imported
    (step,) = checkpoint.steps(workdir)[-1:]
    change = lambda meta: meta["run"]["config"].update(data={"name": "evil:run", "arg": 1})
    forge(checkpoint.folder(workdir) / str(step), change)
    assert evaluate.main([f"--workdir={workdir}"]) == 2
    assert "config.data.name = 'evil:run'" in (said := capsys.readouterr().err)
    assert "--trust=evil" in said
    assert not marker.exists()


def test_a_damaged_checkpoint_is_neither_sampled_from_nor_evaluated(trained, tmp_path, capsys):
    workdir = shutil.copytree(trained, tmp_path / "run")
    (step,) = checkpoint.steps(workdir)[-1:]
    flip(workdir, step)
    argv = [f"--workdir={workdir}", f"--out={tmp_path / 'out'}", "--num=2"]
    codes = sample.main(argv), evaluate.main([f"--workdir={workdir}"])
    assert codes == (2, 2)
    said = capsys.readouterr().err
    assert said.count(f"checkpoints/{step}") >= 2
    assert said.count("damaged") >= 2
    assert not (workdir / "evaluation").exists()
    assert (checkpoint.folder(workdir) / str(step)).is_dir()
