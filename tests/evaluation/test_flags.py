"""Flags of the command that mean nothing are refused before any work; listing reads what it can."""

import json

import pytest

from aigc_jax import evaluate

HUGE = str(10**30)
BAD = [
    *(f"--{name}={value}" for name in ("samples", "iw_samples") for value in (0, -1, HUGE, "nan")),
    *(f"--{name}={value}" for name in ("samples", "iw_samples") for value in ("", "x", "1.5")),
    *(f"--seed={value}" for value in ("-1", 2**32, HUGE, "nan", "", "1.5", "True")),
    *(f"--step={value}" for value in ("-1", HUGE, "nan", "", "1.5")),
    *("--features=", "--features=flat", "--features=nowhere:f", "--features=os:", "--features=:"),
    *("--inception_weights=", "--inception_weights=nowhere.pth", "--trust=", "--noema=1"),
    *("--compare=", "--compare=nowhere", "--compare={run}", "--list=.", "--sample=3"),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder that passes for a run until its checkpoint is read."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "config.json").write_text("{}")
    return folder


def answer(words, capsys):
    """(exit code, the last line that the command says)."""
    try:
        code = evaluate.main(words)
    except SystemExit as end:
        code = end.code
    return code, capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("flag", BAD)
def test_a_flag_without_a_meaning_is_one_line(flag, run, capsys, monkeypatch):
    # Reached only by what is accepted.
    monkeypatch.setattr("aigc_jax.checkpoint.steps", lambda _: [4])
    monkeypatch.setattr("aigc_jax.checkpoint.read_run", lambda *_: {"config": {"sampling": {}}})
    monkeypatch.setattr("aigc_jax.checkpoint.digest", lambda *_: "")
    code, said = answer([f"--workdir={run}", flag.format(run=run)], capsys)
    assert code == 2
    assert "error: " in said
    assert flag.format(run=run).partition("=")[0].strip("-") in said


@pytest.mark.parametrize("words", [[], ["--workdir="], ["--list=nowhere"], ["--workdir=nowhere"]])
def test_a_folder_is_needed(words, capsys):
    code, said = answer(words, capsys)
    assert code == 2
    assert "error: " in said


def test_listing_takes_no_options_of_measuring(tmp_path, capsys):
    code, said = answer([f"--list={tmp_path}", "--samples=5", "--noema"], capsys)
    assert code == 2
    assert "--samples, --noema" in said


def test_a_damaged_record_costs_one_line(tmp_path, capsys):
    config = {"algorithm": {"name": "gan"}, "data": {"name": "mnist"}, "steps": 9}
    content = {"metrics": {}, "refused": {}, "figures": [], "step": 4, "remaining": ["cost"]}
    files = {
        "whole/config.json": json.dumps({"config": config}),
        "torn/config.json": '{"config": {"alg',
        "list/config.json": "[1, 2]",
        "foreign/config.json": json.dumps({"config": {"algorithm": 3, "data": {}}}),
        "bytes/config.json": "\udcff",
        "young/metrics.jsonl": '{"step": 3, "split": "train"}\nrubbish\n',
        "cut/config.json": json.dumps({"config": config}),
        "cut/evaluation/metrics.json": json.dumps(content),
        "broken/config.json": json.dumps({"config": config}),
        "broken/evaluation/metrics.json": json.dumps(content | {"metrics": 3}),
        "notes/readme.txt": "no run",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(text.encode(errors="surrogateescape"))
    assert evaluate.main([f"--list={tmp_path}"]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert set(lines) == {name.split("/")[0] for name in files} - {"notes"}
    assert "not evaluated yet" in lines["whole"]
    assert "holds neither config.json" in lines["young"]
    assert "cut short" in lines["cut"]
    damaged = {name for name, line in lines.items() if "cannot be read" in line}
    assert damaged == {"torn", "list", "foreign", "bytes", "broken", "young"}
    assert "metrics.json: has no metrics" in lines["broken"]
