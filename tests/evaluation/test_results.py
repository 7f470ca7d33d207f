"""A number is reported with its protocol, or refused with its reason, and read back as written."""

import math

import numpy as np
import pytest

from aigc_jax.evaluation import progress, results
from aigc_jax.evaluation.results import Figure, Metric


def refuse():
    raise ValueError("40 samples: needs at least 65")


def stop():
    raise KeyboardInterrupt


def test_what_a_metric_refuses_is_kept_with_its_reason():
    found = results.nothing()
    results.measured(found, "frechet_distance", refuse)
    results.measured(found, "psnr", lambda: Metric(math.inf, 1, "of equal images"))
    results.measured(found, "mse", lambda: Metric(0.5, 3, "of three images"))
    assert set(found.metrics) == {"mse"}
    assert found.refused == {
        "frechet_distance": "40 samples: needs at least 65",
        "psnr": "the result is inf",
    }


def test_other_errors_are_refusals_with_their_kind_and_place():
    found = results.nothing()
    results.measured(found, "broken", lambda: 1 / 0)
    said = found.refused["broken"]
    assert said.startswith("ZeroDivisionError: division by zero (test_results.py:")
    with pytest.raises(KeyboardInterrupt):
        results.measured(found, "stopped", stop)


def test_a_floor_that_cannot_be_measured_costs_the_metric_nothing():
    found = results.nothing()
    below = results.floors_of(found, "psnr", {"test": lambda: 3.0, "train": refuse})
    results.measured(found, "psnr", lambda: Metric(2.0, 3, "", below | {"other": math.nan}))
    assert found.metrics["psnr"].floors == {"test": 3.0}
    assert found.refused == {
        "psnr, train": "40 samples: needs at least 65",
        "psnr, other": "the result is nan",
    }


def test_findings_are_read_back_as_they_were_written(tmp_path):
    found = results.nothing()
    found.metrics["nll"] = Metric(1.5, 10, "every token", {"bigram": 2.0}, "lower", "nats")
    found.refused["kid"] = "no features"
    pixels = np.zeros((4, 4, 1), np.uint8)
    found.figures.append(Figure("grid", "Samples", "Ten of them.", pixels=pixels))
    found.figures.append(Figure("text", "Texts", "Two of them.", text="Ð é\n"))
    found.figures.append(Figure("sound", "Music", "One piece.", audio=b"RIFF"))
    mark = {"generated": True}
    results.write(tmp_path / "evaluation", found, {"run": "r", "step": 3, "mark": mark})
    content = results.read(tmp_path)
    assert content["metrics"]["nll"] == found.metrics["nll"]._asdict()
    assert content["refused"] == found.refused
    assert (content["run"], content["step"]) == ("r", 3)
    files = [figure["file"] for figure in content["figures"]]
    assert files == ["grid.png", "text.txt", "sound.wav"]
    figures = tmp_path / "evaluation" / "figures"
    assert (figures / "text.txt").read_text(encoding="utf-8") == "Ð é\n"
    assert (figures / "sound.wav").read_bytes() == b"RIFF"


def test_a_run_without_evaluation_has_none(tmp_path):
    assert results.read(tmp_path) is None


def test_parts_add_up_in_order():
    found = results.nothing()
    for name in ("one", "two"):
        more = results.nothing()
        more.metrics[name] = Metric(1.0, 1, name)
        more.figures.append(Figure(name, name, name, text=name))
        results.extend(found, more)
    assert list(found.metrics) == ["one", "two"]
    assert [figure.name for figure in found.figures] == ["one", "two"]


def test_the_bar_names_every_piece_of_work_and_says_when_it_is_done(capsys):
    bar = progress.Bar()
    for task in bar.over([("drawing", "a"), ("judging", "b")]):
        bar.say(f"half of {task}")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" s  ")[1] for line in lines] == [
        *("drawing", "drawing: half of a", "judging", "judging: half of b", "done"),
    ]
    filled = [line.count("#") for line in lines]
    assert filled == sorted(filled)
    assert "2/2" in lines[-1]


def test_a_new_evaluation_leaves_no_figures_of_the_one_before(tmp_path):
    about = {"step": 1, "mark": {"generated": True}}
    for names in (("old", "both"), ("both", "new")):
        found = results.nothing()
        found.figures.extend(Figure(name, "", "", text=name) for name in names)
        for count in (1, 2):  # they are written as they come
            some = found._replace(figures=found.figures[:count])
            results.write(tmp_path, some, about, written=count - 1)
        (tmp_path / "figures" / "mine.txt").touch()
    there = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert there == ["both.txt", "mine.txt", "new.txt"]
