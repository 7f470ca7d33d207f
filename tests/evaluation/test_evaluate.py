"""The command: every kind of run is measured, by stated protocols, and the same on any devices."""

import json
import os
import subprocess
import sys

import commands
import jax
import numpy as np
import pytest

from aigc_jax import evaluate
from aigc_jax.evaluation import plan, results
from aigc_jax.metrics import classifier

COST = {
    *("parameters", "flops_per_example", "training_speed", "peak_memory"),
    *("seconds_to_first_sample", "sampling_speed"),
}
IMAGES = {
    *("frechet_distance", "kernel_distance", "precision", "recall", "density", "coverage"),
    *("pairwise_distance", "memorisation_ratio", "memorised_share", "classifier_score"),
    *("confidence", "least_share"),
}
EXPECTED = {
    "gan": IMAGES,
    "vae": IMAGES | {"iw_bound", "negative_elbo", "rate", "distortion", "active_units"},
    "attention": {"nll", "perplexity", "bits_per_char", "bits_per_byte"},
}
# More of these is as unlike real data as less: copies, noise, a crowd in the densest places.
NEAR = {"density", "two_sample_accuracy", "pairwise_distance", "ms_ssim", "memorisation_ratio"}
NEAR |= {"memorised_share", "classifier_score", "confidence", "least_share", "longest_copy"}
NEAR |= {"distinct_1", "distinct_2", "distinct_3"}
FLAGS = ("--samples=120", "--iw_samples=4")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """{family: workdir} of short runs."""
    root = tmp_path_factory.mktemp("runs")
    enough = {"gan": ("data.limit=256",), "vae": ("data.limit=256",), "attention": ()}
    for family, words in enough.items():
        assert commands.train(root / family, family, *words) == 0
    return {family: root / family for family in enough}


@pytest.fixture(autouse=True)
def quick_classifier(monkeypatch):
    monkeypatch.setattr(classifier, "STEPS", 800)
    monkeypatch.setattr(classifier, "MINIMUM_ACCURACY", 0.8)


def measured(workdir, *flags):
    """What evaluation writes of a run."""
    assert evaluate.main([f"--workdir={workdir}", *FLAGS, *flags]) == 0
    return json.loads((workdir / "evaluation" / "metrics.json").read_text())


@pytest.mark.parametrize("family", EXPECTED)
def test_every_metric_says_how_it_was_measured(trained, family, capsys):
    content = measured(trained[family])
    assert set(content["metrics"]) >= EXPECTED[family] | COST
    for name, metric in content["metrics"].items():
        assert metric["samples"] > 0, name
        assert metric["protocol"], name
        assert metric["better"] in ("", "lower", "higher", *metric["floors"]), name
        assert np.isfinite([metric["value"], *metric["floors"].values()]).all(), name
    near = {
        name for name, metric in content["metrics"].items() if metric["better"] in metric["floors"]
    }
    assert near == NEAR & set(content["metrics"])
    assert content["versions"]["jax"] == jax.__version__
    assert (content["seed"], content["step"]) == (0, 4)
    told = capsys.readouterr().out
    assert all(name in told for name in content["metrics"])
    page = (trained[family] / "evaluation" / "report.html").read_text()
    for figure in content["figures"]:
        assert (trained[family] / "evaluation" / "figures" / figure["file"]).stat().st_size
        assert figure["title"] in page


def test_floors_are_those_of_real_images(trained):
    metrics = measured(trained["gan"])["metrics"]
    frechet = metrics["frechet_distance"]
    assert set(frechet["floors"]) == {"train | train", "test | train"}
    # A generator of four steps is far from real images, which are near to each other.
    assert frechet["value"] > 3 * max(frechet["floors"].values())
    assert metrics["coverage"]["value"] < min(metrics["coverage"]["floors"].values())


def test_the_same_seed_gives_the_same_numbers_on_one_device_and_eight(trained, tmp_path):
    assert jax.device_count() == 8
    here = {family: measured(trained[family])["metrics"] for family in ("gan", "vae")}
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    code = (
        "import sys; from aigc_jax.metrics import classifier as c; from aigc_jax import evaluate; "
        "c.STEPS, c.MINIMUM_ACCURACY = 800, 0.8; sys.exit(evaluate.main(sys.argv[1:]))"
    )
    for family, expected in here.items():
        words = [sys.executable, "-c", code, f"--workdir={trained[family]}", *FLAGS]
        subprocess.run(words, check=True, cwd=commands.ROOT, env=environment, capture_output=True)
        path = trained[family] / "evaluation" / "metrics.json"
        found = json.loads(path.read_text())["metrics"]
        for name in set(expected) - COST:
            np.testing.assert_allclose(
                found[name]["value"], expected[name]["value"], rtol=2e-3, atol=1e-4, err_msg=name
            )


def test_too_few_samples_are_refused_with_the_rule(trained):
    content = measured(trained["gan"], "--samples=20")
    assert "frechet_distance" not in content["metrics"]
    assert "at least 65" in content["refused"]["frechet_distance"]
    assert "coverage" in content["metrics"]


