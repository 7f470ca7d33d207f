"""A rule raises in a new run, and is a line, said once, in a stored one."""

import pytest

import train
from aigc_jax import refusals, workdir


def test_outside_of_a_stored_run_a_refusal_is_an_error():
    with pytest.raises(ValueError, match="config.x = -1: must be above 0"):
        refusals.refuse("config.x = -1: must be above 0")


def test_within_a_stored_run_each_refusal_is_said_once_and_nothing_is_raised():
    with refusals.only_said() as said:
        for message in ("a", "b", "a"):
            refusals.refuse(message)
    assert said == ["a", "b"]


def test_an_error_ends_the_leniency():
    with pytest.raises(KeyError), refusals.only_said():
        raise KeyError
    with pytest.raises(ValueError, match="again"):
        refusals.refuse("again")


def test_a_stored_run_is_described_by_the_rules_that_it_began_with(monkeypatch, capsys, tmp_path):
    argv = ["--config=configs/vae_digits.py:test", f"--workdir={tmp_path}", "--describe"]
    argv += ["--config.optimizer.model.momentum=0.9"]  # which Adam does not read
    assert train.main(argv) == 2
    monkeypatch.setattr(workdir, "continues", lambda *run: True)
    assert train.main(argv) == 0
    assert "note: today refused, and kept" in capsys.readouterr().err
