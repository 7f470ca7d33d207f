"""What is written is what is read, damage is noticed, and the right checkpoints are kept."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax import checkpoint, core, parallel

RUN = {"config": {"steps": 9, "name": "x"}, "tokenizer": None}


def state_at(step):
    """A state of several kinds of leaves, large enough to be divided."""
    draw = np.random.default_rng(step).standard_normal
    params = {
        "kernel": jnp.float32(draw((64, 48))),
        "half": jnp.asarray(draw((5,)), jnp.bfloat16),
        "scale": jnp.float32(draw()),
    }
    state = core.new_state({"net": params}, {"count": jnp.int32(step)})
    return state.replace(step=jnp.int32(step), ema={"params": {}, "mutable": {"net": None}})


def target():
    return jax.eval_shape(lambda: state_at(0))


def write(workdir, steps, keep_last=9, keep_best="", mode="min", metrics=None):
    with checkpoint.Writer(workdir, keep_last, keep_best, mode) as writer:
        for step in steps:
            writer.save(state_at(step), RUN | {"at": step}, (metrics or {}).get(step, {}))


def same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A workdir with checkpoints of steps 2 and 4, not to be changed."""
    workdir = tmp_path_factory.mktemp("written")
    write(workdir, [2, 4])
    return workdir


@pytest.fixture
def workdir(written, tmp_path):
    return shutil.copytree(written, tmp_path / "copy")


def files_of(workdir, step):
    """Relative paths of the files of one step, the largest first."""
    root = checkpoint.folder(workdir) / str(step)
    files = [path for path in root.rglob("*") if path.is_file()]
    return sorted(files, key=lambda path: (-path.stat().st_size, path))