def test_a_weak_classifier_judges_nothing(trained, monkeypatch):
    monkeypatch.setattr(classifier, "MINIMUM_ACCURACY", 1.1)
    content = measured(trained["gan"])
    assert "1.1" in content["refused"]["frechet_distance"]
    assert set(content["metrics"]) >= {"pairwise_distance", "memorisation_ratio"}


def test_features_of_ones_own_are_named_in_the_protocol(trained, tmp_path, monkeypatch):
    (tmp_path / "my_features.py").write_text(
        "def halves(images):\n    return images.reshape(len(images), -1, 16).mean(-1)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    content = measured(trained["gan"], "--features=my_features:halves")
    assert "my_features:halves" in content["metrics"]["frechet_distance"]["protocol"]
    assert "confidence" not in content["metrics"]


def test_runs_are_compared_and_listed(trained, capsys):
    other = trained["vae"]
    assert evaluate.main([f"--workdir={trained['gan']}", *FLAGS, f"--compare={other}"]) == 0
    told = capsys.readouterr().out
    assert {"gan", "vae"} <= set(told.split())
    assert (trained["gan"] / "evaluation" / "comparison.html").exists()
    assert evaluate.main([f"--list={trained['gan'].parent}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [any(line.startswith(family) for line in lines) for family in trained] == [True] * 3


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--workdir=nowhere"], "nowhere"),
        (["--workdir={gan}", "--compare=nowhere"], "nowhere"),
        (["--workdir={gan}", "--features=nowhere:f"], "nowhere"),
        (["--workdir={gan}", "--inception_weights=nowhere.pth"], "nowhere.pth"),
        (["--workdir={gan}", "--features=a:b", "--inception_weights=c"], "give one of them"),
        (["--workdir={gan}", "--step=77"], "77"),
        (["--workdir={gan}", "--seed=-1"], "--seed=-1: must be from 0 to 2**32 - 1"),
    ],
)
def test_bad_input_is_named_before_any_work(trained, flags, said, capsys):
    words = [flag.format(**trained) for flag in flags]
    assert evaluate.main([*words, *FLAGS]) == 2
    error = capsys.readouterr().err
    assert error.splitlines()[-1].startswith("error: ")
    assert said in error


def test_results_are_written_as_they_come(trained, monkeypatch):
    def stop(found):
        raise KeyboardInterrupt

    one = lambda found: found.metrics.update(one=results.Metric(1.0, 1, "counted"))
    monkeypatch.setattr(plan, "tasks", lambda *_: [("one", one), ("two", stop), ("three", one)])
    with pytest.raises(KeyboardInterrupt):
        evaluate.main([f"--workdir={trained['gan']}", *FLAGS])
    content = results.read(trained["gan"])
    assert list(content["metrics"]) == ["one"]
    assert content["remaining"] == ["two", "three"]


@pytest.fixture
def asked(trained, monkeypatch):
    """(flags) -> whether --compare measures the GAN's run anew under them."""
    content = measured(trained["gan"])
    path, made = trained["gan"] / "evaluation" / "metrics.json", []
    monkeypatch.setattr(evaluate, "evaluate", lambda *_: made.append(True))

    def again(*flags, **changes):
        path.write_text(json.dumps(content | changes))
        made.clear()
        words = [f"--workdir={trained['vae']}", *FLAGS, *flags]
        evaluate.evaluated(trained["gan"], evaluate.parse(words))
        return bool(made)

    return again


def test_only_what_was_measured_alike_is_used_again(asked, tmp_path, monkeypatch):
    module = tmp_path / "my_other_features.py"
    module.write_text("def f(images):\n    return images.reshape(len(images), -1)\n")
    monkeypatch.syspath_prepend(tmp_path)
    weights = tmp_path / "weights.pth"
    weights.write_bytes(b"1")
    assert not asked()
    assert not asked("--step=4")  # which is the other run's
    for flag in (
        *("--noema", "--samples=119", "--iw_samples=5", "--seed=1"),
        *("--features=my_other_features:f", f"--inception_weights={weights}"),
    ):
        assert asked(flag), flag
    assert asked(protocol={})
    assert asked(remaining=["cost"])
    assert asked(protocol={"version": 1})  # of an earlier meaning of the numbers


def test_a_damaged_run_is_left_out_of_a_comparison(trained, tmp_path, capsys, monkeypatch):
    (tmp_path / "other").mkdir()
    for name in ("config.json", "checkpoints"):
        (tmp_path / "other" / name).symlink_to(trained["vae"] / name)
    whole = evaluate.evaluate

    def fails(workdir, flags):
        if workdir.name == "other":
            raise ValueError("no checkpoint could be restored")
        return whole(workdir, flags)

    monkeypatch.setattr(evaluate, "evaluate", fails)
    tasks = [("one", lambda found: found.metrics.update(one=results.Metric(1.0, 1, "counted")))]
    monkeypatch.setattr(plan, "tasks", lambda *_: tasks)
    words = [f"--workdir={trained['gan']}", "--compare", str(tmp_path / "other")]
    assert evaluate.main(words) == 2
    told = capsys.readouterr()
    assert "left out, no checkpoint could be restored" in told.err
    assert "counted" in (trained["gan"] / "evaluation" / "report.html").read_text()
    assert "one" in told.out
