"""The benchmark's own arithmetic and protocol, with workers and builders that only pretend."""

import io
import json
import sys

import pytest

from aigc_jax import compiling
from benchmarks.speed import check, growth, measure, quiet, roofline, rounds, table, worker
from benchmarks.speed.__main__ import parse
from benchmarks.speed.ours import flagged
from benchmarks.speed.timed import Timed
from benchmarks.speed.workloads import WORKLOADS, Workload, chosen

# A worker that answers at once, each step taking 0.1 s by its own account.
FAKE = """
import json, sys
say = lambda **values: print(json.dumps(values), flush=True)
say(parameters=7, flops=0.0, build_s=1.0, first_s=2.0, idle_mib=1.0, peak_mib=2.0)
for line in sys.stdin:
    say(seconds=0.1 * json.loads(line)["steps"], cpu_s=0.0, peak_mib=3.0)
"""
DIES = "import sys; print('the cause', file=sys.stderr); sys.exit(3)"
DIES_LATER = FAKE.replace("for line in sys.stdin:", "line = sys.stdin.readline()\nif 0:") + DIES


@pytest.fixture
def started():
    workers = []

    def start(source: str, **more) -> rounds.Worker:
        workers.append(rounds.Worker([sys.executable, "-c", source], {}, **more))
        return workers[-1]

    yield start
    for each in workers:
        each.close()


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(rounds, "PAUSE", 0.0)


def row(name="one", eager=1.0, compiled=1.0, **more):
    same = {"workload": name, "processor": "p", "device": "d"}
    return same | {"vs_eager": eager, "vs_compiled": compiled} | more


def test_a_worker_answers_and_remembers_its_newest_values(started):
    fake = started(FAKE)
    assert fake.answer()["parameters"] == 7
    assert fake.ask(3)["seconds"] == pytest.approx(0.3)
    assert fake.known["peak_mib"] == 3.0
    assert fake.known["first_s"] == 2.0


def test_a_worker_that_dies_is_named_with_the_end_of_what_it_wrote(started):
    with pytest.raises(rounds.Failed, match="status 3: the cause"):
        started(DIES).answer()


def test_a_worker_that_hangs_is_killed(started):
    with pytest.raises(rounds.Failed, match="status -9"):
        started("import time; time.sleep(60)", limit=0.2).answer()


def test_one_that_dies_in_its_turn_does_not_stop_the_others(started):
    workers = {"ours": started(FAKE), "eager": started(DIES_LATER)}
    for each in workers.values():
        each.answer()
    seconds, failed, usage = rounds.take_turns(workers, {"ours": 2, "eager": 2}, 3)
    assert seconds == {"ours": pytest.approx([0.1] * 3)}
    assert "the cause" in failed["eager"]
    assert usage.elapsed >= 0.0


def test_a_variant_with_long_steps_gets_one_round(started, monkeypatch):
    monkeypatch.setattr(rounds, "LONG", 0.05)
    slow = started(FAKE)
    slow.answer()
    seconds, _, _ = rounds.take_turns({"slow": slow}, {"slow": 1}, 3)
    assert len(seconds["slow"]) == 1


def test_each_variant_begins_once_in_as_many_rounds():
    orders = [rounds.order(["a", "b", "c"], number) for number in range(3)]
    assert sorted(names[0] for names in orders) == ["a", "b", "c"]
    assert all(sorted(names) == ["a", "b", "c"] for names in orders)


@pytest.mark.parametrize("one", [3.0, 0.5, 0.07, 0.004, 1e-5])
def test_calibration_finds_steps_of_about_a_turn_and_has_run_them(one):
    asked = []

    def seconds(steps):
        asked.append(steps)
        return steps * one + (1.0 if len(asked) == 1 else 0.0)

    steps = rounds.calibrate(seconds, turn=0.6)
    assert steps == asked[-1] >= 1
    assert steps == 1 or 0.3 <= steps * one <= 1.2


def test_ratios_are_those_of_the_rounds_and_compiled_is_the_best_mode():
    seconds = {
        "ours": [1.0, 2.0, 4.0],
        "eager": [2.0, 2.0, 2.0],
        "compile": [3.0, 6.0, 12.0],
        "max-autotune": [2.0, 5.0, 12.0],
        "no_cache": [0.1],
    }
    found = measure.compared(seconds, count=10)
    assert (found["vs_eager"], found["vs_eager_low"], found["vs_eager_high"]) == (1.0, 0.5, 2.0)
    assert found["compiled_mode"] == "max-autotune"
    assert found["vs_compiled"] == 2.5
    assert found["ours_per_second"] == 5.0


def test_a_failed_compilation_leaves_the_ratio_to_eager():
    found = measure.compared({"ours": [1.0], "eager": [2.0]}, count=1)
    assert found["vs_eager"] == 2.0
    assert found["compiled_mode"] == ""
    assert "vs_compiled" not in found


def test_unequal_networks_are_refused():
    with pytest.raises(ValueError, match="8 parameters, ours 7"):
        measure.check_parameters({"ours": {"parameters": 7}, "eager": {"parameters": 8}})


