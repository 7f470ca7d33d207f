import functools
import os
import pathlib
import re
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import Primitive

import train
from aigc_jax import build, core, describe
from aigc_jax.data.dataset import Dataset, Info, Split, rows

CONFIGS = pathlib.Path(train.__file__).parent / "configs"
INPUTS = 8

only_traced = Primitive("only_traced")  # compiling it fails: it has no lowering
only_traced.def_abstract_eval(lambda x: x)


def make(*, example, tx, accumulate=1, outputs: int = 1024):
    """Least squares |x W|^2, whose update can be traced but not compiled."""

    def loss(params, mutable, batch, keys, step):
        value = jnp.mean((batch["x"] @ params["linear"]["kernel"]) ** 2)
        return value, ({"traced": only_traced.bind(jnp.float32(step))}, mutable)

    kernel = lambda key: {"params": {"kernel": jnp.zeros((INPUTS, outputs))}}
    return core.from_loss(
        loss, {"linear": kernel}, tx, eval=None, sample=None, accumulate=accumulate
    )


def zeros():
    """Sixteen examples of nothing."""
    split = Split(16, {"x": np.zeros((16, INPUTS), np.float32)}, rows)
    sizes = {"train": 16, "test": 16}
    info = Info("zeros", sizes, "test", {"x": (INPUTS,)}, {"x": "float32"})
    return Dataset(info, split, split)


def reported(config, **changed):
    """{title: [cells of a line, ...]} of the report on a config."""
    text = describe.report(build.configured({**config, **changed}))
    parts = [part.split("\n") for part in text.split("\n\n")]
    return {title: [re.split(r"\s{2,}", line.strip()) for line in lines] for title, *lines in parts}


def least_squares(outputs=1024, **changed):
    algorithm = dict(name=f"{__name__}:make", outputs=outputs)
    config = dict(algorithm=algorithm, data=dict(name=f"{__name__}:zeros"), batch_size=16)
    return reported(config, **changed)


def game(**changed):
    algorithm = dict(name="gan", generator="MlpGenerator", discriminator="MlpDiscriminator")
    config = dict(algorithm=algorithm | changed, data=dict(name="digits"), batch_size=8)
    return reported(config)


def number(rows, name, column=1):
    """The first number of a row."""
    (row,) = (row for row in rows if row[0] == name)
    return int(re.match(r"[\d,]+", row[column])[0].replace(",", ""))


def test_parameter_table_has_path_shape_count_and_sharding():
    found = least_squares(mesh=dict(data=2, fsdp=4, tensor=1))
    assert found["parameters"] == [
        ["path", "shape", "count", "sharding"],
        ["linear/kernel", "[8, 1024]", "8,192", "P(None, 'fsdp')"],
        ["total linear", "8,192"],
        ["total all", "8,192"],
    ]


def test_memory_of_the_state_whole_and_per_device():
    found = least_squares(mesh=dict(data=2, fsdp=4, tensor=1), ema_decay=0.9)
    memory = {name: (whole, part) for name, whole, part in found["memory of the state in bytes"]}
    kernel = INPUTS * 1024 * 4
    assert memory["params"] == memory["ema"] == (f"{kernel:,}", f"{kernel // 4:,}")
    # Two moments, the counters of the rule and its schedule, the scale of the rate and a flag.
    adam = 2 * kernel + 3 * 4 + 1
    assert memory["opt_state"] == (f"{adam:,}", f"{2 * kernel // 4 + 13:,}")
    counters = 18 * 4  # step, cursor, the six counters of the guard and the ten of its trend
    assert memory["total"][0] == f"{2 * kernel + adam + counters:,}"


def test_products_of_one_update():
    found = least_squares()
    forward = 2 * 16 * INPUTS * 1024
    assert number(found["compute"], "in products") == 2 * forward


@pytest.mark.parametrize(
    "changed", [dict(accumulate=4), dict(parallel="pmap"), dict(steps_per_call=5)]
)
def test_products_are_those_of_one_update_of_the_global_batch(changed):
    plain, other = (least_squares(**c, mesh=dict(data=2, fsdp=1, tensor=1)) for c in ({}, changed))
    assert number(other["compute"], "in products") == number(plain["compute"], "in products")


def test_every_critic_update_costs_the_same():
    once, twice, thrice = (game(n_critic=n)["compute"] for n in (1, 2, 3))
    products = [number(rows, "in products") for rows in (once, twice, thrice)]
    assert products[2] - products[1] == products[1] - products[0] > 0
    total, per_example = number(thrice, "FLOPs per step"), number(thrice, "per example")
    assert per_example == total // (3 * 8)


def test_a_model_larger_than_any_memory_is_described():
    found = least_squares(outputs=10**12)
    assert number(found["parameters"], "total all") == INPUTS * 10**12


def test_nothing_is_prepared_or_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert train.main([f"--config={CONFIGS / 'gan_digits.py'}:test", "--describe"]) == 0
    assert list(tmp_path.iterdir()) == []
    assert "DcganGenerator(shape=(8, 8, 1)" in capsys.readouterr().out


def test_of_a_text_its_vocabulary_is_read(tmp_path):
    text = "abcdefgh " * 100
    (tmp_path / "text.txt").write_text(text)
    data = dict(
        name=str(tmp_path / "text.txt"),
        tokenizer="char",
        context=8,
        data_dir=str(tmp_path / "none"),
    )
    network = dict(dim=16, layers=1, heads=2)
    algorithm = dict(name="attention", network="Transformer", network_args=network)
    found = reported(dict(algorithm=algorithm, data=data, batch_size=8))
    assert number(found["data"], "vocabulary") == len(set(text))
    assert not (tmp_path / "none").exists()


