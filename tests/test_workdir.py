"""What a run writes about itself, and which folder belongs to which run."""

import json

import jax
import pytest
import tiny_runs

from aigc_jax import build, checkpoint, core, parallel, stored_config, workdir

RAW = tiny_runs.ATTENTION | {"data": {"name": "tiny_runs:words"}, "steps": 10}


@pytest.fixture
def record():
    return workdir.about(build.complete(RAW), tiny_runs.words())


def trained(path, record, *steps):
    """A workdir with checkpoints at some steps."""
    workdir.write(path, record)
    with checkpoint.Writer(path, 9, "", "min") as writer:
        for step in steps:
            state = core.new_state({"net": {}}, {})
            writer.save(state.replace(step=jax.numpy.int32(step)), record, {})


def test_the_record_says_what_where_and_with_what(record):
    assert set(record) == {
        *("config", "digest", "filled", "commit", "versions", "device", "data", "tokenizer")
    }
    assert record["digest"] == stored_config.digest_of(build.complete(RAW))
    assert record["versions"]["jax"] == jax.__version__
    assert record["versions"]["python"].startswith("3.")
    assert record["device"] == "8 x cpu"
    assert json.loads(json.dumps(record)) == record


def test_the_facts_about_the_data_come_back(record):
    info, original = workdir.info_of(record), tiny_runs.TEXT
    assert (info.name, info.sizes, info.vocab) == (original.name, original.sizes, original.vocab)
    labelled = {"data": original._replace(class_names=("2", "10"), num_classes=2)._asdict()}
    assert workdir.info_of(json.loads(json.dumps(labelled))).class_names == ("2", "10")
    del labelled["data"]["class_names"]
    assert workdir.info_of(labelled).class_names == ()
    assert tuple(info.shapes["tokens"]) == original.shapes["tokens"]
    rebuilt = build.run(build.complete(record["config"]), info)
    assert rebuilt.example == build.run(build.complete(RAW), original).example


def test_what_is_written_is_what_is_read(tmp_path, record):
    workdir.write(tmp_path, record)
    assert json.loads((tmp_path / "config.json").read_text()) == record
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_another_config_may_not_go_on_in_a_workdir(tmp_path, record):
    trained(tmp_path, record, 5)
    workdir.former(tmp_path, build.complete(RAW | {"log_every": 7, "steps": 20}))
    with pytest.raises(ValueError, match="belongs to another config") as caught:
        workdir.former(tmp_path, build.complete(RAW | {"seed": 3, "batch_size": 8}))
    assert str(caught.value).splitlines()[1:] == ["  batch_size: 64 -> 8", "  seed: 0 -> 3"]


@pytest.mark.parametrize("section", ["algorithm", "data"])
def test_what_only_the_stored_run_names_is_not_imported(tmp_path, record, monkeypatch, section):
    """The name of a data set, such as "digits", is that of no module."""
    (tmp_path / "digits.py").write_text("raise SystemExit('was imported')")
    monkeypatch.syspath_prepend(tmp_path)
    record["config"][section] = {"name": "digits:make"}
    (tmp_path / "run").mkdir()
    trained(tmp_path / "run", record, 5)
    mine = build.complete(tiny_runs.ATTENTION | {"data": {"name": "digits"}, "steps": 10})
    assert not workdir.continues(tmp_path / "run", mine)


def test_fewer_steps_than_were_done_are_refused(tmp_path, record):
    trained(tmp_path, record, 5)
    with pytest.raises(ValueError, match=r"config\.steps = 4: .* is at step 5 already"):
        workdir.former(tmp_path, build.complete(RAW | {"steps": 4}))


def test_a_workdir_without_checkpoints_belongs_to_nobody(tmp_path, record):
    workdir.former(tmp_path, build.complete(RAW | {"seed": 3}))
    workdir.write(tmp_path, record)
    workdir.former(tmp_path, build.complete(RAW | {"seed": 3}))


def test_another_corpus_is_refused(tmp_path, record):
    record["data"]["fingerprint"] = {"sha256": "aaa", "size": 10, "parts": [1, 2]}
    now = lambda **changes: tiny_runs.TEXT._replace(
        fingerprint={"sha256": "aaa", "size": 10, "parts": (1, 2)} | changes
    )
    workdir.check_corpus(tmp_path, now(sha256="bbb"))
    trained(tmp_path, record, 5)
    workdir.check_corpus(tmp_path, now())
    with pytest.raises(ValueError, match="is not the data that") as caught:
        workdir.check_corpus(tmp_path, now(sha256="bbb"))
    assert str(caught.value).splitlines()[1:] == ["  sha256: aaa -> bbb"]


def test_what_is_new_of_the_same_corpus_is_said(tmp_path, record, capsys):
    now = tiny_runs.TEXT._replace(fingerprint={"sha256": "aaa", "windows": "all alike"})
    record["data"]["fingerprint"] = {"sha256": "aaa"}
    trained(tmp_path, record, 5)
    workdir.check_corpus(tmp_path, now)
    assert (
        f"new in words since {tmp_path} was trained so far: windows: all alike"
        in capsys.readouterr().out
    )
    record["data"]["fingerprint"] = now.fingerprint
    trained(tmp_path, record, 6)
    workdir.check_corpus(tmp_path, now)
    assert capsys.readouterr().out == ""


def test_the_first_lines_say_devices_parameters_batch_data_and_place(tmp_path, record):
    params = {"model": {"kernel": jax.numpy.zeros((1000, 3))}, "head": jax.numpy.zeros(7)}
    mesh = parallel.make_mesh({"data": 2, "fsdp": 4, "tensor": 1})
    said = workdir.announce(record, core.new_state(params, {}), mesh, tmp_path)
    for part in ("8 x cpu", "'data': 2, 'fsdp': 4", "model 3,000", "head 7", "64 x 1", "10 steps"):
        assert part in said
    assert "words: train 48, validation 21; evaluated on validation" in said
    assert str(tmp_path) in said
