"""A run that starts from another: what is loaded, what stays fresh, what does not fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_runs

from aigc_jax import checkpoint, core, finetune
from aigc_jax.data import tokenizers


def state_of(seed, head=3, ema=()):
    """A state of two networks, one of which has statistics with an integer among them."""
    draw = np.random.default_rng(seed).standard_normal
    params = {
        "body": {"kernel": jnp.float32(draw((4, 5))), "bias": jnp.float32(draw(5))},
        "head": {"kernel": jnp.float32(draw((5, head)))},
    }
    mutable = {"body": {"batch_stats": {"mean": jnp.float32(draw(5)), "calls": jnp.int32(seed)}}}
    state = core.new_state(params, {"model": {"mu": jnp.float32(draw(2))}}, mutable)
    state = state.replace(step=jnp.int32(seed))
    if not ema:
        return state
    algorithm = core.Algorithm(lambda key: state, None, None, None)
    return core.with_ema(algorithm, 0.9, ema).init(None)


def shifted(state, amount):
    """The state with other averages than parameters."""
    return state.replace(ema=jax.tree.map(lambda x: x + amount, state.ema))


def stored(workdir, state, tokenizer=None):
    record = {"tokenizer": tokenizer and tokenizers.to_json(tokenizer), "data": {"shapes": {}}}
    with checkpoint.Writer(workdir, 1, "", "min") as writer:
        writer.save(state, record, {})
    return str(workdir)


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_parameters_and_statistics_land_where_they_match(tmp_path):
    pretrained, fresh = state_of(1), state_of(2)
    found = finetune.start_from(fresh, stored(tmp_path, pretrained), ())
    same(found.params, pretrained.params)
    same(found.mutable, pretrained.mutable)
    # The optimiser and the counters are those of a new run.
    same(found.opt_state, fresh.opt_state)
    assert int(found.step) == 2


def test_averages_are_what_is_loaded_where_there_are_any(tmp_path):
    pretrained = shifted(state_of(1, ema=("body",)), 1.0)
    found = finetune.start_from(state_of(2), stored(tmp_path, pretrained), ())
    same(found.params["body"], pretrained.ema["params"]["body"])
    same(found.params["head"], pretrained.params["head"])
    stats, averaged = found.mutable["body"]["batch_stats"], pretrained.ema["mutable"]["body"]
    same(stats["mean"], averaged["batch_stats"]["mean"])
    assert int(stats["calls"]) == 1


def test_averages_start_anew_from_what_was_loaded(tmp_path):
    fresh = state_of(2, ema=("body", "head"))
    found = finetune.start_from(fresh, stored(tmp_path, state_of(1)), ())
    same(found.ema["params"], found.params)
    assert jax.tree.structure(found.ema) == jax.tree.structure(fresh.ema)
    same(core.averaged(found).mutable, found.mutable)
    # Not one buffer twice, which could not be donated.
    jax.jit(lambda state: jax.tree.map(lambda x: x + 1, state), donate_argnums=0)(found)


def test_patterns_say_what_is_loaded(tmp_path):
    pretrained, fresh = state_of(1), state_of(2, head=7)
    found = finetune.start_from(fresh, stored(tmp_path, pretrained), ("^body/kernel", "mean$"))
    same(found.params["body"]["kernel"], pretrained.params["body"]["kernel"])
    same(found.params["body"]["bias"], fresh.params["body"]["bias"])
    same(found.params["head"], fresh.params["head"])
    stats = found.mutable["body"]["batch_stats"]
    same(stats["mean"], pretrained.mutable["body"]["batch_stats"]["mean"])
    assert int(stats["calls"]) == 2


def test_what_does_not_fit_is_listed(tmp_path):
    fresh = state_of(2, head=7)
    fresh = fresh.replace(params=fresh.params | {"new": {"scale": jnp.ones(2)}})
    with pytest.raises(ValueError, match=r"config\.init_from = .*config\.init_params") as caught:
        finetune.start_from(fresh, stored(tmp_path, state_of(1)), ())
    said = str(caught.value)
    assert "head/kernel: float32[5, 3] there, float32[5, 7] here" in said
    assert "new/scale: absent there, float32[2] here" in said
    assert "body" not in said.partition("\n")[2]


def test_a_state_on_a_mesh_stays_divided(tmp_path):
    pretrained = tiny_runs.Session(tiny_runs.VAE)
    workdir = stored(tmp_path, pretrained.state)
    session = tiny_runs.Session(tiny_runs.VAE, {"fsdp": 8}, seed=1)
    fresh = session.state
    session.state = finetune.start_from(fresh, workdir, ())
    assert tiny_runs.largest_difference(session.state.params, pretrained.state.params) == 0
    where = lambda tree: [leaf.sharding for leaf in jax.tree.leaves(tree)]
    assert where(session.state) == where(fresh)
    assert np.isfinite(session.train(1)["loss"]).all()


def test_the_tokenizer_comes_along(tmp_path):
    tokenizer = tokenizers.char("hello world\n")
    workdir = stored(tmp_path, state_of(1), tokenizer)
    found = finetune.tokenizer_of(workdir)
    assert found.content == tokenizer.content
    assert found.decode(found.encode("hold")) == "hold"


def test_a_run_on_images_has_no_tokenizer(tmp_path):
    assert finetune.tokenizer_of(stored(tmp_path, state_of(1))) is None
    assert finetune.tokenizer_of("") is None


def test_a_workdir_without_a_checkpoint_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"config\.init_from = .*has no checkpoint"):
        finetune.tokenizer_of(str(tmp_path))
