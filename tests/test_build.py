"""Names become objects, sections are completed, and values that clash are refused."""

import glob
import json
import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
import tiny_runs

from aigc_jax import build, checks, config, core, identity, names, refusals, stored_config
from aigc_jax.data.dataset import Info

IMAGES = Info(
    name="tiny",
    sizes={"train": 16, "test": 8},
    eval_split="test",
    shapes={"image": (8, 8, 1), "label": ()},
    dtypes={"image": "uint8", "label": "int32"},
    num_classes=3,
)
TEXT = Info(
    name="words",
    sizes={"train": 16, "validation": 8},
    eval_split="validation",
    shapes={"tokens": (17,)},
    dtypes={"tokens": "int32"},
    vocab=11,
)


class Seen(nn.Module):
    """A network that asks for everything there is."""

    width: int
    shape: tuple = ()
    num_classes: int = -1
    vocab: int = -1
    context: int = -1
    dtype: object = None
    axis_name: str | None = "unset"

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.width, dtype=self.dtype)(x)


class Plain(nn.Module):
    """A network that asks for nothing."""

    @nn.compact
    def __call__(self, x):
        return x


def double(value, *, by=2):
    return value * by


def over_steps(value, *, steps):
    return value * steps


def rated(value, *, rate: float, n: int = 1):
    return value * rate * n


def anything(value, **more):
    return value


MODULE = types.ModuleType("tests_zoo")
for thing in (Seen, Plain, double, over_steps, rated, anything):
    setattr(MODULE, thing.__name__, thing)
    thing.__module__ = "tests_zoo"
EVERYTHING = dict(shape=(8, 8, 1), num_classes=3, vocab=5, context=7, dtype=jnp.float32, steps=9)


def resolved(value, arguments=None, **offered):
    section = {"thing": value, "thing_args": arguments or {}}
    return names.resolve(section, {"thing": MODULE}, EVERYTHING | offered, "config.part")["thing"]


def vae(**changes):
    raw = {"algorithm": {"name": "vae"}, "data": {"name": "digits"}, "batch_size": 4}
    raw["algorithm"] |= {"encoder_args": {"hidden": (8,)}, "decoder_args": {"hidden": (8,)}}
    return build.complete(raw | changes)


def test_a_network_gets_the_fields_that_it_declares():
    network = resolved("Seen", {"width": 4}, axis_name=None)
    assert (network.shape, network.num_classes, network.vocab) == ((8, 8, 1), 3, 5)
    assert (network.context, network.dtype, network.axis_name) == (7, jnp.float32, None)
    assert network.width == 4
    assert isinstance(resolved("Plain"), Plain)


def test_arguments_of_the_config_go_before_what_is_offered():
    assert resolved("Seen", {"width": 4, "context": 100}).context == 100


def test_lists_of_a_stored_config_become_tuples_that_a_module_can_hash():
    network = resolved("Seen", {"width": 4, "shape": [4, [4, 1]]})
    assert network.shape == (4, (4, 1))
    hash(network)


