"""The mode "pmap": data-parallel steps that equal those under jit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_runs

from aigc_jax import build, checkpoint, core, parallel, samples, start
from aigc_jax.guard import guarded

DATA = {"data": 8}


@pytest.mark.parametrize("family", ["attention", "autoencoder"])
def test_it_equals_jit_on_a_step_without_noise(family):
    results = []
    for mode in ("jit", "pmap"):
        session = tiny_runs.Session(tiny_runs.EVERY[family], DATA, parallel=mode)
        metrics = session.train(3)
        results.append((jax.device_get(session.state), metrics, session.evaluate()))
    (expected, metrics, values), (found, other_metrics, other_values) = results
    assert tiny_runs.largest_difference(found.params, expected.params) < 1e-5
    # Statistics of batch normalisation are those of the global batch only with its axis name.
    assert tiny_runs.largest_difference(found.mutable, expected.mutable) < 1e-5
    for name in ("loss", "grad_norm"):
        np.testing.assert_allclose(other_metrics[name], metrics[name], rtol=1e-4)
    assert tiny_runs.largest_difference(other_values, values) < 1e-4


@pytest.mark.parametrize("family", tiny_runs.FAMILIES)
def test_every_family_trains_evaluates_samples_and_is_stored(family, tmp_path):
    changes = dict(parallel="pmap", ema_decay=0.9, accumulate=2 if family == "attention" else 1)
    session = tiny_runs.Session(tiny_runs.FAMILIES[family], DATA, **changes)
    first = jax.device_get(session.state.params)
    metrics = session.train(3)
    assert all(np.isfinite(values).all() for values in metrics.values())
    assert tiny_runs.largest_difference(first, session.state.params) > 1e-4
    for leaf in jax.tree.leaves(session.state):
        copies = [np.asarray(shard.data) for shard in leaf.addressable_shards]
        assert all(copy.shape == leaf.shape for copy in copies)
        assert all((copy == copies[0]).all() for copy in copies)
    assert np.isfinite(list(session.evaluate().values())).all()
    drawn = samples.draw(session.run.algorithm, session.state, 0, 3, {}, options(family))
    assert all(len(values) == 3 and np.isfinite(values).all() for values in drawn.values())
    with checkpoint.Writer(tmp_path, 1, "", "min") as writer:
        writer.save(session.state, {}, {})
    restored = start.restore(session.run, tmp_path, session.mesh)
    assert tiny_runs.largest_difference(restored, session.state) == 0
    session.state = restored
    assert np.isfinite(session.train(1).popitem()[1]).all()


def options(family):
    return {"max_tokens": 2} if family == "attention" else {}


def noisy(key):
    """An algorithm that remembers the noise of its last step."""

    def init(key):
        return core.new_state({}, {}, extra={"noise": jnp.zeros(())})

    def step(state, batch, key):
        noise = jax.random.normal(key)
        return state.replace(extra={"noise": noise}), {"noise": noise}

    return core.Algorithm(init, step, None, None)


def compiled_step(algorithm, mode, steps=1):
    mesh = parallel.make_mesh({"data": 8, "fsdp": 1, "tensor": 1})
    steps = parallel.many_steps(algorithm, lambda key, raw: raw, lambda arrays, x: x, steps)
    shapes = jax.eval_shape(algorithm.init, jax.random.key(0))
    shardings = parallel.state_shardings(shapes, mesh)
    state = parallel.compile_init(algorithm, shardings)(jax.random.key(0))
    return parallel.compile_step(steps, mesh, shardings, mode), state


def test_every_device_draws_noise_of_its_own():
    step, state = compiled_step(guarded(noisy(None), "data"), "pmap")
    run_key = jax.random.key(3)
    drawn = []
    for device in range(8):
        at_step = jax.random.fold_in(jax.random.fold_in(run_key, device), 0)
        drawn.append(float(jax.random.normal(jax.random.split(at_step)[1])))
    state, metrics, _ = step(state, {}, {"x": np.zeros((1, 8))}, run_key)
    assert len(set(drawn)) == 8
    # What is logged and remembered is the mean over the devices.
    np.testing.assert_allclose(metrics["noise"], [np.mean(drawn)], rtol=1e-5)
    np.testing.assert_allclose(state.extra["noise"], np.mean(drawn), rtol=1e-5)


def test_what_is_not_finite_on_any_device_is_noticed():
    def step(state, batch, key):
        return state, {"value": jnp.log(batch["x"].sum())}

    made = core.Algorithm(lambda key: core.new_state({}, {}), step, None, None)
    algorithm = guarded(made, "data")
    compiled, state = compiled_step(algorithm, "pmap")
    fine = np.ones((1, 8), np.float32)
    broken = np.where(np.arange(8) == 5, -1.0, fine).astype(np.float32)
    for x in (fine, broken, fine):
        state, _, guard = compiled(state, {}, {"x": x}, jax.random.key(0))
    assert int(guard["step"]) == 2
    assert int(state.guard["step"]) == 2


def test_several_steps_in_one_call():
    found = []
    for per_call in (1, 2):
        changes = dict(parallel="pmap", steps_per_call=per_call)
        session = tiny_runs.Session(tiny_runs.AUTOENCODER, DATA, **changes)
        session.train(2 // per_call)
        found.append(jax.device_get(session.state.params))
    assert tiny_runs.largest_difference(*found) < 1e-5


def test_only_a_data_mesh_is_accepted():
    with pytest.raises(ValueError, match=r"config\.parallel = 'pmap': mesh .*may only have data"):
        tiny_runs.Session(tiny_runs.VAE, {"data": 2, "fsdp": 4}, parallel="pmap")


def test_a_value_that_is_no_mean_over_examples_is_refused():
    raw = {**tiny_runs.VAE, "algorithm": {**tiny_runs.VAE["algorithm"], "free_bits": 0.5}}
    with pytest.raises(ValueError, match="free_bits"):
        build.run(build.complete({"batch_size": 16, **raw, "parallel": "pmap"}), tiny_runs.IMAGES)
