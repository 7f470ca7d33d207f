import pytest

from aigc_jax.evaluation import readable, standing, tables
from aigc_jax.evaluation.results import Metric

FLOORS = {"train | train": 0.331, "test | train": 0.802}


def evaluation(step=2000, refused=(), **metrics):
    content = {"step": step, "date": "2026-01-31T10:00:00", "refused": dict(refused)}
    return content | {"metrics": {name: m._asdict() for name, m in metrics.items()}}


def frechet(value, samples=10_000, protocol="words"):
    return Metric(value, samples, protocol, FLOORS, "lower")


def line_of(table, name):
    return next(line for line in table.splitlines() if line.startswith(name))


def test_numbers_have_the_digits_that_matter():
    written = {
        1.23456: "1.235",
        0.0123456: "0.01235",
        9.99996: "10.00",
        123456.7: "123,457",
        1_412_353: "1,412,353",
        25.0: "25",
        3.42e9: "3.420 G",
        1.2e-5: "1.20e-5",
        -4.3125e299: "-4.31e299",
        -95.694: "-95.69",
        0.0: "0",
    }
    assert {value: readable.number(value) for value in written} == written


def test_units_take_the_letter_of_a_power_where_they_can():
    assert readable.quantity(3.42e9, "FLOPs") == "3.420 GFLOPs"
    assert readable.quantity(731_401_216, "bytes") == "731.4 MB"
    assert readable.quantity(312.44, "examples/s") == "312.4 examples/s"
    assert readable.quantity(1.5) == "1.500"


def test_columns_are_aligned():
    table = tables.metrics_table({"run": evaluation(fd=frechet(1.2), longer_name=frechet(123.4))})
    head, rule, *rows = table.split("\n\n")[0].splitlines()
    assert set(rule) == {"─"}
    ends = [
        line.index(text) + len(text) for line, text in zip(rows, ("1.200", "123.4"), strict=True)
    ]
    assert ends == [head.index("value") + len("value")] * 2
    starts = {line.index("train | train") for line in rows}
    assert starts == {head.index("the same number")}


def test_a_row_says_value_unit_count_floors_and_direction():
    table = tables.metrics_table(
        {"run": evaluation(fd=frechet(1.23456), n=Metric(3.0, 7, "", unit="x"))}
    )
    row = " ".join(line_of(table, "fd").split())
    assert row == "fd ↓ 1.235 10,000 train | train 0.331, test | train 0.802"
    assert line_of(table, "n ").split() == ["n", "3", "x", "7"]
    assert "↓ lower is better" in table
    assert "higher" not in table


@pytest.mark.parametrize(("better", "best"), [("lower", "a"), ("higher", "c"), ("real", "b")])
def test_the_best_of_several_runs_is_marked(better, best):
    values = {"a": 1.0, "b": 2.0, "c": 3.0}
    runs = {
        run: evaluation(m=Metric(v, 5, "p", {"real": 2.2}, better)) for run, v in values.items()
    }
    cells = line_of(tables.metrics_table(runs), "m ").split()[2:5]
    assert [cell.endswith("*") for cell in cells] == [run == best for run in runs]


def test_near_is_near_each_runs_own_floor_and_nothing_without_one():
    def leaders(*floors):
        made = [Metric(v, 5, "p", f, "real") for v, f in zip((1.0, 3.0), floors, strict=True)]
        return standing.best({run: m._asdict() for run, m in zip("ab", made, strict=True)})

    assert leaders({"real": 1.9}, {"real": 1.9}) == {"a"}
    assert leaders({"real": 1.9}, {"real": 2.8}) == {"b"}
    assert leaders({"real": 2.0}, {"real": 2.0}) == set()
    assert leaders({"real": 1.9}, {"other": 2.8}) == set()
    table = tables.metrics_table({"run": evaluation(m=Metric(1.0, 5, "p", {"real": 1}, "real"))})
    assert "m →" in table
    assert "→ nearer to real data is better" in table


def test_nothing_is_best_without_a_direction_or_a_difference():
    for metric in (Metric(1.0, 5, "p"), Metric(2.0, 5, "p", better="lower")):
        runs = {"a": evaluation(m=metric), "b": evaluation(m=metric)}
        assert standing.best(standing.of_runs(runs, "m")) == set()
    runs = {"a": evaluation(m=Metric(1.0, 5, "p")), "b": evaluation(m=Metric(2.0, 5, "p"))}
    assert "*" not in tables.metrics_table(runs)


@pytest.mark.parametrize("other", [frechet(2.0, samples=500), frechet(2.0, protocol="other")])
def test_values_that_were_measured_differently_are_not_compared(other):
    table = tables.metrics_table({"a": evaluation(fd=frechet(1.0)), "b": evaluation(fd=other)})
    assert "*" not in table
    assert line_of(table, "fd").count("†") == 2
    assert "† measured by other protocols" in table


def test_a_metric_that_one_run_lacks_is_a_dash():
    table = tables.metrics_table({"a": evaluation(fd=frechet(1.0)), "b": evaluation()})
    assert "–" in line_of(table, "fd")


def test_refused_metrics_stand_below_with_reasons():
    refused = {"kid": "features of 40 samples"}
    table = tables.metrics_table({"a": evaluation(refused=refused), "b": evaluation()})
    assert table.endswith("not reported\n  kid: features of 40 samples (a)")
    alone = tables.metrics_table({"a": evaluation(refused=refused)})
    assert alone == "no metric is reported\n\nnot reported\n  kid: features of 40 samples"
    with pytest.raises(ValueError, match="0 evaluations"):
        tables.metrics_table({})


def test_headlines_are_the_most_telling_first():
    named = dict.fromkeys(("parameters", "kid", "recall", "precision", "frechet_distance"))
    content = evaluation(**dict.fromkeys(named, Metric(1.0, 5, "p")))
    assert standing.headlines(content, 3) == ["frechet_distance", "precision", "recall"]
    own = evaluation(size=Metric(1.0, 1, "p"), mine=Metric(1.0, 1, "p", better="higher"))
    assert standing.headlines(own, 3) == ["mine", "size"]


RECORD = {"config": {"steps": 2000, "algorithm": {"name": "gan"}, "data": {"name": "mnist"}}}


def test_a_summary_is_one_line():
    rows = [{"step": 2000, "split": "train", "time": 1.7e9}]
    content = evaluation(step=1500, fd=frechet(1.2))
    line = tables.summary_line("run", content, RECORD, rows)
    assert "\n" not in line
    for part in ("run ", "gan on mnist", "step 2,000 of 2,000", "2026-01-31", "fd 1.200"):
        assert part in line
    assert "at step 1,500: " in line  # the evaluation is of an older checkpoint


def test_a_run_without_evaluation_says_so():
    rows = [{"step": 40, "split": "train", "time": 1.7e9}]
    line = tables.summary_line("run", None, RECORD, rows)
    assert "step 40 of 2,000" in line
    assert "2023-11-14" in line
    assert line.endswith("not evaluated yet")
    assert tables.summary_line("run", None, None, []).endswith("not evaluated yet")


def test_summaries_of_several_runs_are_aligned():
    lines = [tables.summary_line(name, None, RECORD, []) for name in ("a", "longer_name")]
    assert len({line.index("gan on mnist") for line in lines}) == 1