def test_a_function_is_bound_to_its_arguments_and_to_the_steps_of_the_run():
    assert resolved("double")(5) == 10
    assert resolved("double", {"by": 3})(5) == 15
    assert resolved("over_steps")(5) == 45
    assert resolved("over_steps", {"steps": 2})(5) == 10


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("Sean", {}, r"config\.part\.thing = 'Sean': unknown; did you mean 'Seen'\? Accepted: .*"),
        ("zzz", {}, r"Accepted: .*Plain, Seen, anything, double, module:name, over_steps, rated"),
        ("Seen", {"widht": 1}, r"config\.part\.thing_args\.widht: .*did you mean 'width'"),
        ("double", {"bye": 1}, r"config\.part\.thing_args\.bye: unknown; did you mean 'by'"),
        ("no_such_module:f", {}, r"'no_such_module:f': No module named 'no_such_module'"),
        ("math:cosine", {}, r"'math:cosine': .*has no attribute 'cosine'"),
        ("math:pi", {}, r"'math:pi': .*neither a function nor a class"),
        ("..math:pi", {}, r"'\.\.math:pi': must be an importable module"),
        (":f", {}, r"':f': must be an importable module"),
        ("double", {"value": 1}, r"config\.part\.thing_args\.value: unknown.* Accepted: by$"),
        ("over_steps", {"steps": 2, "value": 1}, r"thing_args\.value: unknown"),
    ],
)
def test_a_name_or_argument_that_does_not_exist_is_named(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        resolved(name, arguments)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("Seen", {"width": 2.5}, r"config\.part\.thing_args\.width = 2\.5: must be of type int"),
        ("Seen", {"width": "no"}, r"thing_args\.width = 'no': must be of type int"),
        ("Seen", {"width": 2, "shape": 3}, r"thing_args\.shape = 3: comes from the data"),
        ("Seen", {"width": 2, "dtype": "f4"}, r"dtype = 'f4': comes from config\.precision"),
        ("Seen", {"width": 2, "num_classes": 9}, r"num_classes = 9: comes from the data and"),
        (
            "Seen",
            {"width": 2, "context": 5},
            r"context = 5: comes from config\.part\.context",
        ),
        ("double", {"by": "2"}, r"thing_args\.by = '2': must be of type int \| float"),
        ("rated", {}, r"config\.part\.thing = 'rated': needs rate, give .*thing_args\.rate"),
        ("rated", {"rate": True}, r"thing_args\.rate = True: must be of type float"),
        ("rated", {"rate": 1, "n": 1e300}, r"thing_args\.n = 1e\+300: must be of type int"),
    ],
)
def test_an_argument_of_another_kind_or_that_is_missing_is_named(name, arguments, message):
    section = {"thing": name, "thing_args": arguments, "context": 7}
    with pytest.raises(ValueError, match=message):
        names.check(section, {"thing": MODULE}, {"steps": 9}, "config.part")


def test_arguments_that_fit_pass_whatever_a_function_of_ones_own_declares():
    for name, arguments in {
        "double": {"by": 0.5},
        "rated": {"rate": 1, "n": 2},
        "anything": {"a": "x", "b": None},
        "Seen": {"width": 4, "context": 9},
        "over_steps": {},
    }.items():
        section = {"thing": name, "thing_args": arguments}
        names.check(section, {"thing": MODULE}, {"steps": 9}, "config.part")


def test_a_network_knows_all_tokens_of_its_data():
    assert resolved("Seen", {"width": 4, "vocab": 6}).vocab == 6
    with pytest.raises(ValueError, match=r"vocab = 4: must be at least the 5 of the data"):
        resolved("Seen", {"width": 4, "vocab": 4})


def test_half_precision_needs_a_network_that_knows_it():
    with pytest.raises(ValueError, match=r"config\.precision: .*Plain has no field dtype"):
        resolved("Plain", dtype=jnp.bfloat16)


def test_names_of_ones_own_are_imported_from_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "loss_of_ones_own.py").write_text("def loss(real, fake):\n    return real - fake\n")
    monkeypatch.chdir(tmp_path)
    assert resolved("loss_of_ones_own:loss")(3, 1) == 2


