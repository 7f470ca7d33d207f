"""The bench of faults says what it found, names tests that exist, and its tables mean that."""

import ast
import os
import pathlib
import signal
import sys

import numpy as np
import pytest

from aigc_jax import checkpoint
from benchmarks.faults import __main__ as command
from benchmarks.faults import checkpoints, injected, storage
from benchmarks.faults.bench import Bench, Job, Outcome
from benchmarks.faults.catalogue import FAULTS
from benchmarks.sections import faults

ROOT = pathlib.Path(__file__).resolve().parents[1]
ABOUT = {"date": "2026-01-02T03:04:05", "processor": "2 cores of X", "device": "1 x cpu"}
ABOUT |= {"versions": {"jax": "0.10"}}


def row(fault="sigkill", **changes):
    bench = Bench(pathlib.Path(), timed={"one": [4.0, 4.25], "pair": [7.0]})
    outcome = Outcome({"goes on": True, "ends equal": True}, [-9, -9], 0.04, 3.21, 50)
    return ABOUT | command.row_of(fault, outcome._replace(**changes), bench)


def job(folder, *programs):
    commands = [[sys.executable, "-c", program] for program in programs]
    return Job(commands, [dict(os.environ)] * len(programs), folder)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_every_fault_names_a_test_that_exists(fault):
    path, _, name = fault.test.partition("::")
    tree = ast.parse((ROOT / path).read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_a_row_shows_outcome_code_and_seconds():
    page = faults.faults([row(lost=9.0), row(), row("bit")])
    (line,) = (line for line in page.splitlines() if line.startswith("| `sigkill` |"))
    cells = "| SIGKILL | goes on; ends equal | SIGKILL | 0.0 s | 3.2 s | 50 | `test_kills.py::"
    assert cells in line
    assert "9.0 s" not in page
    assert page.startswith("2 cores of X, 1 x cpu; 2026-01-02; jax 0.10. Without a fault 600 steps")
    assert "take 4.1 s in one process, 7.0 s in two" in page
    assert "differ by up to 0.2 s" in page


def test_what_was_not_so_is_said_in_its_place():
    page = faults.faults([row(claims={"goes on": True, "ends equal": False}, exits=[75, 0])])
    assert "| **not so: ends equal** | 75, 0 |" in page


def test_no_row_is_below_nothing_and_unknown_is_a_dash():
    page = faults.faults([row(noticed=None, lost=-0.1, redone=None)])
    assert "| – | 0.0 s | – |" in page


def test_faults_without_a_row_stand_below_with_their_command():
    others = ",".join(name for name in FAULTS if name != "sigkill")
    assert faults.faults([row()]).endswith(f"`python -m benchmarks.faults --only={others}`")
    assert faults.faults([]) == "Not measured yet: `python -m benchmarks.faults`"


def test_costs_stand_in_the_order_of_sizes():
    spread = lambda name, value: {name: value, f"{name}_low": value / 2, f"{name}_high": 2 * value}
    found = spread("stall_ms", 20.0) | spread("save_mb_s", 640.0) | spread("restore_mb_s", 90.0)
    found |= ABOUT | {"first_stall_ms": 151.0}
    page = faults.checkpoints([found | {"megabytes": 1000}, found | {"megabytes": 10}])
    assert page.index("| 10 MB |") < page.index("| 1,000 MB |")
    cells = "| 20 (10 to 40) ms | 151 ms | 640 (320 to 1,280) MB/s | 90 (45 to 180) MB/s |"
    assert page.count(cells) == 2


def test_a_wrong_outcome_is_in_the_exit_code(monkeypatch, tmp_path, capsys):
    found = {True: [], False: []}
    for holds, rows in found.items():
        outcome = Outcome({"holds": holds}, [0])
        fault = FAULTS["bit"]._replace(inject=lambda bench, outcome=outcome: outcome)
        monkeypatch.setattr(command, "FAULTS", {"bit": fault})
        monkeypatch.setattr(command.report, "append", lambda name, new, rows=rows: rows.extend(new))
        assert command.main([]) == (not holds)
        assert [r["not_so"] for r in rows] == [[] if holds else ["holds"]]
    assert "NOT SO: ['holds']" in capsys.readouterr().out


def test_a_fault_that_this_machine_cannot_have_is_told_and_left_out(monkeypatch, tmp_path, capsys):
    def inject(bench):
        raise storage.Unavailable("no such thing")

    monkeypatch.setattr(command, "FAULTS", {"bit": FAULTS["bit"]._replace(inject=inject)})
    assert command.measure(["bit"], Bench(tmp_path)) == []
    assert "bit: not tested here: no such thing" in capsys.readouterr().out


def test_the_moment_lies_between_two_saves(tmp_path):
    bench = Bench(tmp_path)
    assert bench.saved < bench.moment < bench.saved + bench.plan["save_every"]
    assert bench.moment % bench.plan["log_every"] == 0
    assert bench.moment > bench.plan["steps"] / 2


def test_processes_are_timed_from_the_fault_to_the_end(tmp_path):
    sleeps = "import time; print('step 7/9', flush=True); time.sleep(60)"
    process = job(tmp_path, sleeps)
    process.wait_for("step 7/")
    process.strike(signal.SIGKILL)
    assert process.codes() == [-signal.SIGKILL]
    assert 0 <= process.noticed < process.seconds < 30
    assert process.reached == 7


def test_a_process_that_ends_too_soon_is_not_waited_for(tmp_path):
    process = job(tmp_path, "print('something else')")
    with pytest.raises(RuntimeError, match="something else"):
        process.wait_for("step 7/")


def test_of_two_processes_both_codes_count(tmp_path):
    process = job(tmp_path, "import sys; sys.exit(3)", "pass")
    assert process.codes() == [3, 0]


def test_holes_are_met_once_where_they_shall_be():
    from aigc_jax.data.order import indices

    train = injected.digits(first=5, last=6).train
    images = np.stack([example["image"] for example in train.source])
    batch = lambda cursor: images[indices(injected.SEED, cursor, injected.BATCH, len(images))]
    bad = [cursor for cursor in range(600) if (batch(cursor) != batch(cursor)).any()]
    assert bad == [5, 6]
    assert (batch(5) != batch(5)).all()


def test_the_cost_of_small_checkpoints_is_measured(tmp_path):
    state = checkpoints.state_of(1)
    stalls, whole = checkpoints.saves(state, tmp_path, rounds=2)
    assert len(stalls) == len(whole) == 3
    assert all(0 < a < b for a, b in zip(stalls, whole, strict=True))
    assert checkpoint.steps(tmp_path) == [2, 3]
    arrays = checkpoint.read_arrays(tmp_path)
    assert sum(x.nbytes for name, x in arrays.items() if name.startswith("params")) == 1_000_000
    assert len(checkpoints.restores(state, tmp_path)) == checkpoints.RESTORES


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sigterm", "logger", "bit"])
def test_a_fault_in_a_real_run_has_its_outcome(tmp_path_factory, name):
    bench = Bench(tmp_path_factory.mktemp("bench"), rounds=1)
    (found,) = command.measure([name], bench)
    assert found["not_so"] == []
    assert found["exits"] == [0]
