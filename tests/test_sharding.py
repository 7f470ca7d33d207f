"""Rules divide every parameter as they say, and what the devices then do and send is the least."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sharded_runs
import tiny_runs
from jax.sharding import PartitionSpec as P

from aigc_jax import core, parallel, sharding
from aigc_jax.attention import losses
from aigc_jax.constraints import inside

TENSOR = sharding.TENSOR_PARALLEL
GPT = {
    **tiny_runs.ATTENTION,
    "algorithm": {"name": "attention", "network_args": {"dim": 32, "layers": 2, "heads": 4}},
}
SCANNED = {
    **GPT,
    "algorithm": {
        "name": "attention",
        "network_args": GPT["algorithm"]["network_args"] | {"scan_layers": True, "remat": True},
    },
}
# Wide enough for the gradients to be most of what is sent, and more tokens than rows in a table.
WIDE = {
    "gan": {
        **tiny_runs.GAN,
        "algorithm": {
            "name": "gan",
            "latent_dim": 16,
            "generator": "MlpGenerator",
            "generator_args": {"widths": (128,)},
            "discriminator": "MlpDiscriminator",
            "discriminator_args": {"widths": (128,)},
        },
    },
    "vae": {
        **tiny_runs.VAE,
        "algorithm": {
            "name": "vae",
            "latent_dim": 8,
            "encoder_args": {"hidden": (128,)},
            "decoder_args": {"hidden": (128,)},
        },
    },
    "attention": GPT,
}
MESHES = {
    "three axes": {"data": 2, "fsdp": 2, "tensor": 2},
    "fsdp and tensor": {"fsdp": 2, "tensor": 4},
    "data": {"data": 8},
    "fsdp": {"fsdp": 8},
}
SLOW = pytest.mark.slow
FAST = [("attention", "three axes"), ("gan", "three axes"), ("vae", "fsdp")]
CASES = [
    pytest.param(family, mesh, marks=() if (family, mesh) in FAST else SLOW)
    for family in ("gan", "vae", "attention", "scanned")
    for mesh in MESHES
]
RUNS = tiny_runs.EVERY | {"attention": GPT, "scanned": SCANNED}
step = functools.cache(
    lambda family, *sizes, **changes: sharded_runs.step(
        WIDE[family], dict(zip(parallel.AXES, sizes, strict=False)), batch_size=128, **changes
    )
)


@pytest.fixture(scope="module")
def on_one_device():
    """{family: (first state, last state, metrics)} on one device."""
    return functools.cache(lambda family: sharded_runs.trained(RUNS[family], {}, TENSOR, 3))


@pytest.mark.parametrize(("family", "mesh"), CASES)
def test_every_mesh_trains_like_one_device(family, mesh, on_one_device):
    first, last, metrics = on_one_device(family)
    found_first, found, found_metrics = sharded_runs.trained(RUNS[family], MESHES[mesh], TENSOR, 3)
    assert tiny_runs.largest_difference(found_first, first) == 0
    assert tiny_runs.largest_difference(first.params, last.params) > 1e-3
    assert tiny_runs.largest_difference(found.params, last.params) < 1e-5
    assert tiny_runs.largest_difference(found.mutable, last.mutable) < 1e-5
    for name, expected in metrics.items():
        np.testing.assert_allclose(found_metrics[name], expected, rtol=1e-4, err_msg=name)


def specs(raw, sizes, rules=TENSOR):
    """{path: spec} of all leaves of a state."""
    *_, shardings = sharded_runs.laid_out(raw, sizes, rules)
    leaves = jax.tree_util.tree_leaves_with_path(shardings)
    return {core.path_name(path): where.spec for path, where in leaves}


@pytest.mark.parametrize(
    ("shape", "spec"),
    [
        ((64, 32), P("fsdp", None)),
        ((32, 64), P(None, "fsdp")),
        ((63, 32), P(None, "fsdp")),
        ((5, 5, 16, 64), P(None, None, None, "fsdp")),
        ((1023,), P()),
        ((63, 33), P()),
        ((1000,), P()),
        ((), P()),
    ],
)
def test_the_largest_axis_that_divides_is_split(shape, spec):
    mesh = parallel.make_mesh({"data": 2, "fsdp": 4, "tensor": 1})
    found = sharding.fully_sharded(shape, mesh)
    assert found == spec
    without = parallel.make_mesh({"data": 8, "fsdp": 1, "tensor": 1})
    assert sharding.fully_sharded(shape, without) == P()


def test_rules_go_by_the_first_path_that_matches():
    mesh = parallel.make_mesh({"data": 1, "fsdp": 8, "tensor": 1})
    params = {"net": {"kernel": jnp.zeros((64, 64)), "bias": jnp.zeros((64, 64))}}
    rules = (("bias$", ()), ("net", lambda shape, mesh: P("tensor")))
    found = sharding.parameter_specs(params, mesh, rules)
    assert found == {"net/bias": P(), "net/kernel": P("tensor")}


@pytest.mark.parametrize(("raw", "block"), [(GPT, "blocks_1"), (SCANNED, "blocks")])
def test_heads_and_ffn_are_split_in_and_out(raw, block):
    found = specs(raw, MESHES["three axes"])
    stack = (None,) * (block == "blocks")
    of = lambda path: found[f"params/model/{block}/{path}"]
    for name in ("attention/qkv", "ffn/in"):
        assert of(f"{name}/kernel") == P(*stack, "fsdp", "tensor")
        assert of(f"{name}/bias") == P(*stack, "tensor")
    for name in ("attention/out", "ffn/out"):
        assert of(f"{name}/kernel") == P(*stack, "tensor", "fsdp")
        assert of(f"{name}/bias") == P()
    assert of("norm_1/scale") == of("norm_2/bias") == found["params/model/norm_out/scale"] == P()
    assert found["params/model/embed/embedding"] == P("tensor", "fsdp")


def test_a_vocabulary_that_does_not_divide_stays_whole():
    mesh = parallel.make_mesh(MESHES["three axes"])
    assert sharding.rows((50257, 768), mesh) == P(None, "fsdp")


@pytest.mark.parametrize("family", ["gan", "vae"])
def test_other_networks_are_divided_by_size_under_any_rules(family):
    raw, sizes = tiny_runs.FAMILIES[family], {"fsdp": 4, "tensor": 2}
    assert specs(raw, sizes) == specs(raw, sizes, sharding.FULLY_SHARDED)


def test_slots_and_averages_live_with_their_parameter_by_any_rule():
    adam = {"name": "adam", "learning_rate": 1e-3}
    rules = ((r"decoder/Dense_1/kernel$", ("tensor", "fsdp")), *TENSOR)
    raw = {**tiny_runs.VAE, "optimizer": {"model": adam}, "ema_decay": 0.9}
    found = specs(raw, {"fsdp": 2, "tensor": 4}, rules)
    beside = [path for path in found if path.endswith("decoder/Dense_1/kernel")]
    assert len(beside) == 4  # itself, its average, Adam's mu and nu
    assert {found[path] for path in beside} == {P("tensor", "fsdp")}


def test_networks_with_parameters_of_equal_names_are_told_apart():
    shapes = jax.eval_shape(
        lambda: core.new_state(
            {"g": {"kernel": jnp.zeros((64, 64))}, "d": {"kernel": jnp.zeros((64, 64))}},
            {
                "g": {"mu": {"kernel": jnp.zeros((64, 64))}},
                "d": {"mu": {"kernel": jnp.zeros((64, 64))}},
            },
        )
    )
    rules = (("^g/", ("fsdp",)), ("^d/", (None, "fsdp")))
    mesh = parallel.make_mesh({"data": 1, "fsdp": 8, "tensor": 1})
    found = parallel.state_shardings(shapes, mesh, rules).opt_state
    assert found["g"]["mu"]["kernel"].spec == P("fsdp")
    assert found["d"]["mu"]["kernel"].spec == P(None, "fsdp")


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (
            ("typo/kernel$", ("fsdp",)),
            r"'typo/kernel\$' matches no parameter.*encoder/Dense_0/bias",
        ),
        (("encoder/Dense_0/bias", ("fsdp", None)), r"Dense_0/bias \[32\]: has 2 entries for 1"),
        (("encoder/Dense_0/bias", ("model",)), r"'model' is no axis of the mesh; .*'tensor'"),
        (
            ("encoder/Dense_1/bias", (["fsdp"],)),
            r"Dense_1/bias \[4\]: 4 is not divisible by fsdp = 8",
        ),
        (("Dense_0/kernel", ("fsdp", ("data", "fsdp"))), r"'fsdp' can divide one dimension only"),
    ],
)
def test_a_rule_that_cannot_be_is_refused_by_name(rule, reason):
    with pytest.raises(ValueError, match=rf"config\.sharding_rules: .*{reason}"):
        specs(tiny_runs.VAE, {"fsdp": 8}, (rule, *sharding.FULLY_SHARDED))


def test_a_parameter_without_a_rule_is_refused_by_name():
    with pytest.raises(ValueError, match="no rule matches the parameter 'decoder/Dense_0/bias'"):
        specs(tiny_runs.VAE, {"fsdp": 8}, (("kernel$", ()),))


def test_rules_come_from_the_config():
    first = ["ffn/in/kernel$", [None, ["fsdp", "tensor"]]]
    config = {"sharding": "tensor_parallel", "sharding_rules": (first,)}
    found = sharding.rules_of(config)
    assert found == (tuple(first), *TENSOR)
    path = "params/model/blocks_0/ffn/in/kernel"
    assert specs(GPT, MESHES["three axes"], found)[path] == P(None, ("fsdp", "tensor"))
    own = sharding.rules_of({"sharding": f"{__name__}:own_rules", "sharding_rules": ()})
    assert own == OWN


OWN = (("kernel$", sharding.columns), (".*", ()))
own_rules = lambda: OWN


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (
            {"sharding": "tensor"},
            r"config\.sharding = 'tensor': .*tensor_parallel, module:function",
        ),
        ({"sharding_rules": ("kernel",)}, "'kernel' must be a pair"),
        ({"sharding_rules": (("kernel", "fsdp"),)}, "must be a pair"),
        ({"sharding_rules": (("(", ()),)}, "is not a regular expression"),
    ],
)
def test_rules_of_another_form_are_refused(changed, reason):
    with pytest.raises(ValueError, match=reason):
        sharding.rules_of({"sharding": "fully_sharded", "sharding_rules": ()} | changed)


@pytest.mark.parametrize("family", WIDE)
def test_eight_devices_do_an_eighth_of_the_work_each(family):
    assert step(family, 8).flops < 1.15 * step(family, 1).flops / 8


@pytest.mark.parametrize("family", WIDE)
def test_a_data_parallel_step_sends_gradients_and_numbers_alone(family):
    found = step(family, 8)
    assert {one.kind for one in found.collectives} == {"all-reduce"}
    assert 1 <= found.excess < 1.1


@pytest.mark.parametrize("family", WIDE)
def test_a_fully_sharded_step_gathers_weights_and_scatters_gradients(family):
    found = step(family, 1, 8)
    divided, whole = [], 0
    leaves = jax.tree.leaves(found.shapes.params)
    for leaf, where in zip(leaves, jax.tree.leaves(found.shardings.params), strict=True):
        share = math.prod(where.shard_shape(leaf.shape))
        assert share == leaf.size // (8 if leaf.size >= sharding.MIN_SIZE else 1)
        divided += [4 * leaf.size] if share < leaf.size else []
        whole += 4 * leaf.size if share == leaf.size else 0
    by_kind = lambda kind: [one for one in found.collectives if one.kind == kind]
    gathered = [one.bytes for one in by_kind("all-gather")]
    assert set(gathered) == set(divided)  # every weight by itself, and no activation
    explicit = [c.bytes for c in by_kind("all-gather") if "sharding_constraint" in c.op_name]
    assert sorted(explicit) == sorted(divided)  # once each before the step, not where it is used
    assert sum(one.bytes for one in by_kind("reduce-scatter")) == sum(divided)
    assert sum(one.bytes for one in by_kind("all-reduce")) < whole + 0.1 * sum(divided)
    kinds = {one.kind for one in found.collectives}
    assert kinds == {"all-gather", "reduce-scatter", "all-reduce"}
    assert 1 <= found.excess < 1.5


@pytest.mark.parametrize("sizes", [(2, 4), *(pytest.param(s, marks=SLOW) for s in ((8,), (1, 8)))])
def test_a_loss_in_chunks_adds_its_gradients_up_once(sizes, monkeypatch):
    """The vocabulary's table is most of what is sent, and gets gradients from both of its ends."""
    in_chunks = functools.partial(losses.total_nll, limit=1024)
    monkeypatch.setattr(losses, "total_nll", in_chunks)
    mesh = dict(zip(parallel.AXES, sizes, strict=False))
    found = sharded_runs.step(GPT, mesh, batch_size=128)
    text = found.compiled.as_text()
    assert sum(" while(" in line for line in text.splitlines())  # the loop over the chunks
    assert 1 <= found.excess < (1.1 if sizes == (8,) else 1.5)
    first, last, metrics = sharded_runs.trained(GPT, {}, sharding.FULLY_SHARDED, 2)
    also_first, also, also_metrics = sharded_runs.trained(GPT, mesh, sharding.FULLY_SHARDED, 2)
    assert tiny_runs.largest_difference(first, also_first) == 0
    assert tiny_runs.largest_difference(last.params, also.params) < 1e-5
    np.testing.assert_allclose(metrics["loss"], also_metrics["loss"], rtol=1e-4)


