"""The page of benchmarks is what the recorded results say, and its tables mean what they show."""

import json

import pytest
from PIL import Image

from benchmarks import plots, readme, report
from benchmarks.sections import cells, growth, modes, quality, speed

CPU = speed.ON_CPU[0]


def seeds(values, commit="a", **more):
    return [{"seed": i, "commit": commit, "nll": v, **more} for i, v in enumerate(values)]


def measured(workload=CPU, **changes):
    """A row of results/speed.jsonl as `benchmarks.speed.table` describes it."""
    row = {
        **{"date": "2026-01-02T03:04:05", "commit": "0123456789abcdef+changes", "torch": "2.0"},
        **{"processor": "2 cores of X", "device": "1 x cpu", "versions": {"jax": "0.10"}},
        **{"workload": workload.name, "title": workload.title, "suite": "cpu", "rounds": 7},
        **{"unit": "images", "count": 128, "precision": "float32", "parameters": 1000},
        **{"gflop_per_step": 44.0, "ours_ms": 12.0, "eager_ms": 24.0, "ours_per_second": 10666.0},
        **{"vs_eager": 2.0, "vs_eager_low": 1.9, "vs_eager_high": 2.2, "compiled_ms": 6.0},
        **{"vs_compiled": 0.5, "vs_compiled_low": 0.4, "vs_compiled_high": 0.6},
        **{"compiled_mode": "compile", "goal_eager": 1.4, "goal_compiled": 1.7, "goal_met": False},
        **{"gemm_jax_gflops": 200.0, "gemm_torch_gflops": 300.0, "copy_jax_gbs": 40.0},
        **{"copy_torch_gbs": 35.0, "roofline_ours": 0.62, "roofline_eager": 0.31},
        **{"memory_ours_mib": 345.0, "start_cold_s": 2.5, "start_cached_s": 0.3},
        **{"others_cpu": 0.01, "quiet": True, "note": "", "failed": {}},
    }
    return row | changes


def test_the_committed_page_is_what_the_results_say():
    assert readme.README.read_text() == readme.written(report.RESULTS), (
        "run python -m benchmarks.readme"
    )


def test_the_committed_plot_is_of_the_committed_results():
    rows = readme.recorded(report.RESULTS, "speed")
    path = report.RESULTS / plots.NAME
    assert path.exists() == bool(plots.bars(rows))
    if path.exists():
        assert Image.open(path).text["Description"] == plots.digest(rows)


def test_without_results_every_table_names_its_command(tmp_path):
    page = readme.written(tmp_path)
    modules = ("quality.text", "quality.gan", "quality.vae", "quality.modes", "quality.stacked")
    modules += ("quality.likelihood", "quality.music", "overhead", "speed.growth")
    for module in (*modules, "speed.end_to_end", "speed --suite=full", "speed --suite=gpu"):
        assert f"Not measured yet: `python -m benchmarks.{module}" in page
    assert plots.NAME not in page
    assert "{{" not in page


def test_a_template_and_what_fills_it_must_agree():
    assert readme.fill("a {{b}} c", {"b": "x{{y}}"}) == "a x{{y}} c"
    with pytest.raises(ValueError, match="{{b}}.*accepted are c"):
        readme.fill("{{b}}{{c}}", {"c": ""})
    with pytest.raises(ValueError, match="{{c}} is missing"):
        readme.fill("{{b}}", {"b": "", "c": ""})


