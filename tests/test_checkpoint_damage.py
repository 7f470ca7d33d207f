"""Damage is told from a mismatch: one gives way to an older checkpoint, the other never does."""

import errno
import json
import shutil

import jax
import jax.numpy as jnp
import processes
import pytest
from checkpoints import flip, names, target, write

from aigc_jax import checkpoint, failure
from aigc_jax.storage import fitting, stored


def test_damaged_ones_are_kept_under_names_of_their_own(tmp_path, capsys):
    for count in range(1, 4):
        write(tmp_path, 1, 2)
        flip(tmp_path, 2)
        assert int(checkpoint.restore(tmp_path, target()).step) == 1
        aside = ["2.damaged", "2.damaged.2", "2.damaged.3"][:count]
        assert names(tmp_path) == ["1", *aside]
        said = capsys.readouterr().out
        assert str(checkpoint.folder(tmp_path) / "2") in said
        assert aside[-1] in said


def test_rolled_back_checkpoints_are_set_aside_under_that_name(tmp_path):
    write(tmp_path, 1, 2, 3)
    aside = checkpoint.set_aside(tmp_path, 1, "rolled_back")
    assert [path.name for path in aside] == ["2.rolled_back", "3.rolled_back"]
    assert names(tmp_path) == ["1", "2.rolled_back", "3.rolled_back"]
    write(tmp_path, 2, keep=(1, "", "min"))
    assert names(tmp_path) == ["2", "2.rolled_back", "3.rolled_back"]


def test_with_none_left_every_start_says_the_same(tmp_path):
    write(tmp_path, 1, 2)
    flip(tmp_path, 1)
    flip(tmp_path, 2)
    said = []
    for _ in range(2):
        with pytest.raises(ValueError, match="no checkpoint could be restored") as caught:
            checkpoint.restore(tmp_path, target())
        said.append(str(caught.value))
        assert names(tmp_path) == ["1", "2"]
    assert said[0] == said[1]
    assert all(str(checkpoint.folder(tmp_path) / step) in said[0] for step in "12")


def test_what_cannot_be_read_for_other_reasons_is_not_called_damaged(tmp_path, monkeypatch):
    write(tmp_path, 1, 2)
    for error in (MemoryError("no memory"), PermissionError("not yours")):

        def fail(*args, error=error):
            raise error

        with monkeypatch.context() as patched:
            patched.setattr(stored, "_check_arrays", fail)
            with pytest.raises(type(error), match=str(error)):
                checkpoint.restore(tmp_path, target())
    assert names(tmp_path) == ["1", "2"]


@pytest.mark.parametrize("part", ["_check_leaves", "_check_arrays"])
def test_a_disk_that_fails_for_a_moment_sets_nothing_aside(tmp_path, monkeypatch, part):
    write(tmp_path, 1, 2)

    def fail(*args):
        raise OSError(errno.ESTALE, "Stale file handle")

    with monkeypatch.context() as patched:
        patched.setattr(stored, part, fail)
        with pytest.raises(OSError, match="2.*could not be read .*Stale.*try again") as caught:
            checkpoint.restore(tmp_path, target())
    assert failure.exit_code(caught.value) == failure.RETRY
    assert names(tmp_path) == ["1", "2"]
    assert int(checkpoint.restore(tmp_path, target()).step) == 2