def flip(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def test_what_is_read_is_what_was_written(written):
    same(checkpoint.restore(written, target()), state_at(4))
    same(checkpoint.restore(written, target(), step=2), state_at(2))
    assert checkpoint.steps(written) == [2, 4]
    assert checkpoint.read_run(written) == RUN | {"at": 4}
    assert checkpoint.read_run(written, 2) == RUN | {"at": 2}


def test_arrays_are_read_without_knowing_the_run(written):
    arrays = checkpoint.read_arrays(written)
    expected = state_at(4).params["net"]
    assert {name for name in arrays if name.startswith("params/")} == {
        "params/net/kernel",
        "params/net/half",
        "params/net/scale",
    }
    np.testing.assert_array_equal(arrays["params/net/kernel"], expected["kernel"])
    assert arrays["params/net/half"].dtype == jnp.bfloat16


def test_a_save_is_not_touched_by_later_steps(tmp_path):
    """The saved state is donated, as the loop does, while its file is being written."""
    step = jax.jit(lambda s: jax.tree.map(lambda x: x + 1, s), donate_argnums=0)
    with checkpoint.Writer(tmp_path, 1, "", "min") as writer:
        state = jax.jit(lambda: state_at(1))()
        writer.save(state, RUN, {})
        for _ in range(20):
            state = step(state)
    same(checkpoint.restore(tmp_path, target()), state_at(1))


@pytest.mark.parametrize(
    ("keep_last", "mode", "kept"),
    [(1, "min", [3, 6]), (1, "max", [2, 6]), (2, "min", [3, 5, 6]), (3, "max", [2, 4, 5, 6])],
)
def test_the_newest_and_the_best_are_kept(tmp_path, keep_last, mode, kept):
    losses = {1: 5.0, 2: 9.0, 3: 1.0, 4: 8.0, 5: 2.0, 6: 3.0}
    metrics = {step: {"loss": loss} for step, loss in losses.items()}
    write(tmp_path, [1, 2, 3], keep_last, "loss", mode, metrics)
    write(tmp_path, [4, 5, 6], keep_last, "loss", mode, metrics)  # as a resumed run does
    assert checkpoint.steps(tmp_path) == kept
    same(checkpoint.restore(tmp_path, target()), state_at(6))


def test_without_a_metric_only_the_newest_are_kept(tmp_path):
    write(tmp_path, [1, 2, 3, 4], keep_last=2)
    assert checkpoint.steps(tmp_path) == [3, 4]


def test_a_save_without_the_metric_is_never_the_best(tmp_path):
    metrics = {2: {"loss": 2.0}, 3: {"loss": 1.0}}
    write(tmp_path, [1, 2, 3, 4, 5], 1, "loss", "min", metrics)
    assert checkpoint.steps(tmp_path) == [3, 5]
    write(tmp_path, [6], 1, "loss", "min", metrics)
    assert checkpoint.steps(tmp_path) == [3, 6]


def test_no_flipped_bit_gives_a_wrong_state(written, tmp_path, capsys):
    """A bit in the middle of any file is noticed, or is in a part that says nothing."""
    noticed = []
    for number, original in enumerate(files_of(written, 4)):
        workdir = shutil.copytree(written, tmp_path / str(number))
        path = workdir / original.relative_to(written)
        if path.stat().st_size == 0:
            continue
        flip(path, path.stat().st_size // 2)
        found = checkpoint.restore(workdir, target())
        noticed.append(int(found.step) == 2)
        same(found, state_at(int(found.step)))
        said = capsys.readouterr().out
        assert ("damaged checkpoint passed over: " in said) == noticed[-1]
        assert (str(checkpoint.folder(workdir) / "4") in said) == noticed[-1]
        assert checkpoint.steps(workdir) == ([2] if noticed[-1] else [2, 4])
        assert (checkpoint.folder(workdir) / "4.damaged").is_dir() == noticed[-1]
    assert noticed[0]
    assert sum(noticed) >= 5


@pytest.mark.parametrize("damage", ["truncated", "missing", "empty folder"])
def test_a_broken_checkpoint_gives_way_to_the_one_before(workdir, damage):
    path = files_of(workdir, 4)[0]
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif damage == "missing":
        path.unlink()
    else:
        shutil.rmtree(checkpoint.folder(workdir) / "4")
        (checkpoint.folder(workdir) / "4").mkdir()
    same(checkpoint.restore(workdir, target()), state_at(2))


def test_a_flipped_bit_in_the_stored_config_is_noticed(workdir):
    meta = checkpoint.folder(workdir) / "4" / "meta" / "metadata"
    text = meta.read_text()
    assert text.count('"steps": 9') == 1
    meta.write_text(text.replace('"steps": 9', '"steps": 8'))
    with pytest.raises(ValueError, match="damaged"):
        checkpoint.read_run(workdir)
    same(checkpoint.restore(workdir, target()), state_at(2))


def test_a_step_that_was_asked_for_is_not_replaced_by_another(workdir):
    path = files_of(workdir, 4)[0]
    flip(path, path.stat().st_size // 2)
    with pytest.raises(ValueError, match="no checkpoint could be restored"):
        checkpoint.restore(workdir, target(), step=4)
    with pytest.raises(ValueError, match=r"--step=3: .* has checkpoints of steps \[2, 4\]"):
        checkpoint.restore(workdir, target(), step=3)


def test_when_all_are_damaged_each_is_named(workdir):
    for step in (2, 4):
        path = files_of(workdir, step)[0]
        flip(path, path.stat().st_size // 2)
    with pytest.raises(ValueError, match="no checkpoint could be restored") as caught:
        checkpoint.restore(workdir, target())
    for step in (2, 4):
        assert str(checkpoint.folder(workdir) / str(step)) in str(caught.value)


def test_damaged_arrays_are_not_given_to_another_run(workdir):
    path = files_of(workdir, 4)[0]
    flip(path, path.stat().st_size // 2)
    with pytest.raises(ValueError, match=r"checkpoints/4|sha256"):
        checkpoint.read_arrays(workdir)


def test_a_damaged_step_is_set_aside_and_made_again(workdir):
    path = files_of(workdir, 4)[0]
    path.unlink()
    checkpoint.set_aside(workdir, 2)
    assert checkpoint.steps(workdir) == [2]
    write(workdir, [4])
    same(checkpoint.restore(workdir, target(), step=4), state_at(4))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"kernel": ((64, 48), jnp.float16)}, "params/net/kernel"),
        ({"kernel": ((48, 64), jnp.float32)}, "params/net/kernel"),
        ({"half": ((5,), jnp.float32)}, "params/net/half"),
        ({"more": ((5,), jnp.float32)}, "params/net/more"),
        ({"scale": None}, "params/net/scale"),
    ],
)
def test_a_state_of_another_shape_or_type_is_refused(written, change, named):
    ((name, spec),) = change.items()
    params = dict(target().params["net"])
    if spec is None:
        del params[name]
    else:
        params[name] = jax.ShapeDtypeStruct(*spec)
    with pytest.raises(ValueError, match=named):
        checkpoint.restore(written, target().replace(params={"net": params}))


@pytest.mark.parametrize("surfaces", ["next save", "exit"])
def test_an_error_in_the_background_surfaces(tmp_path, surfaces):
    def fail():
        with checkpoint.Writer(tmp_path, 1, "", "min") as writer:
            shutil.rmtree(checkpoint.folder(tmp_path))
            checkpoint.folder(tmp_path).write_text("a file in the way")
            writer.save(state_at(1), RUN, {})
            if surfaces == "next save":
                with pytest.raises(OSError, match="checkpoints"):
                    writer.save(state_at(2), RUN, {})
                raise InterruptedError("checkpoints: seen")

    with pytest.raises(OSError, match="checkpoints"):
        fail()


def test_a_workdir_without_a_checkpoint_is_named(tmp_path):
    for read in (checkpoint.read_run, checkpoint.read_arrays):
        with pytest.raises(ValueError, match=rf"--workdir={tmp_path}: has no checkpoint"):
            read(tmp_path)
    with pytest.raises(ValueError, match="has no checkpoint"):
        checkpoint.restore(tmp_path, target())


def test_an_unfinished_save_is_not_a_checkpoint(workdir):
    (checkpoint.folder(workdir) / "6.orbax-checkpoint-tmp").mkdir()
    assert checkpoint.steps(workdir) == [2, 4]


@pytest.mark.parametrize("sizes", [(1, 8, 1), (2, 4, 1), (1, 1, 1)])
def test_a_state_comes_back_on_another_mesh(tmp_path, sizes):
    def placed(sizes):
        mesh = parallel.make_mesh(dict(zip(parallel.AXES, sizes, strict=True)))
        return parallel.state_shardings(target(), mesh)

    with checkpoint.Writer(tmp_path, 1, "", "min") as writer:
        writer.save(jax.device_put(state_at(3), placed((4, 2, 1))), RUN, {})
    place = lambda leaf, where: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where)
    wanted = jax.tree.map(place, target(), placed(sizes))
    found = checkpoint.restore(tmp_path, wanted)
    same(found, state_at(3))
    assert jax.tree.all(jax.tree.map(lambda x, w: x.sharding == w.sharding, found, wanted))
