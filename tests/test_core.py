"""The core's promises, on a two-layer network small enough to compile in no time."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aigc_jax import core, seeds
from aigc_jax.guard import guarded


class Net(nn.Module):
    """Dense, maybe BatchNorm, Dense; with a counter that is an integer statistic."""

    norm: bool = False
    counts: bool = False

    @nn.compact
    def __call__(self, x, train):
        x = jnp.tanh(nn.Dense(8)(x))
        if self.norm:
            x = nn.BatchNorm(use_running_average=not train, momentum=0.5)(x)
        if self.counts:
            calls = self.variable("counter", "calls", lambda: jnp.zeros((), jnp.int32))
            calls.value = calls.value + train
        return nn.Dense(3)(x)


def regression(net, tx, accumulate=1):
    """Noisy inputs -> squared error, so that the order of the noise matters."""
    blank = jnp.zeros((1, 4))

    def loss(params, mutable, batch, keys, step):
        variables = {"params": params["net"], **mutable.get("net", {})}
        x = batch["x"] + core.normal(keys, (4,))
        out, new = net.apply(variables, x, True, mutable=list(mutable.get("net", {})))
        value = jnp.mean((out - batch["y"]) ** 2)
        return value, ({"mean_x": x.mean()}, {"net": new} if new else {})

    def evaluate(state, batch, key):
        out = sample(state, core.example_keys(key, batch["x"].shape[0]), batch)["y"]
        return {"error": ((out - batch["y"]) ** 2).mean(-1)}

    def sample(state, keys, cond):
        variables = {"params": state.params["net"], **state.mutable.get("net", {})}
        return {"y": net.apply(variables, core.normal(keys, (4,)), False)}

    init = {"net": lambda key: net.init(key, blank, False)}
    return core.from_loss(
        loss, init, {"model": tx}, eval=evaluate, sample=sample, accumulate=accumulate
    )


@pytest.fixture(scope="module")
def batch():
    draw = np.random.default_rng(0).standard_normal
    return {"x": jnp.float32(draw((8, 4))), "y": jnp.float32(draw((8, 3)))}


def largest_difference(a, b):
    return max(jax.tree.leaves(jax.tree.map(lambda x, y: float(jnp.abs(x - y).max()), a, b)))


def assert_same_bits(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("accumulate", [2, 4])
def test_accumulation_equals_the_full_batch(batch, accumulate):
    key, tx = jax.random.key(1), optax.sgd(0.5)
    whole, pieces = (regression(Net(), tx, k) for k in (1, accumulate))
    state = jax.jit(whole.init)(jax.random.key(0))
    expected, expected_metrics = jax.jit(whole.step)(state, batch, key)
    found, metrics = jax.jit(pieces.step)(state, batch, key)
    assert largest_difference(expected.params, state.params) > 1e-2
    assert largest_difference(found.params, expected.params) < 1e-5
    assert largest_difference(metrics, expected_metrics) < 1e-5


def test_microbatches_are_strided():
    def loss(params, mutable, batch, keys):
        seen = jnp.roll(mutable, -1, 0).at[-1].set(batch["x"])
        return params * batch["x"].mean(), ({}, seen)

    compute = core.value_and_grad(loss, accumulate=4)
    seen = jnp.zeros((4, 2))
    (_, _, seen), _ = compute(jnp.float32(1), seen, {"x": jnp.arange(8.0)}, jax.random.key(0))
    np.testing.assert_array_equal(seen, [[0, 4], [1, 5], [2, 6], [3, 7]])


def test_statistics_pass_through_every_microbatch(batch):
    whole, pieces = (regression(Net(counts=True), optax.sgd(0.1), k) for k in (1, 4))
    state = jax.jit(whole.init)(jax.random.key(0))
    counted = [jax.jit(a.step)(state, batch, jax.random.key(1))[0] for a in (whole, pieces)]
    assert [int(s.mutable["net"]["counter"]["calls"]) for s in counted] == [1, 4]


def test_example_keys_depend_on_their_index_alone():
    key = jax.random.key(3)
    bits = lambda n, start=0: jax.random.key_data(core.example_keys(key, n, start))
    np.testing.assert_array_equal(bits(5), bits(9)[:5])
    np.testing.assert_array_equal(bits(3, start=4), bits(9)[4:7])
    assert len(np.unique(bits(9), axis=0)) == 9
    keys = core.example_keys(key, 9)
    np.testing.assert_array_equal(core.normal(keys, (2, 3))[4:7], core.normal(keys[4:7], (2, 3)))


def test_the_streams_of_a_seed_differ():
    purposes = (core.INIT, core.STEP, core.EVAL, core.SAMPLE)
    keys = [core.stream(seed, p) for seed in (0, 1) for p in purposes]
    assert len({tuple(np.asarray(jax.random.key_data(k))) for k in keys}) == 8


def test_seeds_that_are_accepted_have_a_key_each_and_no_others():
    bits = lambda seed: tuple(np.asarray(jax.random.key_data(core.stream(seed, core.SAMPLE))))
    ends = (0, 1, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1)
    assert len({bits(seed) for seed in ends}) == len(ends)
    assert not any(seeds.fault("--seed", seed) for seed in ends)
    for seed in (-1, 2**32, 2**32 + 5, 10**300):
        assert seeds.fault(f"--seed={seed}", seed).startswith(f"--seed={seed}: must be from 0")
    assert bits(2**32 + 5) == bits(5)  # why larger ones are refused


def test_without_decay_averaged_equals_raw_bit_for_bit(batch):
    algorithm = core.with_ema(regression(Net(norm=True), optax.sgd(0.1)), 0.0, ("net",))
    state = jax.jit(algorithm.init)(jax.random.key(0))
    step, draw = jax.jit(algorithm.step), jax.jit(algorithm.sample)
    for i in range(3):
        state, _ = step(state.replace(step=jnp.int32(i)), batch, jax.random.key(i))
    mean = core.averaged(state)
    assert_same_bits(mean.params, state.params)
    assert_same_bits(mean.mutable, state.mutable)
    keys = core.example_keys(jax.random.key(5), 4)
    assert_same_bits(draw(mean, keys, {}), draw(state, keys, {}))


def test_averages_follow_their_formula(batch):
    algorithm = core.with_ema(regression(Net(), optax.sgd(0.5)), 0.3, ("net",))
    state = jax.jit(algorithm.init)(jax.random.key(0))
    expected, step = state.params["net"], jax.jit(algorithm.step)
    for i in range(5):
        state, _ = step(state.replace(step=jnp.int32(i)), batch, jax.random.key(i))
        d = min(0.3, (1 + i) / (10 + i))
        expected = jax.tree.map(lambda m, x: d * m + (1 - d) * x, expected, state.params["net"])
    assert largest_difference(state.ema["params"]["net"], expected) < 1e-6


def test_samples_of_a_batch_norm_network_use_averaged_statistics(batch):
    algorithm = core.with_ema(regression(Net(norm=True), optax.sgd(0.1)), 0.999, ("net",))
    state = jax.jit(algorithm.init)(jax.random.key(0)).replace(step=jnp.int32(10**6))
    state, _ = jax.jit(algorithm.step)(state, batch, jax.random.key(1))
    mean = core.averaged(state)
    assert_same_bits(mean.mutable, state.ema["mutable"])
    assert largest_difference(mean.mutable, state.mutable) > 1e-2
    keys = core.example_keys(jax.random.key(5), 4)
    raw_statistics = mean.replace(mutable=state.mutable)
    with_mean, with_raw = (algorithm.sample(s, keys, {})["y"] for s in (mean, raw_statistics))
    assert largest_difference(with_mean, with_raw) > 1e-3


def test_integer_statistics_are_not_averaged(batch):
    algorithm = core.with_ema(regression(Net(counts=True), optax.sgd(0.1)), 0.999, ("net",))
    state = jax.jit(algorithm.init)(jax.random.key(0))
    for i in range(2):
        state, _ = algorithm.step(state, batch, jax.random.key(i))
    assert jax.tree.leaves(state.ema["mutable"]) == []
    assert int(core.averaged(state).mutable["net"]["counter"]["calls"]) == 2


def test_networks_that_are_not_averaged_stay_raw():
    state = core.new_state({"a": jnp.ones(2), "b": jnp.ones(2)}, {})
    state = state.replace(ema={"params": {"a": jnp.zeros(2)}, "mutable": {}})
    mean = core.averaged(state)
    assert float(mean.params["a"].sum()) == 0
    assert float(mean.params["b"].sum()) == 2


def test_a_state_with_averages_can_be_donated(batch):
    algorithm = regression(Net(norm=True), optax.adam(1e-2))
    algorithm = guarded(core.with_ema(algorithm, 0.9, ("net",)))
    state = jax.jit(algorithm.init)(jax.random.key(0))
    step = jax.jit(algorithm.step, donate_argnums=0)
    for i in range(2):
        state, metrics = step(state, batch, jax.random.key(i))
    assert np.isfinite(metrics["loss"])


def test_advance_counts_and_gives_every_step_its_own_keys():
    def step(state, batch, key):
        return state, {"noise": jax.random.normal(key), "prepared": batch["prepared"]}

    algorithm = core.Algorithm(lambda key: core.new_state({}, {}), step, None, None)
    algorithm = algorithm._replace(batches_per_step=3)
    prepare = lambda key, raw: {"prepared": jax.random.normal(key)}
    advanced = jax.jit(core.advance(algorithm, prepare))
    state, drawn = jax.jit(algorithm.init)(jax.random.key(0)), []
    for _ in range(3):
        state, metrics = advanced(state, {}, jax.random.key(7))
        drawn += [float(metrics["noise"]), float(metrics["prepared"])]
    assert (int(state.step), int(state.cursor)) == (3, 9)
    assert len(set(drawn)) == 6
    again, metrics = advanced(state.replace(step=jnp.int32(1)), {}, jax.random.key(7))
    assert [float(metrics["noise"]), float(metrics["prepared"])] == drawn[2:4]


def test_the_state_holds_arrays_only():
    state = regression(Net(), optax.adam(1e-3)).init(jax.random.key(0))
    assert all(isinstance(x, jax.Array) for x in jax.tree.leaves(state))
    names = {f.name for f in dataclasses.fields(core.State)}
    expected = {"step", "cursor", "params", "opt_state", "mutable", "ema", "extra", "guard"}
    assert names == expected
