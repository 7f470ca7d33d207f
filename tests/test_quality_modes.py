"""The tables of collapse: what is counted, and what stands beside it."""

import json

import numpy as np
import pytest

from aigc_jax import core
from aigc_jax.data import points
from aigc_jax.data.dataset import Info
from benchmarks import report
from benchmarks.quality import modes, runs, stacked


def run_that_draws(images, info, data_dir="."):
    """A run whose sampler gives `images`, whatever the keys."""

    def sample(state, keys, cond):
        return {"image": images[: len(keys)]}

    config = {"seed": 0, "sampling": {}, "data": {"data_dir": str(data_dir)}}
    algorithm = core.Algorithm(None, None, None, sample)
    return modes.build.Run(config, info, None, algorithm, None, None)


def described(name):
    return Info(name, {}, "test", {}, {})


def test_points_are_counted_in_the_units_of_the_papers():
    mixture = points.grid()
    drawn = points.draw(mixture, modes.SAMPLES, np.random.default_rng(1))["image"]
    state = core.new_state({}, {})
    found = modes.score(run_that_draws(drawn, described("grid")), state)
    assert found.found == 25
    assert found.high_quality > 0.98
    assert found.reverse_kl < 0.02
    lost = np.where(drawn[..., :1] > 0.1, -drawn, drawn)  # two columns of five go to others
    found = modes.score(run_that_draws(lost, described("grid")), state)
    assert found.found == 15
    np.testing.assert_allclose(found.reverse_kl, 0.8 * np.log(2), atol=0.02)


def test_the_table_has_a_line_for_every_method_and_the_published_ones(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    good = points.draw(points.ring(), modes.SAMPLES, np.random.default_rng(0))["image"]
    trained = []

    def train(spec, seed, out, overrides):
        trained.append((spec, seed))
        run = run_that_draws(good, described("ring"))
        return runs.Finished(run, core.new_state({}, {}), out, None if seed else 1.5)

    monkeypatch.setattr(runs, "train", train)
    modes.main(["--data", "ring", "--methods", "ns", "pac2", "--seeds", "0", "1"])
    said = capsys.readouterr().out
    assert trained == [(f"configs/gan_ring.py:{m}", s) for m in ("ns", "pac2") for s in (0, 1)]
    assert "| ns | 8 ± 0 |" in said
    assert "| PacGAN2, published | 7.9 ± 0.1 | 0.956 ± 0.020 |  | 0.07 ± 0.03 |" in said
    rows = [json.loads(line) for line in (tmp_path / "quality_modes.jsonl").open()]
    assert [(row["method"], row["seed"]) for row in rows] == [
        (m, s) for m in ("ns", "pac2") for s in (0, 1)
    ]
    assert all(row["modes"] == 8 for row in rows)


@pytest.mark.parametrize("argument", stacked.ARGUMENTS)
def test_an_argument_names_a_config_and_its_line(argument, monkeypatch, tmp_path):
    def train(spec, seed, out, overrides):
        return runs.Finished(run_that_draws(None, described(spec)), None, out, 2.0)

    monkeypatch.setattr(runs, "train", train)
    monkeypatch.setattr(stacked.build, "load_data", lambda config: None)
    monkeypatch.setattr(
        stacked, "score", lambda run, *_: {"modes": 3, "kl": 1.0, "of": run.info.name}
    )
    flags = runs.parser("").parse_args([])
    row = stacked.measured(argument, 1, flags, [])
    suffix = "" if argument == "plain" else f":{argument}"
    assert row["of"] == f"configs/gan_stacked.py{suffix}"
    assert stacked.summary([row, row]) == {
        "method": argument,
        "modes": "3 ± 0",
        "kl": "1 ± 0",
        "seconds": "2 ± 0",
    }
