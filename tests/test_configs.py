"""Every experiment in configs/ works: its `:test` variant end to end, the whole one as a config."""

import pathlib

import commands
import numpy as np
import pytest

from aigc_jax import build, checkpoint, config, finetune

NAMES = sorted(path.stem for path in (commands.ROOT / "configs").glob("*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_takes_two_steps(name, tmp_path):
    assert commands.train(tmp_path, f"{name}.py:test", "steps=2") == 0
    assert checkpoint.steps(tmp_path)[-1] == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_trains_resumes_and_samples(name, tmp_path, capsys):
    run, out = tmp_path / name, tmp_path / "out"
    assert commands.train(run, f"{name}.py:test", "steps=2") == 0
    assert commands.train(run, f"{name}.py:test") == 0
    assert "(from step 2)" in capsys.readouterr().out
    assert checkpoint.steps(run) == [2, 4]
    text = checkpoint.read_run(run)["tokenizer"] is not None
    assert commands.sample(run, out, "--num=2", *(["--max_tokens=2"] if text else [])) == 0
    assert (out / ("001.txt" if text else "samples.npz")).exists()


@pytest.mark.parametrize("name", NAMES)
def test_resolves_without_data_or_compilation(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AIGC_MANUAL_DIR", raising=False)
    whole = build.configured(config.load(str(commands.ROOT / "configs" / f"{name}.py")))
    if whole["init_from"]:
        assert commands.train(whole["init_from"], "gpt_python.py:test") == 0
    info = build.describe_data(whole, finetune.tokenizer_of(whole["init_from"]))
    run = build.run(whole, info)
    sizes = [np.prod(spec.shape) for spec in run.example.batch.values()]
    assert all(sizes)
    assert not pathlib.Path(".data").exists()
    test = build.configured(config.load(str(commands.ROOT / "configs" / f"{name}.py:test")))
    assert test["algorithm"] == whole["algorithm"]
    assert test["optimizer"] == whole["optimizer"]
