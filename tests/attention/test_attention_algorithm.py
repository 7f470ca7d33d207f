import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aigc_jax import core, optim
from aigc_jax.attention import algorithm
from aigc_jax.attention.rnn import RnnLanguageModel
from aigc_jax.attention.transformer import Transformer

EXAMPLE = core.Example({"tokens": jax.ShapeDtypeStruct((4, 17), jnp.int32)}, vocab=30)
SMALL = Transformer(30, 16, dim=16, layers=1)
BATCH = {"tokens": jax.random.randint(jax.random.key(0), (4, 17), 0, 30)}


def make(network=SMALL, tx=None, **options):
    return algorithm.make(
        example=EXAMPLE, tx={"model": tx or optax.sgd(1.0)}, network=network, **options
    )


def masked():
    lengths = jnp.array([16, 3, 9, 1])
    return {**BATCH, "mask": (jnp.arange(16) < lengths[:, None]).astype(jnp.float32)}


@pytest.mark.parametrize(
    "network",
    [Transformer(30, 16, dim=64, layers=2), RnnLanguageModel(30, dim=64, layers=1)],
    ids=["transformer", "lstm"],
)
def test_one_batch_can_be_learned_by_heart(network):
    generator = make(network, optax.adam(1e-2))
    step = jax.jit(generator.step, donate_argnums=0)
    state = jax.jit(generator.init)(jax.random.key(1))
    for _ in range(150):
        state, metrics = step(state, BATCH, jax.random.key(2))
    assert metrics["loss"] < 0.1
    assert set(metrics) == {"loss", "grad_norm"}


def test_accumulated_gradients_equal_those_of_the_full_batch():
    steps = []
    for accumulate in (1, 2):
        generator = make(RnnLanguageModel(30, dim=16, layers=1), accumulate=accumulate)
        state = jax.jit(generator.init)(jax.random.key(1))
        steps.append(jax.jit(generator.step)(state, BATCH, jax.random.key(2)))
    (one, one_metrics), (two, two_metrics) = steps
    chex.assert_trees_all_close(one.params, two.params, atol=1e-5)
    chex.assert_trees_all_close(one_metrics, two_metrics, rtol=1e-5)


def divided_ways():
    """{name: (make's options, how its step is compiled, where its 8 rows go)}."""
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    split = lambda batch: jax.tree.map(lambda x: x.reshape(8, 1, *x.shape[1:]), batch)
    per_device = {"axis_name": "data", "tx": optim.averaged_over("data", optax.sgd(1.0))}
    mapped = lambda step: jax.pmap(step, "data", in_axes=(None, 0, None))
    return {
        "microbatches": ({"accumulate": 4}, jax.jit, lambda batch: batch),
        "devices": ({}, jax.jit, lambda batch: jax.device_put(batch, rows)),
        "pmap": (per_device, mapped, split),
    }


def test_the_loss_is_per_counted_token_of_the_whole_batch_however_it_is_divided():
    lengths = jnp.array([16, 0, 1, 16, 16, 0, 0, 3])
    weights = jnp.array([1.0, 1, 2, 0.3, 1, 1, 1, 5])[:, None]
    batch = {
        "tokens": jax.random.randint(jax.random.key(4), (8, 17), 0, 30),
        "mask": (jnp.arange(16) < lengths[:, None]) * weights,
    }
    whole = make()
    state = jax.jit(whole.init)(jax.random.key(1))
    expected, metrics = jax.jit(whole.step)(state, batch, jax.random.key(2))
    values = jax.jit(whole.eval)(state, batch, jax.random.key(2))
    mean = (values["weight"] * values["nll"]).sum() / batch["mask"].sum()
    np.testing.assert_allclose(metrics["loss"], mean, rtol=1e-5)
    for options, compiled, placed in divided_ways().values():
        tx = options.get("tx", optax.sgd(1.0))
        begun = state.replace(opt_state={"model": tx.init(state.params)})
        step = compiled(make(**options).step)
        found, other = step(begun, placed(batch), jax.random.key(2))
        if "axis_name" in options:
            found, other = jax.tree.map(lambda x: x.mean(axis=0), (found, other))
        chex.assert_trees_all_close(found.params, expected.params, atol=1e-6)
        np.testing.assert_allclose(other["loss"], metrics["loss"], rtol=1e-5)


