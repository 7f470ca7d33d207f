"""Configs: overrides, messages about typos, what makes a run another run."""

import json

import pytest

from aigc_jax import build, config, identity, overrides


def options(
    *,
    width: int,
    depth: int = 2,
    rate: float = 0.5,
    flag: bool = False,
    name: str = "relu",
    sizes: tuple = (1, 2),
    limit: int | None = None,
    scale: float | None = None,
    folder: str | None = None,
    anything=None,
    listed: list[int] | None = None,
):
    """A function whose keywords are a section of a config."""


SCHEMA = config.schema(options)
BASE = {
    "steps": 100,
    "seed": 0,
    "freeze": ("a",),
    "optimizer": {"model": {"learning_rate": 0.1, "name": "adam"}},
    "algorithm": {"loss": "hinge", "loss_args": {}, "penalties": {"r1": 1.0}, "deep": False},
    "data": {"name": "digits", "limit": None, "manual_dir": None},
}


def digest(config):
    return identity.digest(config, {})


def filled(**section):
    return config.fill({"width": 3, **section}, SCHEMA, "config.x")


def test_defaults_fill_what_is_not_given():
    expected = dict(depth=2, rate=0.5, flag=False, name="relu", sizes=(1, 2), limit=None)
    expected |= dict(width=3, scale=None, folder=None, anything=None, listed=None)
    assert filled() == expected


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"rate": 1}, 1.0),
        ({"sizes": [3, 4]}, (3, 4)),
        ({"limit": 28}, 28),
        ({"limit": None}, None),
        ({"scale": 2}, 2.0),
        ({"folder": "x"}, "x"),
        ({"anything": [1]}, [1]),
        ({"listed": [1]}, [1]),
    ],
)
def test_values_become_what_the_signature_says(given, kept):
    ((name, _),) = given.items()
    value = filled(**given)[name]
    assert value == kept
    assert type(value) is type(kept)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("width", "3", "int"),
        ("depth", 2.0, "int"),
        ("depth", True, "int"),
        ("depth", None, "int"),
        ("rate", "fast", "float"),
        ("rate", False, "float"),
        ("flag", 1, "bool"),
        ("name", 3, "str"),
        ("sizes", 3, "tuple"),
        ("limit", "28", r"int \| None"),
        ("limit", True, r"int \| None"),
        ("limit", 2.5, r"int \| None"),
        ("scale", "big", r"float \| None"),
        ("folder", 3, r"str \| None"),
    ],
)
def test_a_wrong_type_is_named(key, value, expected):
    with pytest.raises(ValueError, match=rf"config\.x\.{key} = {value!r}: must be.*{expected}"):
        filled(**{key: value})


def test_a_missing_value_is_named():
    with pytest.raises(ValueError, match=r"config\.x\.width: must be given.*int"):
        config.fill({}, SCHEMA, "config.x")


def test_an_unknown_key_is_answered_with_the_nearest_and_all():
    with pytest.raises(ValueError, match=r"config\.x\.dept: .*mean 'depth'\? Accepted: anything, "):
        filled(dept=3)


@pytest.mark.parametrize(
    ("key", "near"),
    [("config.stepps", "steps"), ("config.mode = 'jitt'", "jit"), ("config.a.bacth", "batch")],
)
def test_the_nearest_name_is_found_for_keys_and_for_values(key, near):
    message = config.unknown(key, ["steps", "jit", "pmap", "batch"])
    assert message == f"{key}: unknown; did you mean '{near}'? Accepted: batch, jit, pmap, steps"


def test_without_a_near_name_there_is_no_hint():
    assert config.unknown("config.zzz", ["b", "a"]) == "config.zzz: unknown. Accepted: a, b"


@pytest.mark.parametrize(
    ("dotted", "text", "expected"),
    [
        ("steps", "200", 200),
        ("optimizer.model.learning_rate", "1", 1.0),
        ("optimizer.model.learning_rate", "1e-3", 1e-3),
        ("optimizer.model.name", "3", "3"),
        ("algorithm.deep", "true", True),
        ("freeze", "encoder,^b/", ("encoder", "^b/")),
        ("freeze", "('x',)", ("x",)),
        ("freeze", "", ()),
        ("algorithm.loss_args.margin", "2", 2),
        ("algorithm.loss_args.kind", "soft", "soft"),
        ("algorithm.penalties.r2", "5", 5),
        ("algorithm.penalties", "{'wgan_gp': 10}", {"wgan_gp": 10}),
        ("data.limit", "100", 100),
        ("data.manual_dir", "/some/where", "/some/where"),
    ],
)
def test_an_override_takes_the_type_of_what_it_replaces(dotted, text, expected):
    value = overrides.override(BASE, [(dotted, text)])
    for part in dotted.split("."):
        value = value[part]
    assert value == expected
    assert type(value) is type(expected)