def test_untrusted_names_of_a_stored_run_are_not_imported(tmp_path, monkeypatch):
    (tmp_path / "hostile.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.chdir(tmp_path)
    for trust in ((), ("hostil",), ("other", "hostile.inner")):
        with pytest.raises(ValueError, match=r"config\.x = 'hostile:f'.*--trust=hostile"):
            names.find("hostile:f", (), "config.x", trust)
    # Functions of the project would serve as well: this one executes any file.
    with pytest.raises(ValueError, match=r"--trust=aigc_jax\.config"):
        names.find("aigc_jax.config:load", (), "config.x", ())
    assert names.find("math:sqrt", (), "config.x", ("math",))(4) == 2


def test_a_hostile_stored_config_is_refused_in_every_section():
    completed = vae()
    sections = {
        "algorithm": {"name": "hostile:make"},
        "data": {**completed["data"], "name": "hostile:data"},
        "optimizer": {"model": {"learning_rate_schedule": "hostile:schedule"}},
    }
    for key, section in sections.items():
        stored = json.loads(json.dumps(completed | {key: section}))
        if key == "data":  # what was stored about the data is read, the function is not
            assert build.complete(stored, trust=())["data"]["name"] == "hostile:data"
            continue
        with pytest.raises(ValueError, match=r"--trust=hostile"):
            build.run(build.complete(stored, trust=()), IMAGES, trust=())


@pytest.mark.parametrize("path", sorted(glob.glob("configs/*.py")))
@pytest.mark.parametrize("argument", ["", ":test"])
def test_a_completed_config_survives_json(path, argument):
    completed = build.configured(config.load(path + argument))
    stored = build.complete(json.loads(json.dumps(completed)), trust=())
    assert identity.flatten(stored) == json.loads(json.dumps(identity.flatten(completed)))
    assert stored_config.digest_of(stored) == stored_config.digest_of(completed)
    assert identity.differences(stored, completed) == []
    assert build.complete(stored) == stored


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"stepps": 3}, r"config\.stepps: unknown; did you mean 'steps'"),
        ({"optimiser": {}}, r"config\.optimiser: unknown; did you mean 'optimizer'"),
        ({"algorithm": {"name": "vea"}}, r"config\.algorithm\.name = 'vea'.*mean 'vae'"),
        ({"algorithm": "vae"}, r"config\.algorithm = 'vae': must be a dict"),
        ({"optimizer": {"modell": {}}}, r"config\.optimizer\.modell.*mean 'model'"),
        ({"optimizer": {"model": {"lr": 1.0}}}, r"config\.optimizer\.model\.lr: unknown"),
        ({"data": {}}, r"config\.data\.name: must be given"),
        ({"data": {"name": 5}}, r"config\.data\.name = 5: must be of type str"),
        ({"data": {"name": "x", "contxt": 3}}, r"config\.data\.contxt.*mean 'context'"),
        ({"mesh": {"dta": 2}}, r"config\.mesh\.dta.*mean 'data'"),
        ({"augment": {"flip": "yes"}}, r"config\.augment\.flip = 'yes': must be of type float"),
    ],
)
def test_an_unknown_or_wrong_key_of_a_config_is_named(raw, message):
    with pytest.raises(ValueError, match=message):
        vae(**raw)


def decaying(paths):
    rule = {"name": "adamw", "weight_decay": 0.1, "weight_decay_paths": paths}
    return {"optimizer": {"model": rule}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precision": "bfloat"}, r"config\.precision = 'bfloat'.*mean 'bfloat16'"),
        ({"parallel": "jitt"}, r"config\.parallel = 'jitt'.*mean 'jit'"),
        (
            {"keep_best": "elbo", "keep_best_mode": "least"},
            r"config\.keep_best_mode = 'least'.*max, min",
        ),
        ({"steps": 0}, r"config\.steps = 0: must be at least 1"),
        ({"save_every": 0}, r"config\.save_every = 0: must be at least 1"),
        ({"num_samples": 0}, r"config\.num_samples = 0: must be at least 1"),
        ({"keep_last": 0}, r"config\.keep_last = 0: must be at least 1"),
        ({"eval_batches": -1}, r"config\.eval_batches = -1: must be at least 0"),
        ({"ema_decay": 1.5}, r"config\.ema_decay = 1\.5: must be at least 0 and below 1"),
        ({"accumulate": 3}, r"config\.batch_size = 4: must be a multiple of.*accumulate = 3"),
        ({"steps_per_call": 3}, r"config\.steps = 1000: must be a multiple.*steps_per_call = 3"),
        ({"steps_per_call": 20}, r"config\.log_every = 50: must be a multiple.*steps_per_call"),
        ({"keep_best": "elbo", "keep_best_mode": "min"}, r"keep_best_mode = 'min': would keep"),
        ({"keep_best": "elbo", "save_every": 50}, r"save_every = 50: must be a multiple.*eval_ev"),
        ({"profile_steps": "7"}, r"config\.profile_steps = '7': must be A:B"),
        ({"freeze": ("^encodr/",)}, r"config\.freeze: '\^encodr/' matches no parameter"),
        (decaying("^kernel"), r"model\.weight_decay_paths: '\^kernel' matches no.*r/Dense_0/bias"),
        (decaying("(kernel"), r"'\(kernel' is not a regular expression"),
        ({"ema_decay": 0.9, "ema_networks": ("encodr",)}, r"ema_networks.*mean 'encoder'"),
    ],
)
def test_values_that_clash_are_refused_before_anything_is_compiled(changes, message):
    with pytest.raises(ValueError, match=message):
        build.run(vae(**changes), IMAGES)