def test_evaluation_is_nats_per_counted_token():
    generator = make()
    state = jax.jit(generator.init)(jax.random.key(1))
    batch = masked()
    values = jax.jit(generator.eval)(state, batch, jax.random.key(2))
    logits = jax.jit(generator.heads["logits"])(state, batch, jax.random.key(2))["logits"]
    logp = np.take_along_axis(
        np.asarray(jax.nn.log_softmax(logits)), np.asarray(batch["tokens"][:, 1:, None]), -1
    )[..., 0]
    np.testing.assert_array_equal(values["weight"], [16, 3, 9, 1])
    for row, n in enumerate((16, 3, 9, 1)):
        np.testing.assert_allclose(values["nll"][row], -logp[row, :n].mean(), rtol=1e-5)


def test_attention_maps_of_every_layer_and_head_are_those_of_its_inputs():
    network = Transformer(30, 16, dim=16, layers=3, heads=2, positions="alibi")
    generator = make(network)
    state = jax.jit(generator.init)(jax.random.key(1))
    maps = jax.jit(generator.heads["attention"])(state, BATCH, jax.random.key(2))["attention"]
    assert maps.shape == (4, 3, 2, 16, 16)
    np.testing.assert_allclose(maps.sum(-1), 1, atol=1e-6)
    assert (maps[..., *np.triu_indices(16, 1)] == 0).all()
    later = {"tokens": BATCH["tokens"].at[:, 10:].set(3)}
    again = generator.heads["attention"](state, later, jax.random.key(2))["attention"]
    np.testing.assert_allclose(maps[..., :10, :], again[..., :10, :], atol=1e-6)
    assert not np.allclose(maps[:, 1:, :, 10:], again[:, 1:, :, 10:])


def test_a_recurrent_network_has_no_attention_to_show():
    assert set(make(RnnLanguageModel(30, dim=16, layers=1)).heads) == {"logits"}


def test_what_a_mask_hides_has_no_gradient():
    generator = make()
    batch = masked()
    changed = {**batch, "tokens": batch["tokens"].at[1, 4:].set(11)}
    step, state = jax.jit(generator.step), jax.jit(generator.init)(jax.random.key(1))
    results = [step(state, b, jax.random.key(2))[0].params for b in (batch, changed)]
    chex.assert_trees_all_close(*results, atol=1e-7)


def test_samples_follow_their_prompts_without_a_gap():
    generator = make()
    state = jax.jit(generator.init)(jax.random.key(1))
    keys = core.example_keys(jax.random.key(3), 3)
    cond = {
        "prompt": jnp.array([[4, 5, 6], [9, 8, 8], [2, 2, 2]]),
        "prompt_length": jnp.array([3, 1, 0]),
    }
    out = generator.sample(state, keys, cond, max_tokens=5)
    np.testing.assert_array_equal(out["length"], [8, 6, 6])
    assert out["tokens"].shape == (3, 8)
    assert out["tokens"][0, :3].tolist() == [4, 5, 6]
    assert out["tokens"][1, 0] == 9
    assert (out["tokens"][1:, 6:] == 0).all()


def test_unconditional_samples_begin_with_the_start_token_and_do_not_depend_on_their_number():
    generator = make(start_token=7)
    state = jax.jit(generator.init)(jax.random.key(1))
    draw = lambda n: generator.sample(
        state, core.example_keys(jax.random.key(3), n), {}, max_tokens=20, temperature=0.9
    )["tokens"]
    assert (draw(4)[:, 0] == 7).all()
    np.testing.assert_array_equal(draw(4)[:2], draw(2))


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="16 positions exceed context=8"):
        make(Transformer(30, 8, dim=16))
    with pytest.raises(ValueError, match="start_token=30"):
        make(start_token=30)
    generator, keys = make(), core.example_keys(jax.random.key(3), 1)
    state = jax.jit(generator.init)(jax.random.key(1))
    with pytest.raises(ValueError, match="top_p = 0"):
        generator.sample(state, keys, {}, top_p=0)
