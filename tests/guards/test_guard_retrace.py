"""Every compiled call is traced once, whatever else a run does in between."""

import collections
import functools

import pytest
import tiny_runs

from aigc_jax import build, loop, samples


def counted(algorithm, traces):
    """The algorithm, which notes in `traces` how often each of its functions runs in Python."""

    def noted(name, function):
        @functools.wraps(function)  # the sampler's options are read from its signature
        def call(*args, **options):
            traces[name] += 1
            return function(*args, **options)

        return call

    heads = {name: noted(name, head) for name, head in algorithm.heads.items()}
    names = ("step", "eval", "sample")
    calls = {name: noted(name, getattr(algorithm, name)) for name in names}
    return algorithm._replace(heads=heads, **calls)


@pytest.fixture
def traces(monkeypatch):
    """How often each function of the algorithms that are built from now on was traced."""
    found, make = collections.Counter(), build.run

    def counted_run(*args):
        run = make(*args)
        return run._replace(algorithm=counted(run.algorithm, found))

    monkeypatch.setattr(build, "run", counted_run)
    return found


@pytest.mark.parametrize("per_call", [1, 2])
@pytest.mark.parametrize("family", tiny_runs.EVERY)
def test_a_run_with_evaluations_samples_and_checkpoints_traces_its_calls_once(
    family, per_call, tmp_path, traces
):
    words = {"name": "tiny_runs:words" if family == "attention" else "tiny_runs:images"}
    plan = {"steps": 12, "eval_every": 4, "save_every": 6, "log_every": 2, "num_samples": 4}
    raw = tiny_runs.EVERY[family] | {"data": words, "batch_size": 16, "steps_per_call": per_call}
    state = loop.train(build.complete(raw | plan | {"mesh": {"data": 1}}), tmp_path)
    assert int(state.step) == 12
    assert len({path.stem for path in (tmp_path / "samples").iterdir()}) == 3
    assert set(traces) >= {"step", "eval", "sample"}
    own = ":" in str(raw["algorithm"])  # then the sampler is tried before any work
    assert set((traces - collections.Counter({"sample": own})).values()) == {1}


@pytest.mark.parametrize("family", tiny_runs.FAMILIES)
def test_a_sampler_is_traced_once_for_any_number_of_samples_and_any_state(family, traces):
    session = tiny_runs.Session(tiny_runs.FAMILIES[family])
    algorithm, info = session.run.algorithm, session.run.info
    draw = samples.sampler(algorithm, 0, {}, batch_size=4)
    for num in (4, 6, 3):
        cond = samples.unprompted(algorithm, info, session.data.tokenizer, num)
        drawn = draw(session.state, num, cond)
        assert {len(values) for values in drawn.values()} == {num}
        session.train(1)
    assert traces["sample"] == traces["step"] == 1


def test_a_call_that_is_traced_twice_is_noticed(traces):
    session = tiny_runs.Session(tiny_runs.VAE)
    for num in (2, 3):  # each `draw` is a sampler of its own
        samples.draw(session.run.algorithm, session.state, 0, num, {}, {})
    assert traces["sample"] == 2
