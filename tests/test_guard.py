"""A step that is not finite leaves no trace but its count."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny_runs

from aigc_jax import build, core, optim
from aigc_jax.guard import as_numbers, guarded, nonfinite_part

STEP = jax.random.key(1)


def breaking(bad_steps, name):
    """An algorithm whose `name` is NaN at some steps, counted from 1; others add 1 to all."""

    def init(key):
        params = {"net": {"w": jnp.zeros(2)}}
        return core.new_state(params, {"count": jnp.int32(0)}, {"net": {"mean": jnp.zeros(())}})

    def step(state, batch, key):
        bad = jnp.isin(state.step + 1, jnp.array(bad_steps))
        broken = lambda part: jnp.where(bad & (name == part), jnp.nan, 0.0)
        new = jax.tree.map(lambda x: x + 1, (state.params, state.opt_state, state.mutable))
        params, opt_state, mutable = new
        state = state.replace(params=params, opt_state=opt_state, mutable=mutable)
        return state, {"a": broken("a"), "loss": broken("loss"), "z": broken("loss")}

    return core.Algorithm(init, step, None, None)


def stepped(algorithm, count):
    """The state and the guard as numbers after each of `count` steps."""
    step = jax.jit(core.advance(algorithm, lambda key, raw: raw))
    state, seen = jax.jit(algorithm.init)(jax.random.key(0)), []
    for _ in range(count):
        state, metrics = step(state, {}, STEP)
        seen.append(as_numbers(state.guard, state, metrics))
    return state, seen


@pytest.mark.parametrize(
    ("name", "reported"),
    [("loss", "metric loss"), ("a", "metric a")],
)
def test_bad_steps_are_skipped_counted_and_named(name, reported):
    state, seen = stepped(guarded(breaking([3, 4, 6], name)), 7)
    assert [s["skipped"] for s in seen] == [0, 0, 1, 2, 2, 3, 3]
    assert [s["in_a_row"] for s in seen] == [0, 0, 1, 2, 0, 1, 0]
    assert [s["step"] for s in seen] == [-1, -1, 3, 3, 3, 6, 6]
    assert [s["name"] for s in seen] == [""] * 2 + [reported] * 5
    assert int(state.step) == int(state.cursor) == 7
    # Four good steps: everything else is as if the others had not been.
    assert float(state.params["net"]["w"][0]) == 4
    assert int(state.opt_state["count"]) == float(state.mutable["net"]["mean"]) == 4


def test_after_a_streak_every_step_is_skipped_until_someone_looks():
    state, seen = stepped(guarded(breaking([3, 4, 6], "loss"), most=2), 7)
    assert [s["in_a_row"] for s in seen] == [0, 0, 1, 2, 3, 4, 5]
    assert {s["step"] for s in seen[2:]} == {3}
    assert float(state.params["net"]["w"][0]) == 2


@pytest.mark.parametrize("family", tiny_runs.FAMILIES)
def test_good_steps_are_what_they_are_without_a_guard(family, monkeypatch):
    """Their optimisers, averages and statistics included."""
    found = []
    for wrap in (guarded, lambda made, axis_name, most: made):
        monkeypatch.setattr(build, "guarded", wrap)
        run = tiny_runs.run_of(tiny_runs.FAMILIES[family], ema_decay=0.9)
        examples = tiny_runs.dataset(run.info).train.arrays
        count = 16 * run.algorithm.batches_per_step
        batch = run.normalise(None, {name: x[:count] for name, x in examples.items()})
        state, step = jax.jit(run.algorithm.init)(jax.random.key(0)), jax.jit(run.algorithm.step)
        for i in range(3):
            state, _ = step(state, batch, jax.random.key(i))
        found.append(state.replace(guard={}))
        assert nonfinite_part(state) == ""
    assert tiny_runs.largest_difference(*found) < 1e-6


def test_learning_rates_are_scaled_and_nothing_else():
    """Of Adam, whose step does not depend on the size of the gradient: by the scale itself."""
    tx = optim.make(name="adam", learning_rate=0.1, weight_decay=0.0)
    loss = lambda params, *args: (jnp.sum(params["net"] ** 2), ({}, {}))
    made = core.from_loss(loss, {"net": None}, {"model": tx}, eval=None, sample=None)
    params = {"net": jnp.array([1.0, -2.0])}

    def init(key):
        return core.new_state(params, {"model": tx.init(params)})

    algorithm = guarded(made._replace(init=init))
    batch, moved = {"x": jnp.zeros(1)}, {}
    for scale in (1.0, 0.25):
        state = algorithm.init(jax.random.key(0))
        state = state.replace(guard=state.guard | {"lr_scale": jnp.float32(scale)})
        new, _ = jax.jit(algorithm.step)(state, batch, STEP)
        moved[scale] = new.params["net"] - params["net"]
    np.testing.assert_allclose(moved[1.0], [-0.1, 0.1], rtol=1e-4)
    np.testing.assert_allclose(moved[0.25], 0.25 * moved[1.0], rtol=1e-5)


def test_a_scale_of_one_changes_no_bit():
    drawn = np.random.default_rng(0).standard_normal(1000)
    updates = {"a": jnp.float32(drawn), "b": jnp.bfloat16(3)}
    tx = optim.watched(optax.identity())
    new, _ = tx.update(updates, tx.init(updates))
    chex.assert_trees_all_equal(new, updates, strict=True)


def test_every_optimiser_that_was_made_here_is_primed_and_asked():
    tx = optim.frozen(optim.make(name="adamw", clip_norm=1.0), ("b",))
    params = {"a": jnp.ones(2), "b": jnp.ones(2)}
    state = {"model": tx.init(params), "other": optax.sgd(0.1).init(1.0)}
    ready = optim.primed(state, jnp.float32(0.5))
    assert jax.tree.structure(ready) == jax.tree.structure(state)
    bad = {"a": jnp.array([1.0, jnp.nan]), "b": jnp.ones(2)}
    for grads, finite in ((params, True), (bad, False), (params, False)):
        _, after = tx.update(grads, ready["model"], params)
        ready["model"] = after
        assert [bool(x) for x in optim.finite_gradients(ready).values()] == [finite]
    again = optim.primed(ready, jnp.float32(0.25))
    assert [bool(x) for x in optim.finite_gradients(again).values()] == [True]


def test_a_frozen_parameter_may_have_any_gradient():
    tx = optim.frozen(optim.make(name="sgd"), ("b",))
    params = {"a": jnp.ones(2), "b": jnp.ones(2)}
    _, state = tx.update({"a": jnp.ones(2), "b": jnp.full(2, jnp.nan)}, tx.init(params), params)
    assert all(optim.finite_gradients({"model": state}).values())


@pytest.mark.parametrize("field", ["params", "opt_state", "mutable", "extra"])
def test_a_state_that_may_not_be_saved_is_named(field):
    state = stepped(guarded(breaking([], "loss")), 1)[0].replace(extra={"ada": jnp.zeros(2)})
    assert nonfinite_part(state) == ""
    broken = state.replace(**{field: {"part": jnp.array([1.0, jnp.inf])}})
    assert nonfinite_part(broken) == f"{field}/part"


def algorithm_without_metrics(tx, loss, network):
    """The same, of a user who tells nothing."""
    made = core.from_loss(loss, network, {"model": tx}, eval=None, sample=None)
    return guarded(made._replace(step=lambda *args: (made.step(*args)[0], {})))


def test_a_gradient_that_is_not_finite_is_noticed_where_the_loss_is_fine():
    """The square root of 0 w is 0, and its slope in w is 0 / 0."""
    tx = optim.make(name="sgd")
    loss = lambda params, mutable, batch, *args: (
        jnp.sqrt(batch["x"].sum() * params["net"]["w"]),
        ({}, mutable),
    )
    network = {"net": lambda key: {"params": {"w": jnp.float32(4)}}}
    algorithm = guarded(core.from_loss(loss, network, {"model": tx}, eval=None, sample=None))
    state = algorithm.init(jax.random.key(0))
    new, metrics = jax.jit(algorithm.step)(state, {"x": jnp.zeros(2)}, STEP)
    assert float(metrics["loss"]) == 0
    assert as_numbers(new.guard, new, metrics)["name"] == "metric grad_norm"
    silent = algorithm_without_metrics(tx, loss, network)
    new, metrics = jax.jit(silent.step)(state, {"x": jnp.zeros(2)}, STEP)
    assert as_numbers(new.guard, new, metrics)["name"] == "gradient of model"
    assert float(new.params["net"]["w"]) == 4
    new, _ = jax.jit(algorithm.step)(new, {"x": jnp.ones(2)}, STEP)
    assert float(new.params["net"]["w"]) < 4