def test_rows_are_read_in_the_order_of_their_dates(tmp_path):
    rows = [{"date": "2026-02", "x": 1}, {"date": "2026-01", "x": 2}]
    (tmp_path / "some.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [row["x"] for row in readme.recorded(tmp_path, "some")] == [2, 1]
    assert readme.recorded(tmp_path, "other") == []


def test_the_newest_complete_set_of_seeds_counts():
    old, new, part = seeds([1, 2, 3]), seeds([4, 5, 6], "b"), seeds([7], "c")
    assert cells.of_seeds([*old, *new, *part]) == new
    repeated = seeds([8], "b")
    assert cells.of_seeds([*old, *new, *repeated])[0] == repeated[0]
    assert cells.of_seeds([*seeds([1, 2]), {"seed": 2, "commit": "b", "nll": 3}])[-1]["nll"] == 3
    assert cells.of_seeds(old, model="x") == []


def test_means_have_the_sample_deviation():
    rows = seeds([0.1, 0.2, 0.3])
    assert cells.mean(rows, "nll", 1, 100, " %") == "20.0 ± 10.0 %"
    assert cells.mean(rows[:1], "nll", 3) == "0.100"
    assert cells.two_digits(rows, "nll") == "0.20 ± 0.10"
    assert cells.two_digits(seeds([0.00171, 0.00172]), "nll") == "0.0017 ± 0.0000"
    assert cells.minutes([{"seconds": 299.0}, {"seconds": 725}, {"seconds": None}]) == "5 to 12 min"
    assert cells.minutes([{"seconds": 14.04}, {"seconds": 36.6}]) == "14 to 37 s"


def test_changed_configs_are_in_no_table():
    plain = seeds([1.5, 1.5], model="gpt_shakespeare", overrides=[["eval_batches", "0"]])
    changed = seeds([9.0, 9.0], "b", model="gpt_shakespeare", overrides=[["steps", "4"]])
    assert "1.500 ± 0.000" in quality.text([*plain, *changed])
    assert "9.000" not in quality.text([*plain, *changed])


def test_true_triples_end_the_table_of_stacked_mnist():
    row = {"method": "cpu", "seed": 0, "commit": "a", "overrides": [], "modes": 739}
    table = modes.stacked([row | {"kl": 1.5257, "floor": 0.0244}])
    assert table.splitlines()[-2].endswith("| 739 | 1.53 nats |")
    assert table.splitlines()[-1] == "| true triples | 1000 | 0.024 nats |"


def test_a_speed_row_shows_times_ratios_and_goals():
    line = next(line for line in speed.cpu([measured()]).splitlines() if "10,666" in line)
    for cell in ("12 ms", "24 ms", "**2.00** (1.90–2.20)", "0.50 (0.40–0.60)", "1.4 / 1.7: missed"):
        assert f"| {cell} |" in line
    page = speed.cpu([measured()])
    assert "2 cores of X; 2026-01-02; jax 0.10, PyTorch 2.0; commit 0123456+; 7 rounds." in page
    assert "| 62 % (PyTorch 31 %) | 345, –, – | 2.5, 0.3, – |" in page


def test_the_newest_row_of_each_machine_is_shown():
    rows = [measured(ours_ms=1.0), measured(ours_ms=2.0), measured(processor="Y", ours_ms=3.0)]
    page = speed.cpu(rows)
    assert "| 1 ms |" not in page
    assert page.index("Y; ") < page.index("| 3 ms |") < page.index("2 cores of X;")
    assert page.index("2 cores of X;") < page.index("| 2 ms |")


def test_a_ratio_below_one_has_its_reason():
    reason = f"- {CPU.title} (0.50): "
    assert reason in speed.cpu([measured(note="small products")])
    assert reason not in speed.cpu([measured(vs_compiled=1.2)])


def test_modes_for_reference_are_told():
    page = speed.cpu([measured(seconds={"ours": [0.01], "no_cache": [0.09, 0.1, 0.2]})])
    assert "the whole text again for every token, takes 100 ms" in page


def test_failures_and_other_work_are_told():
    page = speed.cpu([measured(failed={"compile": "no compiler"}, quiet=False, others_cpu=0.2)])
    assert f"- {CPU.title}: compile failed: no compiler" in page
    assert "other processes used 20 % of the CPUs" in page


def test_variants_that_failed_leave_empty_cells():
    row = measured(compiled_mode="")
    bare = {k: v for k, v in row.items() if "compiled" not in k or k == "compiled_mode"}
    line = next(line for line in speed.cpu([bare]).splitlines() if "10,666" in line)
    assert line.endswith("| 24 ms |  | **2.00** (1.90–2.20) |  | 1.4 / 1.7: met |")


def test_what_was_not_measured_stands_in_the_newest_table_with_its_command():
    page = speed.cpu([measured(), measured(processor="Y")])
    others = [workload for workload in speed.ON_CPU if workload != CPU]
    names = ",".join(workload.name for workload in others)
    assert page.endswith(f"`python -m benchmarks.speed --suite=full --only={names}`")
    assert page.count("| not measured yet |") == len(others)
    assert speed.gpu([measured()]).count("| not measured yet |") == len(speed.ON_GPU)


def test_rows_of_workloads_that_are_gone_are_left_out():
    assert speed.by_machine([measured(workload=CPU._replace(name="gone"))], "cpu") == {}


def test_growth_shows_the_newest_sweep():
    row = {k: v for k, v in measured().items() if k in ("date", "processor", "device", "versions")}
    row |= {"workload": "gpt_small", "varied": "batch", "sizes": [4, 8], "step_ms": [10.0, 21.0]}
    row |= {"memory_mib": [100.0, 180.0], "exponent": 1.07, "exponent_last": 1.1, "expected": 1.0}
    row |= {"memory_exponent": 0.85, "memory_exponent_last": 0.9}
    page = growth.growth([row | {"exponent": 5.0}, row])
    cell = "| `gpt_small` | batch | 4, 8 | 10, 21 | 1.07, 1.10 | 1.00 | 100, 180 | 0.85, 0.90 |"
    assert page.endswith(cell)
    assert "5.00" not in page


def test_end_to_end_shows_every_process():
    row = measured(workload=CPU) | {"data": "mnist", "target": 105.0, "batch": 128}
    row |= {"eval_every": 250, "seconds": {name: [20.0, 21.0] for name in growth.VARIANTS}}
    row["steps_taken"] = {name: [2500, 2750] for name in growth.VARIANTS}
    for names in growth.RATIOS.values():
        row |= {name + part: 1.5 for name in names for part in ("", "_low", "_high")}
    page = growth.end_to_end([row])
    assert page.startswith("To 105 nats on mnist, batch 128, evaluated every 250 steps. 2 cores of")
    assert page.count("| 20.0, 21.0 | 2500, 2750 |") == len(growth.VARIANTS)
    assert page.count("**1.50** (1.50–1.50)") == 4


def test_the_plot_is_drawn_and_marked(tmp_path):
    pytest.importorskip("matplotlib", reason="requirements-bench.txt has matplotlib")
    rows = [measured(), measured(speed.ON_GPU[0], device="1 x GPU")]
    image = Image.open(plots.draw(rows, tmp_path / "plot.png"))
    assert image.text["Description"] == plots.digest(rows)
    assert image.getpixel((0, 0))[:3] == (255, 255, 255)
    assert plots.digest(rows) != plots.digest([measured(vs_eager=3.0)])
