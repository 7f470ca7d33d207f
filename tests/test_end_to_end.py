"""Two processes timed from start to loss: equal work, and the time of the right row."""

import json

import jax
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="requirements-bench.txt has PyTorch")

from aigc_jax import build, config, core  # noqa: E402
from benchmarks.sections import growth  # noqa: E402
from benchmarks.speed import end_to_end  # noqa: E402
from benchmarks.speed.twins import script, vae  # noqa: E402

ELBOS = [("train", -1.0), ("test", -120.0), ("test", -104.0), ("test", -90.0)]
ROWS = [{"step": i, "split": split, "elbo": elbo} for i, (split, elbo) in enumerate(ELBOS)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The script's folder after 60 steps on digits."""
    root = tmp_path_factory.mktemp("script")
    flags = end_to_end.parse(["--data=digits", "--steps=60", "--eval_every=20"])
    words = end_to_end.words(flags, 0, "eager", root / "0" / "eager")
    end_to_end.prepare(flags, root / "arrays")
    threads = torch.get_num_threads()
    script.train(script.parse(words[2:]))
    torch.set_num_threads(threads)
    return root / "0" / "eager"


def test_the_script_learns_and_writes_what_train_does(finished):
    rows = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert [(row["step"], row["split"]) for row in rows][::2] == [
        (s, "train") for s in (20, 40, 60)
    ]
    elbos = [row["elbo"] for row in rows if row["split"] == "test"]
    assert len(elbos) == 3
    assert elbos[0] < elbos[-1] < 0
    assert len(list(finished.glob("samples_*.png"))) == 3
    assert len(list(finished.glob("reconstructions_*.png"))) == 3
    assert (finished / "last.pt").exists()


def test_both_sides_have_as_many_parameters_and_as_much_to_do():
    flags = end_to_end.parse(["--data=digits"])
    given = [(k, str(v)) for k, v in end_to_end.overrides(flags, 3).items()]
    ours = build.configured(config.load(end_to_end.CONFIG), given)
    words = end_to_end.words(flags, 3, "eager", end_to_end.report.ROOT)
    theirs = script.parse(words[2:])
    assert ours["steps"] == theirs.steps
    assert ours["batch_size"] == theirs.batch
    assert ours["eval_every"] == theirs.eval_every
    assert ours["seed"] == theirs.seed == 3
    assert ours["optimizer"]["model"]["learning_rate"] == theirs.rate
    assert ours["optimizer"]["model"]["learning_rate_schedule"] == "constant"
    run = build.run(ours, build.describe_data(ours))
    shapes = core.shapes_of(run.algorithm).params
    count = sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
    assert count == sum(p.numel() for p in vae.Mlp().parameters())


def test_an_epoch_has_every_example_once():
    drawn = script.batches(10, 4, torch.device("cpu"))
    epochs = torch.cat([next(drawn) for _ in range(5)]).reshape(2, 10)
    assert (epochs.sort(1).values == torch.arange(10)).all()


def test_weights_start_with_the_variance_of_flax():
    model = vae.Mlp()
    script.initialise(model)
    first = model.encode[1]
    assert first.weight.std().item() == pytest.approx(784**-0.5, rel=0.01)
    assert first.weight.abs().max() <= 2 * 784**-0.5 / script.CUT
    assert not first.bias.any()


def test_the_first_evaluation_at_the_target_counts():
    assert end_to_end.reached(ROWS, 105.0)["step"] == 2
    assert end_to_end.reached(ROWS, 104.0)["step"] == 2
    with pytest.raises(ValueError, match="not reached, the best was 90.00"):
        end_to_end.reached(ROWS, 80.0)


def test_the_row_holds_ratios_of_equal_states():
    seconds = {"ours_cold": 10.0, "ours_cached": 8.0, "eager": 16.0, "compiled_cold": 40.0}
    seconds["compiled_cached"] = 20.0
    rounds = [{name: (value * k, 500) for name, value in seconds.items()} for k in (1, 2, 3)]
    row = end_to_end.row_of(end_to_end.parse([]), rounds)
    assert row["vs_eager_cold"] == row["vs_eager_cold_low"] == 1.6
    assert row["vs_eager_cached"] == 2.0
    assert row["vs_compiled_cold"] == 4.0
    assert row["vs_compiled_cached"] == 2.5
    assert row["seconds"]["eager"] == [16.0, 32.0, 48.0]


def test_a_measurement_is_recorded_and_printed(tmp_path, monkeypatch, capsys):
    taken = {name: (10.0 + i, 500) for i, name in enumerate(end_to_end.VARIANTS)}
    monkeypatch.setattr(end_to_end, "one_round", lambda *_: taken)
    monkeypatch.setattr(end_to_end, "prepare", lambda *_: None)
    monkeypatch.setattr(end_to_end.report, "RESULTS", tmp_path)
    assert end_to_end.main(["--rounds=2"]) == 0
    (row,) = map(json.loads, (tmp_path / "end_to_end.jsonl").read_text().splitlines())
    assert row["seconds"]["ours_cold"] == [10.0, 10.0]
    assert row["vs_eager_cold"] == 1.2
    assert "| ours_cold | 10.0 | 10.0 |" in capsys.readouterr().out
    assert "`train.py`, empty compilation cache | 10.0, 10.0" in growth.end_to_end([row])


def test_a_failed_process_is_told_with_its_output(tmp_path):
    command = ["-c", "raise SystemExit('nothing like it')"]
    with pytest.raises(ValueError, match="nothing like it"):
        end_to_end.timed(command, {}, tmp_path / "run", 100.0)