def test_a_stored_run_whose_weight_decay_matches_nothing_is_told():
    with refusals.only_said() as said:
        build.run(vae(**decaying("^kernel")), IMAGES)
    assert [line.split(" matches")[0] for line in said] == [
        "config.optimizer.model.weight_decay_paths: '^kernel'"
    ]


@pytest.mark.parametrize(("family", "network"), [("gan", "generator"), ("autoencoder", "net")])
def test_microbatches_are_refused_where_a_network_keeps_statistics(family, network):
    raw = {"batch_size": 8, "accumulate": 2, **tiny_runs.EVERY[family]}
    with pytest.raises(ValueError, match=f"config.accumulate = 2: {network} .*use accumulate=1"):
        build.run(build.complete(raw), tiny_runs.IMAGES)
    with refusals.only_said() as said:
        build.run(build.complete(raw), tiny_runs.IMAGES)
    assert len(said) == 1
    build.run(build.complete(raw | {"accumulate": 1}), tiny_runs.IMAGES)


def test_microbatches_are_taken_where_no_network_keeps_statistics():
    raw = {"batch_size": 8, "accumulate": 2, **tiny_runs.VAE}
    assert build.run(build.complete(raw), tiny_runs.IMAGES).config["accumulate"] == 2


def kept_by(family, metric, given):
    return {"algorithm": {"name": family}, "keep_best": metric, "keep_best_mode": given}


def measuring(metric):
    """An algorithm whose evaluation gives one metric, and what it is evaluated on."""
    evaluate = lambda state, batch, key: {metric: jnp.zeros(2), "weight": jnp.ones(2)}
    algorithm = core.Algorithm(None, None, evaluate, None)
    return algorithm, {}, core.Example({})


@pytest.mark.parametrize(
    ("family", "metric", "given", "mode"),
    [
        ("vae", "elbo", "", "max"),
        ("vae", "elbo", "max", "max"),
        ("vae", "distortion", "", "min"),
        ("vae", "rate", "max", "max"),
        ("attention", "nll", "", "min"),
        ("gan", "d_real", "min", "min"),
        ("tiny_runs:make", "error", "min", "min"),
    ],
)
def test_the_best_is_at_the_end_that_its_metric_says(family, metric, given, mode):
    found = kept_by(family, metric, given)
    assert checks.best_mode(found) == mode
    checks.check_metric(found, *measuring(metric))


@pytest.mark.parametrize(
    ("family", "metric", "given", "mode", "said"),
    [
        ("vae", "rate", "", "min", r"keep_best = 'rate': .* give config\.keep_best_mode"),
        ("gan", "d_real", "", "min", r"keep_best = 'd_real': .* give config\.keep_best_mode"),
        ("tiny_runs:make", "error", "", "min", r"keep_best = 'error': .* give config\.keep_best"),
        ("vae", "elbo", "min", "min", r"keep_best_mode = 'min': .*worst, since the max of elbo"),
        ("attention", "nll", "max", "max", r"keep_best_mode = 'max': .*since the min of nll"),
    ],
)
def test_the_worst_is_never_kept_by_default(family, metric, given, mode, said):
    found = kept_by(family, metric, given)
    with pytest.raises(ValueError, match=said):
        checks.check_metric(found, *measuring(metric))
    with refusals.only_said() as lines:  # what a stored run did goes on
        checks.check_metric(found, *measuring(metric))
    assert len(lines) == 1
    assert checks.best_mode(found) == mode