def test_objects_are_resolved():
    schedule = dict(learning_rate=0.1, learning_rate_schedule="cosine")
    optimizer = dict(model=schedule | dict(name="sgd", momentum=0.9))
    config = dict(algorithm=dict(name="vae"), data=dict(name="digits"), optimizer=optimizer)
    objects = {name: value for name, value in reported(config, steps=500)["objects"]}
    assert objects["algorithm"] == "aigc_jax.vae.algorithm.make"
    assert objects["decoder"].startswith("MlpDecoder(shape=(8, 8, 1), ")
    assert objects["likelihood"] == "bernoulli"
    assert objects["beta"] == "constant(1.0)"
    rate, *rest = objects["model optimizer"].removeprefix("sgd(").removesuffix(")").split("), ")
    assert rate == "learning_rate=cosine(0.1, steps=500"
    assert "momentum=0.9" in rest[0]


def test_a_config_that_cannot_work_raises():
    with pytest.raises(ValueError, match="batch_size = 12"):
        least_squares(batch_size=12, accumulate=8)


def test_an_object_is_one_line():
    assert describe.one_line(functools.partial(jnp.clip, max=2.0)) == "clip(max=2.0)"
    assert describe.one_line({nn.relu: 1.0}) == "relu: 1.0"
    dense = describe.one_line(
        nn.Dense(4, kernel_init=nn.initializers.normal(0.02), dtype=jnp.bfloat16)
    )
    assert dense.startswith("Dense(features=4, use_bias=True, dtype=bfloat16")
    assert "kernel_init=normal" in dense


def test_the_least_squares_above_cannot_be_compiled():
    algorithm = dict(name=f"{__name__}:make")
    config = build.configured(dict(algorithm=algorithm, data=dict(name=f"{__name__}:zeros")))
    made = build.run(config, build.describe_data(config)).algorithm
    key = jax.random.key(0)
    with pytest.raises(NotImplementedError, match="only_traced"):
        jax.jit(made.step)(made.init(key), {"x": jnp.zeros((16, INPUTS))}, key)


def small_gpt(**changed):
    network = dict(dim=64, layers=1, heads=4)
    algorithm = dict(name="attention", network="Transformer", network_args=network)
    config = dict(algorithm=algorithm, data=dict(name="tiny_runs:words"), batch_size=64)
    text = describe.report(build.configured(config | changed), compiled=True)
    parts = [part.split("\n") for part in text.split("\n\n")]
    return {title: [re.split(r"\s{2,}", line.strip()) for line in lines] for title, *lines in parts}


def test_a_compiled_step_is_told_beside_the_least_it_can_do_with():
    found = small_gpt(mesh=dict(data=2, fsdp=4, tensor=1))
    step = found["compiled step on each device of the mesh data 2, fsdp 4, tensor 1"]
    memory = {name: int(size.replace(",", "")) for name, size in found["its memory in bytes"]}
    state = {name: number for name, _, number in found["memory of the state in bytes"]}
    assert f"{memory['parameters']:,}" == state["params"]
    assert f"{memory['optimiser']:,}" == state["opt_state"]
    assert memory["batch"] == 64 * 9 * 4 / 8  # tokens i32 [64, 9], of which a device has an eighth
    assert memory["activations and gathered weights"] > 0
    collectives, least = (
        found["its collectives in bytes"],
        found["the least that the mesh can do with"],
    )
    kinds = {(kind, axes) for kind, axes, *_ in collectives[1:-1]}
    assert {("all-gather", "fsdp"), ("reduce-scatter", "fsdp"), ("all-reduce", "data")} <= kinds
    for table in (collectives, least):
        numbers = [[int(n.replace(",", "")) for n in row[-3:]] for row in table[1:]]
        assert [sum(column) for column in zip(*numbers[:-1], strict=True)][:2] == numbers[-1][:2]
    ratio = float(re.search(r"([\d.]+) times the least", step[2][2])[1])
    assert 1 <= ratio < 1.1
    assert number(step, "FLOPs") < 1.3 * number(step, "its share")


def test_parameters_are_told_by_the_rules_of_the_config():
    own = (("ffn/in/kernel$", ("tensor", None)),)
    mesh = dict(data=1, fsdp=2, tensor=4)
    found = small_gpt(mesh=mesh, sharding="tensor_parallel", sharding_rules=own)
    where = {row[0]: row[-1] for row in found["parameters"]}
    assert where["model/blocks_0/ffn/in/kernel"] == "P('tensor', None)"
    assert where["model/blocks_0/ffn/out/kernel"] == "P('tensor', 'fsdp')"
    least = found["the least that the mesh can do with"]
    assert ["all-reduce", "tensor"] in [row[:2] for row in least]


def test_only_what_jit_runs_can_be_told_compiled():
    with pytest.raises(ValueError, match=r"--describe=compiled: config\.parallel = 'pmap'"):
        small_gpt(parallel="pmap")


def test_a_mesh_larger_than_the_machine_is_simulated():
    code = (
        "from aigc_jax import build, describe; mesh = dict(data=8, fsdp=4, tensor=1);"
        "config = dict(algorithm=dict(name='vae'), data=dict(name='digits'), mesh=mesh);"
        "print(describe.report(build.configured(config), compiled=True))"
    )
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    root = pathlib.Path(train.__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True
    )
    assert "32 x cpu" in done.stdout, done.stderr
    assert "compiled step on each device of the mesh data 8, fsdp 4, tensor 1" in done.stdout
