"""What only shows samples never costs a run its checkpoint, and shows nothing of steps undone."""

import jax.numpy as jnp
import pytest
import tiny_runs

from aigc_jax import build, checkpoint, loop, samples, showing
from aigc_jax.log import Log

PLAN = {"steps": 4, "eval_every": 2, "save_every": 2, "log_every": 2, "num_samples": 2}
DATA = {"data": {"name": "tiny_runs:images"}, "mesh": {"data": 1}, "batch_size": 16}


def config(**algorithm):
    raw = tiny_runs.VAE | PLAN | DATA
    return build.complete(raw | {"algorithm": raw["algorithm"] | algorithm})


def test_a_failing_picture_is_said_once_and_costs_nothing(tmp_path, capsys, monkeypatch):
    def fail(*args, **options):
        raise RuntimeError("no such luck")

    monkeypatch.setattr(samples, "sampler", lambda *args, **options: fail)
    assert int(loop.train(config(), tmp_path).step) == 4
    assert checkpoint.steps(tmp_path) == [2, 4]
    said = capsys.readouterr().out
    assert said.count("warning: samples: no such luck; the run goes on") == 1


def test_a_step_is_saved_before_it_is_shown(tmp_path, monkeypatch):
    whole = loop.compile_run

    def killed(state, step, log):
        raise KeyboardInterrupt

    compiled = lambda *args: whole(*args)._replace(show=killed)
    monkeypatch.setattr(loop, "compile_run", compiled)
    with pytest.raises(KeyboardInterrupt):
        loop.train(config(), tmp_path)
    assert checkpoint.steps(tmp_path)[-1] == 2


def test_a_run_that_goes_back_shows_nothing_later(tmp_path):
    kept = ("samples/step_0000004.png", "samples/step_0000009.md", "samples/9.png", "step_9.png")
    gone = ("samples/step_0000005.txt", "samples/step_0000005.json")
    gone += ("reconstructions/step_12345678.png",)
    for name in (*kept, *gone):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with Log(tmp_path, 10, 4) as log:
        showing.cut_back(log, 4)
    there = {str(p.relative_to(tmp_path)) for p in tmp_path.glob("*/step_*")}
    there |= {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*9.png")}
    assert there == set(kept)


def misshapen(state, keys, cond):
    return {"image": jnp.zeros((len(keys), 8, 8))}


def failing(state, keys, cond):
    raise TypeError("no samples\nat all")


@pytest.mark.parametrize(
    ("sample", "said"),
    [(misshapen, r"gives \{'image': \(2, 8, 8\)\}; accepted are"), (failing, "TypeError: no samp")],
)
def test_a_sampler_of_ones_own_that_cannot_work_is_found_before_training(sample, said):
    run = tiny_runs.run_of(tiny_runs.AUTOENCODER, num_samples=2)
    samples.check(run)
    broken = run._replace(algorithm=run.algorithm._replace(sample=sample))
    with pytest.raises(ValueError, match=f"config.algorithm = .*tiny_runs:make.*{said}") as raised:
        samples.check(broken)
    assert "\n" not in str(raised.value)