def test_overrides_leave_the_original_alone_and_the_last_one_wins():
    found = overrides.override(BASE, [("steps", "5"), ("steps", "7")])
    assert (found["steps"], BASE["steps"]) == (7, 100)


def test_another_name_drops_the_arguments_of_the_old_one():
    base = overrides.override(BASE, [("algorithm.loss_args.margin", "2")])
    pairs = [("algorithm.loss_args.scale", "3"), ("algorithm.loss", "wasserstein")]
    assert overrides.override(base, pairs)["algorithm"]["loss_args"] == {"scale": 3}
    same = overrides.override(base, [("algorithm.loss", "hinge")])
    assert same["algorithm"]["loss_args"] == {"margin": 2}


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("attention.network_args.scan_layers", "false", False),
        ("attention.network_args.dropout", "0", 0.0),
        ("attention.network_args.positions", "none", "none"),
        ("attention.network_args.kv_heads", "None", None),
        ("attention.network_args.periods", "4", (4,)),
        ("vae.encoder_args.hidden", "64", (64,)),
        ("vae.encoder_args.hidden", "[64, 32]", (64, 32)),
        ("vae.encoder_args.hidden", "", ()),
        ("vae.beta_schedule_args.by", "True", True),
    ],
)
def test_an_argument_takes_the_type_that_is_declared(key, text, expected):
    family, _, rest = key.partition(".")
    named = [("algorithm.beta_schedule", f"{__name__}:doubled")] if "beta" in key else []
    raw = {"algorithm": {"name": family}, "data": {"name": "digits"}}
    found = build.configured(raw, [*named, (f"algorithm.{rest}", text)])["algorithm"]
    for part in rest.split("."):
        found = found[part]
    assert found == expected
    assert type(found) is type(expected)


def doubled(value, *, by=False):
    """A schedule of one's own whose argument has no annotation."""


@pytest.mark.parametrize(
    ("key", "text", "kind"),
    [
        ("network_args.scan_layers", "maybe", "bool"),
        ("network_args.scan_layers", "0", "bool"),
        ("network_args.layers", "2.5", "int"),
        ("network_args.layers", "1e3", "int"),
        ("network_args.dropout", "", "float"),
        ("network_args.periods", "a,b", "int"),
    ],
)
def test_an_argument_of_another_type_is_refused(key, text, kind):
    raw = {"algorithm": {"name": "attention"}, "data": {"name": "python_text"}}
    with pytest.raises(ValueError, match=rf"config\.algorithm\.{key} = .*must be of type {kind}"):
        build.configured(raw, [(f"algorithm.{key}", text)])


def test_another_network_says_which_arguments_it_drops(capsys):
    raw = {"algorithm": {"name": "attention"}, "data": {"name": "python_text"}}
    raw["algorithm"]["network_args"] = {"layers": 2, "heads": 2}
    pairs = [("algorithm.network", "RnnLanguageModel"), ("algorithm.network_args.cell", "gru")]
    found = build.configured(raw, pairs)["algorithm"]
    assert found["network_args"] == {"cell": "gru"}
    assert capsys.readouterr().err == (
        "config.algorithm.network_args: layers, heads of 'Transformer' dropped, not for "
        "'RnnLanguageModel'\n"
    )
    build.configured(raw, [("algorithm.network", "Transformer"), ("steps", "3")])
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a{1,2}", ("a{1,2}",)),
        ("a{1,2},[,b],(c,d)", ("a{1,2}", "[,b]", "(c,d)")),
        (r"a\,b,c", (r"a\,b", "c")),
        ("['a{1,2}', 'b']", ("a{1,2}", "b")),
        ("encoder,,^b/", ("encoder", "^b/")),
    ],
)
def test_commas_inside_of_a_regular_expression_are_its_own(text, parts):
    assert overrides.override(BASE, [("freeze", text)])["freeze"] == parts