def test_what_sizes_keep_from_being_split_is_named():
    mesh = parallel.make_mesh({"data": 2, "fsdp": 1, "tensor": 4})
    params = sharded_runs.laid_out(GPT, {}, TENSOR)[2].params
    assert sharding.unsplit(params, mesh, TENSOR) == []
    odd = {**params["model"], "embed": {"embedding": jax.ShapeDtypeStruct((33, 32), jnp.float32)}}
    assert sharding.unsplit({"model": odd}, mesh, TENSOR) == ["model/embed/embedding"]


def test_divided_layers_sum_their_activations_once_forwards_and_once_backwards():
    found = sharded_runs.step(GPT, {"tensor": 2}, TENSOR)
    tokens, dim, layers = 16 * 8, 32, 2
    of_tokens = [
        c for c in found.collectives if c.kind == "all-reduce" and c.bytes == 4 * tokens * dim
    ]
    # Attention and FFN of each layer and the table of embeddings, forwards and backwards.
    assert sum(one.count for one in of_tokens) == 2 * (2 * layers + 1)


def test_microbatches_gather_weights_once_and_scatter_gradients_one_by_one():
    once, four_times = (step("vae", 1, 8, accumulate=n) for n in (1, 4))
    sent = lambda found, kind: sum(c.count * c.bytes for c in found.collectives if c.kind == kind)
    assert sent(four_times, "all-gather") == sent(once, "all-gather")
    assert sent(four_times, "reduce-scatter") == 4 * sent(once, "reduce-scatter")


def test_noise_is_the_same_on_every_mesh():
    draw = lambda key: core.normal(core.example_keys(key, 16), (3,))
    key = jax.random.key(0)
    for sizes in ((1, 1, 1), (2, 4, 1), (2, 2, 2)):
        mesh = parallel.make_mesh(dict(zip(parallel.AXES, sizes, strict=True)))
        found = jax.jit(inside(mesh, draw), in_shardings=parallel.replicated(mesh))(key)
        assert (np.asarray(found) == np.asarray(draw(key))).all()
        assert len({str(s.index) for s in found.addressable_shards}) == sizes[0] * sizes[1]


def test_no_collective_is_left_on_one_device():
    assert step("vae", 1).collectives == []