def test_the_whole_row_of_fake_workers_is_a_line_of_the_table(started, monkeypatch):
    monkeypatch.setattr(measure, "start", lambda *_: started(FAKE))
    options = {"precision": "float32", "batch": 2, "layers": 1, "dim": 1, "tokens": 4}
    workload = Workload("fake", "", "no:no", options, "images", 4, ("bench",), (0.9, 2.0))
    rates = {"gemm_jax": 1.0, "gemm_torch": 2.0, "copy_jax": 1.0, "copy_torch": 1.0}
    monkeypatch.setattr(measure.importlib.metadata, "version", lambda _: "0")
    found = json.loads(json.dumps(measure.row(workload, "bench", 2, rates)))
    assert found["vs_eager"] == pytest.approx(1.0)
    assert found["goal_met"] is False
    assert found["start_cold_s"] == pytest.approx(2.9)
    text = table.text([found])
    assert "fake" in text
    assert max(len(line) for line in text.splitlines()[:2]) <= 140


def test_no_line_of_the_table_is_wider_than_140_columns():
    assert sum(width + 1 for _, width, _ in table.COLUMNS) <= 141
    assert max(len(workload.name) for workload in WORKLOADS) <= table.COLUMNS[0][1]


def test_the_busy_time_of_processors_leaves_out_idle_and_other_ones():
    lines = ["cpu 9 9 9 9 9 9 9 9 0 0", "cpu0 1 2 3 100 50 4 5 6 7 8", "cpu1 9 9 9 9 9 9 9 9 0 0"]
    assert quiet.busy_seconds([*lines, "intr 5"], {0}, ticks=1) == 21


def test_what_others_used_is_what_is_left_of_the_busy_time():
    usage = quiet.Usage().add(10.0, 15.0, 12.0).add(10.0, 15.0, 12.0)
    assert quiet.others(usage, processors=2) == pytest.approx(0.15)


def test_decoding_reads_the_weights_for_every_token_and_half_the_cache():
    options = {"tokens": 10, "batch": 3, "layers": 2, "dim": 5, "precision": "bfloat16"}
    assert roofline.decoding_bytes(options, 1000) == 2 * 10 * (1000 + 3 * 2 * 2 * 5 * 5)


def test_a_share_of_the_roofline_is_of_the_better_framework():
    rates = {"gemm_jax": 2.0, "gemm_torch": 4.0, "copy_jax": 99.0}
    assert roofline.share(8.0, 4.0, rates, "gemm") == 0.5


def test_regressions_are_named_by_the_last_row_of_the_same_machine():
    earlier = [row(eager=9.0), row(eager=1.0), row(eager=9.0) | {"device": "other"}]
    assert check.regressions([row(eager=0.86)], earlier) == []
    assert check.regressions([row(eager=0.84)], earlier) == ["one: vs_eager 0.84, recorded 1.00"]
    assert check.unknown([row(), row("two")], earlier) == ["two"]


def test_a_ratio_that_is_missing_now_is_a_regression():
    now = row()
    del now["vs_compiled"]
    assert check.regressions([now], [row()]) == ["one: vs_compiled missing, recorded 1.00"]


def test_an_exponent_is_found_in_exact_powers():
    assert growth.exponent([1, 2, 4, 8], [3.0 * n**1.5 for n in (1, 2, 4, 8)]) == pytest.approx(1.5)


@pytest.mark.parametrize(("name", "varied", "sizes"), growth.SWEEPS)
def test_the_expected_growth_is_that_of_an_option_the_workload_has(name, varied, sizes):
    workload = next(each for each in WORKLOADS if each.name == name)
    assert varied in workload.options
    work = [growth.flops(name, {**workload.options, varied: size}) for size in sizes]
    limits = {"batch": (1, 1), "size": (2, 2), "dim": (1, 2), "context": (1, 2)}[varied]
    assert limits[0] - 1e-9 <= growth.exponent(sizes, work) <= limits[1] + 1e-9


def test_serving_answers_each_line_with_the_steps_it_names():
    ran, answers = [], []
    requests = io.StringIO('{"steps": 2}\n{"steps": 5}\n')
    worker.serve(requests, answers.append, Timed(ran.append, 1), "ours")
    assert ran == [2, 5]
    assert [set(each) for each in answers] == [{"seconds", "cpu_s", "peak_mib"}] * 2


def test_a_builder_that_raises_is_answered_as_failed(started):
    words = ["-m", "benchmarks.speed.worker", "json:nothing", "ours", "{}"]
    failing = rounds.Worker([sys.executable, *words], {})
    with pytest.raises(rounds.Failed, match=r"AttributeError: .*nothing.* \(worker.py:"):
        failing.answer()
    failing.close()


def test_bad_flags_and_names_are_refused():
    with pytest.raises(SystemExit):
        parse(["--suite=nothing"])
    with pytest.raises(SystemExit):
        parse(["--rounds=0"])
    with pytest.raises(ValueError, match="'nothing' is none of"):
        chosen("bench", ("nothing",))
    assert parse(["--only=a,b"]).only == ("a", "b")


def test_a_workload_is_built_with_other_compiler_options(monkeypatch):
    monkeypatch.setattr(compiling, "OPTIONS", dict(compiling.OPTIONS))
    options = {"xla_cpu_enable_fast_math": "true"}
    timed = flagged.build(
        builder="pipeline:batches", options={"batch": 4}, compiler_options=options
    )
    timed.steps(1)
    assert compiling.OPTIONS["cpu"] == options