@pytest.mark.parametrize(
    ("dotted", "text", "message"),
    [
        ("steps", "many", r"config\.steps = 'many': must be of type int"),
        ("algorithm.deep", "1", r"config\.algorithm\.deep = 1: must be of type bool"),
        ("step", "5", r"config\.step: unknown; did you mean 'steps'"),
        ("algoritm.loss", "x", r"config\.algoritm: unknown; did you mean 'algorithm'"),
        ("algorithm.los", "x", r"config\.algorithm\.los: unknown; did you mean 'loss'"),
        ("steps.x", "1", r"config\.steps: unknown\. Accepted: algorithm, data, optimizer"),
    ],
)
def test_a_bad_override_is_named(dotted, text, message):
    with pytest.raises(ValueError, match=message):
        overrides.override(BASE, [(dotted, text)])


@pytest.mark.parametrize(
    ("key", "text"), [("data.image_size", "big"), ("data.image_size", "2.5"), ("steps", "None")]
)
def test_overrides_of_a_run_are_checked_against_the_signatures(key, text):
    raw = {"algorithm": {"name": "vae"}, "data": {"name": "digits"}}
    with pytest.raises(ValueError, match=rf"config\.{key} = .*must be of type int"):
        build.configured(raw, [(key, text)])
    assert build.configured(raw, [("data.image_size", "16")])["data"]["image_size"] == 16


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 7},
        {"log_every": 3},
        {"eval_every": 3},
        {"save_every": 3},
        {"keep_last": 9},
        {"num_samples": 1},
        {"sampling": {"temperature": 0.5}},
        {"data": {**BASE["data"], "manual_dir": "/elsewhere"}},
        {"freeze": ["a"]},
    ],
)
def test_when_things_happen_and_where_is_not_part_of_the_digest(change):
    assert digest(BASE | change) == digest(BASE)
    assert identity.differences(BASE, BASE | change) == []


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"seed": 1}, "seed: 0 -> 1"),
        ({"freeze": ()}, "freeze: ['a'] -> []"),
        ({"data": {**BASE["data"], "limit": 5}}, "data.limit: None -> 5"),
        ({"algorithm": {"loss": "hinge"}}, "algorithm.deep: False -> (absent)"),
        ({"new": 1}, "new: (absent) -> 1"),
    ],
)
def test_what_else_differs_is_listed_and_changes_the_digest(change, line):
    assert digest(BASE | change) != digest(BASE)
    assert line in identity.differences(BASE, BASE | change)


def test_a_digest_does_not_depend_on_the_order_of_keys():
    turned = dict(reversed(BASE.items()))
    assert digest(turned) == digest(BASE)


def test_an_option_at_its_default_changes_no_digest():
    defaults = {"new": 1, "algorithm.shape": [2, 3]}
    of = lambda change: identity.digest(BASE | change, defaults)
    assert of({"new": 1}) == of({}) == of({"algorithm": {**BASE["algorithm"], "shape": (2, 3)}})
    assert len({of({}), of({"new": 2}), of({"algorithm": {"shape": ()}})}) == 3


def test_a_file_is_loaded_with_its_argument(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def get_config(arg):\n    return {'steps': 3 if arg == 'test' else 5}\n")
    assert config.load(f"{path}:test") == {"steps": 3}
    assert config.load(str(path)) == {"steps": 5}
    stored = tmp_path / "config.json"
    stored.write_text(json.dumps({"config": {"steps": 4}, "commit": "abc"}))
    assert config.load(str(stored)) == {"steps": 4}


def test_a_file_that_cannot_be_loaded_is_named(tmp_path):
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(ValueError, match=r"none\.py: no such file"):
        config.load(str(tmp_path / "none.py"))
    with pytest.raises(ValueError, match=r"empty\.py has no function get_config"):
        config.load(str(tmp_path / "empty.py"))


@pytest.mark.parametrize(("spec", "expected"), [("", None), ("2:10", (2, 10))])
def test_profiled_steps(spec, expected):
    assert config.profiled_steps(spec) == expected


@pytest.mark.parametrize("spec", ["5", "10:2", "a:b", "3:3"])
def test_profiled_steps_that_make_no_sense_are_refused(spec):
    with pytest.raises(ValueError, match=f"'{spec}': must be A:B with A < B"):
        config.profiled_steps(spec)