def test_bfloat16_computes_in_half_and_keeps_float32_parameters():
    halves = build.run(vae(precision="bfloat16", ema_decay=0.9), IMAGES)
    batch = {"image": jnp.zeros((4, 8, 8, 1), jnp.uint8), "label": jnp.zeros(4, jnp.int32)}
    key = jax.random.key(0)
    step = core.advance(halves.algorithm, halves.prepare)
    state = jax.eval_shape(halves.algorithm.init, key)
    after, metrics = jax.eval_shape(step, state, batch, key)
    kinds = {x.dtype for x in jax.tree.leaves((after.params, after.opt_state, after.ema, metrics))}
    assert kinds == {jnp.dtype("float32"), jnp.dtype("int32"), jnp.dtype("bool")}
    assert after == state
    assert "bf16" in str(jax.make_jaxpr(step)(state, batch, key))


def test_averages_cover_all_that_sampling_uses():
    gan = build.complete({"algorithm": {"name": "gan"}, "data": {"name": "digits"}})
    gan["algorithm"] |= {"generator": "MlpGenerator", "discriminator": "MlpDiscriminator"}
    for completed, expected in (
        (gan | {"ema_decay": 0.9}, {"generator"}),
        (vae(ema_decay=0.9), {"encoder", "decoder"}),
        (vae(ema_decay=0.9, ema_networks=("decoder",)), {"decoder"}),
    ):
        run = build.run(completed, IMAGES)
        state = jax.eval_shape(run.algorithm.init, jax.random.key(0))
        assert set(state.ema["params"]) == expected


def test_the_example_is_the_prepared_batch():
    images, text = build.example_of(IMAGES, 4), build.example_of(TEXT, 2)
    assert images.batch["image"].shape == (4, 8, 8, 1)
    assert images.batch["image"].dtype == jnp.float32
    assert (images.num_classes, text.vocab) == (3, 11)
    assert text.batch["tokens"].shape == (2, 17)


def test_a_language_model_gets_vocabulary_and_context():
    raw = {"algorithm": {"name": "attention", "network_args": {"dim": 8, "layers": 1, "heads": 2}}}
    run = build.run(build.complete(raw | {"data": {"name": "python_text"}}), TEXT)
    params = jax.eval_shape(run.algorithm.init, jax.random.key(0)).params["model"]
    shapes = {x.shape for x in jax.tree.leaves(params)}
    assert {(11, 8), (16, 8)} <= shapes


def test_a_label_reaches_the_networks_only_where_the_model_is_conditional():
    example = build.example_of(IMAGES, 4)
    assert build.offered_by(vae(), example)["num_classes"] == 0
    conditional = vae()
    conditional["algorithm"]["conditional"] = True
    assert build.offered_by(conditional, example)["num_classes"] == 3


@pytest.mark.parametrize(
    ("raw", "overrides", "said"),
    [
        ({"algorithm": 3}, (), r"config\.algorithm = 3: must be a dict"),
        ({"algorithm": "gan"}, [("algorithm.name", "vae")], r"config\.algorithm = 'gan': must be"),
        ({"data": None}, [("data.name", "digits")], r"config\.data = None: must be a dict"),
        ({}, [("sharding", "json:loads")], r"config\.sharding = 'json:loads': must take no arg"),
        ({}, [("profile_steps", "²:3")], r"config\.profile_steps = '²:3': must be A:B"),
        ({}, [("algorithm.name", "math:sqrt")], r"'math:sqrt': must take its options by keyword"),
        ({}, [("algorithm.name", f"{__name__}:nothing")], r"nothing': gives a NoneType; accepted"),
    ],
)
def test_a_config_of_another_form_is_told_in_a_line(raw, overrides, said, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"data": {"name": "digits"}} | raw))
    with pytest.raises(ValueError, match=said):
        build.run(build.configured(config.load(str(path)), overrides), IMAGES)


def nothing(**options):
    return None


def test_an_image_is_not_moved_out_of_sight_but_in_runs_that_began_so():
    raw = vae(augment={"shift": 8})
    with pytest.raises(ValueError, match=r"augment\.shift = 8: must be less than the 8 x 8"):
        build.run(raw, IMAGES)
    with refusals.only_said() as said:
        run = build.run(raw, IMAGES)
    assert len(said) == 1
    batch = {"image": jnp.zeros((2, 8, 8, 1), jnp.uint8)}
    assert run.prepare(jax.random.key(0), batch)["image"].shape == (2, 8, 8, 1)
