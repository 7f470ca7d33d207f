"""What only shows samples never costs a run its checkpoint, and shows nothing of steps undone."""

import jax.numpy as jnp
import pytest
import tiny_runs

from aigc_jax import build, checkpoint, loop, samples, showing
from aigc_jax.log import Log

PLAN = {"steps": 8, "eval_every": 2, "save_every": 2, "log_every": 2, "num_samples": 2}
DATA = {"data": {"name": "tiny_runs:images"}, "mesh": {"data": 1}, "batch_size": 16}


def test_failing_pictures_are_said_once_and_a_step_is_saved_before_it_is_shown(
    tmp_path, capsys, monkeypatch
):
    errors = iter((RuntimeError("no luck"), RuntimeError("none"), KeyboardInterrupt()))

    def fail(*args, **options):
        raise next(errors)

    monkeypatch.setattr(samples, "sampler", lambda *args, **options: fail)
    raw = tiny_runs.VAE | PLAN | DATA
    with pytest.raises(KeyboardInterrupt):
        loop.train(build.complete(raw), tmp_path)
    assert checkpoint.steps(tmp_path)[-1] == 6
    assert capsys.readouterr().out.count("warning: samples: no luck; the run goes on") == 1


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


SAID = {
    misshapen: r"gives \{'image': \(2, 8, 8\)\}; accepted are",
    failing: "TypeError: no samp",
    lambda state, keys, cond: jnp.zeros((len(keys), 8, 8, 1)): "gives no dict",
    lambda state, keys, cond: {"image": {"mean": jnp.zeros(2)}}: r"gives \{'image': \(\)\}",
}


@pytest.mark.parametrize(("sample", "said"), SAID.items())
def test_a_sampler_of_ones_own_that_cannot_work_is_found_before_training(sample, said):
    run = tiny_runs.run_of(tiny_runs.AUTOENCODER, num_samples=2)
    samples.check(run)
    broken = run._replace(algorithm=run.algorithm._replace(sample=sample))
    with pytest.raises(ValueError, match=f"config.algorithm = .*tiny_runs:make.*{said}") as raised:
        samples.check(broken)
    assert "\n" not in str(raised.value)


def test_a_sampler_is_tried_with_what_it_will_get():
    """Nothing where it has no conditions; a prompt comes with its length."""
    run, got = tiny_runs.run_of(tiny_runs.AUTOENCODER, num_samples=2), []

    def sample(state, keys, cond):
        got.append({name: value.shape for name, value in cond.items()})
        return {"image": jnp.zeros((len(keys), 8, 8, 1))}

    for conditions in ((), ("label",), ("prompt",)):
        tried = run.algorithm._replace(sample=sample, conditions=conditions)
        samples.check(run._replace(algorithm=tried))
    assert got == [{}, {"label": (2,)}, {"prompt": (2, 1), "prompt_length": (2,)}]


def test_texts_have_no_pictures_of_reconstructions():
    run, data = tiny_runs.run_of(tiny_runs.ATTENTION), tiny_runs.dataset(tiny_runs.TEXT)
    heads = {"reconstruct": lambda state, batch, key: batch}
    run = run._replace(algorithm=run.algorithm._replace(heads=heads))
    assert showing.reconstructor(run, data, None) is None