@pytest.mark.parametrize("damage", ["truncated", "missing", "flipped"])
@pytest.mark.parametrize("read", ["read_arrays", "restore", "read_run"])
def test_readers_of_one_checkpoint_refuse_a_damaged_one(tmp_path, read, damage):
    write(tmp_path, 1, 2)
    folder = checkpoint.folder(tmp_path) / "2"
    files = [p for p in folder.rglob("*") if p.is_file()]
    path = folder / "meta/metadata"
    if read != "read_run":
        path = max(files, key=lambda p: p.stat().st_size)
    content = path.read_bytes()
    if damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "missing":
        path.unlink()
    else:
        flipped = bytearray(content)
        flipped[len(content) // 3] ^= 1
        path.write_bytes(flipped)
    more = {"restore": (target(), 2), "read_run": (2,), "read_arrays": ()}[read]
    with pytest.raises(ValueError, match=str(folder)):
        getattr(checkpoint, read)(tmp_path, *more)
    assert names(tmp_path) == ["1", "2"]


def test_all_differences_are_listed_and_nothing_is_set_aside(tmp_path):
    write(tmp_path, 1, 2)
    net = {
        "kernel": jax.ShapeDtypeStruct((7, 7), jnp.float32),
        "more": jax.ShapeDtypeStruct((3,), jnp.int32),
    }
    wanted = target().replace(params={"net": net}, cursor=jax.ShapeDtypeStruct((), jnp.float32))
    for step in (None, 1):
        with pytest.raises(ValueError, match="the state of another run; 4 of") as caught:
            checkpoint.restore(tmp_path, wanted, step)
        assert str(caught.value).splitlines()[1:] == [
            "  cursor: int32[] there, float32[] here",
            "  params/net/bias: float32[] there, not a part of this run",
            "  params/net/kernel: float32[262144] there, float32[7, 7] here",
            "  params/net/more: missing there, int32[3] here",
        ]
    assert names(tmp_path) == ["1", "2"]


def test_long_lists_of_differences_end_with_a_count(tmp_path):
    write(tmp_path, 1)
    extra = {f"layer_{i:03d}": jax.ShapeDtypeStruct((1,), jnp.float32) for i in range(50)}
    with pytest.raises(ValueError, match="52 of its leaves differ") as caught:
        checkpoint.restore(tmp_path, target().replace(params=extra))
    lines = str(caught.value).splitlines()
    assert len(lines) == 1 + fitting.LISTED + 1
    assert lines[-1] == "  and 32 more"


def test_a_mismatch_is_found_before_arrays_are_read(tmp_path):
    write(tmp_path, 1)
    shutil.rmtree(checkpoint.folder(tmp_path) / "1" / "state")
    with pytest.raises(ValueError, match="another run"):
        checkpoint.restore(tmp_path, target(7))


def test_the_first_format_is_named(tmp_path):
    write(tmp_path, 1, 2)
    file = checkpoint.folder(tmp_path) / "2/meta/metadata"
    old = {"format": 1, "run": {"commit": "abc"}, "leaves": {}}
    file.write_text(json.dumps(old | {"sha256": stored.sha256(old["run"])}))
    with pytest.raises(ValueError, match=r"has format 1, not 2; .*\(abc\)"):
        checkpoint.restore(tmp_path, target())
    assert names(tmp_path) == ["1", "2"]


MANY = """
import sys
import jax, jax.numpy as jnp, numpy as np
from aigc_jax import checkpoint, core

def state(step):
    params = {"net": {f"kernel_{i}": np.full(500, step, np.float32) for i in range(40)}}
    return core.new_state(params, {}).replace(step=np.int32(step))

with checkpoint.Writer(sys.argv[1], 9, "", "min") as writer:
    for step in (1, 2):
        writer.save(state(step), {}, {})
        writer.wait()
(index,) = (checkpoint.folder(sys.argv[1]) / "2/state/d").iterdir()
content = bytearray(index.read_bytes())
content[len(content) // 2] ^= 1
index.write_bytes(content)
target = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, state(0)))
print(int(checkpoint.restore(sys.argv[1], target).step))
"""


def test_damage_that_many_arrays_meet_is_said_in_a_line(tmp_path):
    with processes.start(1, lambda i: ["-c", MANY, tmp_path], variables=None) as group:
        assert group.wait() == [0], group.said()
        assert group.out(0).splitlines()[1:] == ["1"], group.said()
        assert "damaged checkpoint passed over" in group.out(0)
        assert not group.err(0)
