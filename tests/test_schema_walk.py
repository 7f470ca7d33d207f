"""Every option behind the configs of the project, with values that make no sense for it.

The outcome is a run that means what was written, or one line that names option and value: never a
traceback. Options, their functions and networks are found by walking the schema.
"""

import copy
import functools
import glob
import math
import pathlib

import commands
import pytest

from aigc_jax import (
    build,
    checks,
    config,
    families,
    kinds,
    names,
    optim,
    parallel,
    preprocess,
    schedules,
)
from aigc_jax.data import load

TEXTS = ("[{'a': 1}]", "big", "-1", "-0.5", "0", "1e999", "1e300", "2147483647", "9" * 12) + (
    *("nan", "", "()", "false", "None", "1e3"),
)
VALUES = (math.nan, -1, 0, True, None, "", "x", (), ("x",), {"a": 1}, 2**40, 1e300, [[math.inf]])
SCHEDULE = "optimizer.model.learning_rate_schedule"
PHASES = ((f"{SCHEDULE}_args.warmup", "1"), (f"{SCHEDULE}_args.decay", "1"))


def declared_by(completed):
    """(function, path of a section, its parameters) of everything that a completed config calls."""
    module, make = families.family(completed["algorithm"]["name"])
    given = (*build.GIVEN, "accumulate", "updates_per_step")
    functions = [(config.run, ""), (make, "algorithm."), (load.options, "data.")]
    functions += [(preprocess.augment, "augment.")]
    functions += [(optim.make, f"optimizer.{name}.") for name in completed["optimizer"]]
    for function, path in functions:
        declared = kinds.parameters(function).items()
        own = {k: p for k, p in declared if path == "" or k not in given}
        yield function, path, own
    sections = [("algorithm", completed["algorithm"], getattr(module, "NAMES", {}))]
    sections += [(f"optimizer.{k}", v, families.RATES) for k, v in completed["optimizer"].items()]
    for where, section, known in sections:
        for option, modules in known.items():
            if isinstance(section[option], str):
                found = names.find(section[option], modules, option)
                declared = names.arguments_of(found, modules)
                yield found, f"{where}.{option}_args.", declared


def walk():
    """{name: (raw config, overrides, dotted option)}: each option of each function once."""
    found, seen = {}, set()
    specs = [(spec, ()) for spec in sorted(glob.glob(f"{commands.ROOT}/configs/*.py"))]
    vae = f"{commands.ROOT}/configs/vae_digits.py"
    convolutional = (("algorithm.encoder", "ConvEncoder"), ("algorithm.decoder", "ConvDecoder"))
    specs += [(vae, convolutional), (vae, (("algorithm.likelihood", "gaussian"),))]
    courses = [name for name in vars(schedules) if name in ("linear", "wsd", "staircase")]
    for name in courses:
        specs.append((vae, ((SCHEDULE, name), *(PHASES if name == "wsd" else ()))))
    for spec, base in specs:
        raw = config.load(f"{spec}:test")
        for function, path, declared in declared_by(build.configured(raw, base)):
            for option in declared:
                if (function, option) not in seen:
                    seen.add((function, option))
                    name = f"{getattr(function, '__qualname__', function)}.{option}"
                    found[f"{function.__module__}.{name}"] = raw, base, path + option
    for axis in config.MESH:
        found[f"mesh.{axis}"] = raw, (), f"mesh.{axis}"
    return found


OPTIONS = walk()


def outcome(raw, assignments, dotted):
    """(completed config, error or "") of what `--describe` does before it traces anything."""
    completed = None
    try:
        completed = build.configured(raw, assignments)
        checks.check(completed)
        mesh = parallel.make_mesh(completed["mesh"])
        parallel.check_batch(completed["batch_size"], completed["accumulate"], mesh)
        if dotted.startswith("data."):
            build.describe_data(completed)
    except ValueError as error:
        return completed, str(error)
    return completed, ""


def value_of(completed, dotted):
    for part in dotted.split("."):
        completed = completed[part]
    return completed


def means(text, value):
    """Whether a value is what the text says."""
    if isinstance(value, tuple):
        inside = kinds.split(text.strip("()"))
        return len(inside) == len(value) and all(map(means, inside, value))
    if isinstance(value, bool) or value is None:
        return text.lower() == str(value).lower()
    return text == value if isinstance(value, str) else float(text) == value


def _same(kept, value):
    return kept == value and isinstance(kept, bool) == isinstance(value, bool)


def is_one_line(message, dotted):
    option = dotted.rpartition(".")[2]
    return "\n" not in message and option.removesuffix("_args") in message


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Nothing has the names that are given as paths."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", OPTIONS)
def test_no_text_ends_in_a_traceback_or_in_another_meaning(name):
    raw, base, dotted = OPTIONS[name]
    for text in TEXTS:
        completed, said = outcome(raw, [*base, (dotted, text)], dotted)
        assert is_one_line(said, dotted) if said else means(text, value_of(completed, dotted)), (
            text,
            said,
        )


@pytest.mark.parametrize("name", OPTIONS)
def test_no_value_of_a_config_file_ends_in_a_traceback(name):
    raw, base, dotted = OPTIONS[name]
    *sections, option = dotted.split(".")
    before = build.configured(raw, base)
    for value in VALUES:
        changed = copy.deepcopy(before)
        functools.reduce(dict.__getitem__, sections, changed)[option] = value
        completed, said = outcome(changed, (), dotted)
        assert is_one_line(said, dotted) if said else _same(value_of(completed, dotted), value), (
            value,
            said,
        )


SECTIONS = ("algorithm", "algorithm.name", "algorithm.encoder", "algorithm.encoder_args") + (
    *("algorithm.beta_schedule", "algorithm.likelihood", "optimizer", "optimizer.model", "data"),
    *("optimizer.model.learning_rate_schedule", "sampling", "augment", "mesh", "data.name"),
)


@pytest.mark.parametrize("dotted", SECTIONS)
def test_no_value_in_place_of_a_section_or_a_name_ends_in_a_traceback(dotted):
    *sections, option = dotted.split(".")
    before = build.configured(config.load(f"{commands.ROOT}/configs/vae_digits.py:test"))
    for value in (*VALUES, "math:sqrt", "nowhere:f", ":", "MlpGenerator", "check", "wsd"):
        changed = copy.deepcopy(before)
        functools.reduce(dict.__getitem__, sections, changed)[option] = value
        _, said = outcome(changed, (), dotted)
        # What a schedule makes is seen when it is built, the options of a sampler when that is.
        later = value == "math:sqrt" or (dotted == "sampling" and isinstance(value, dict))
        assert is_one_line(said, dotted) or (not said and later), (value, said)


# What is accepted so far and may still not fit the networks, or the memory: (family, override).
TRACED = [
    *[("gan", "algorithm.discriminator_args.widths="), ("gan", "algorithm.pack=3")],
    *[("gan", "data.image_size=3"), ("vae", "algorithm.encoder_args.hidden=2147483647")],
    *[("vae", "algorithm.encoder_args.activation=big"), ("vae", "algorithm.latent_dim=2147483647")],
    *[("vae", "algorithm.encoder_args.activation=one_hot"), ("vae", "augment.shift=2147483647")],
    *[("attention", "algorithm.network_args.heads=2147483647"), ("vae", "keep_best=big")],
    *[("attention", "algorithm.network_args.dim=2147483647"), ("vae", "freeze=big")],
    *[("attention", "algorithm.network_args.vocab=0"), ("attention", "algorithm.start_token=999")],
    *[("gan", "steps=2147483647"), ("vae", "ema_networks=big"), ("attention", "augment.flip=1")],
    ("vae", "algorithm.beta_schedule=math:sqrt"),
]


@pytest.mark.parametrize(("family", "override"), TRACED)
def test_what_reaches_a_network_is_built_or_refused_in_a_line(family, override):
    spec, *own = commands.FAMILIES[family]
    chosen = [pair.split("=", 1) for pair in (*own, "ema_decay=0.9", "batch_size=8", override)]
    key, text = override.split("=", 1)
    said = ""
    try:
        completed = build.configured(config.load(f"{commands.ROOT}/configs/{spec}"), chosen)
        build.run(completed, build.describe_data(completed))
    except ValueError as error:
        said = str(error)
    option = key.rpartition(".")[2]
    assert "\n" not in said
    assert not said or option in said or text in said, said


# (family, overrides, what is said; "" where it trains)
TRAINED = [
    ("vae", ("algorithm.encoder_args.hidden=2147483647",), "64 x 2147483647: make it smaller"),
    ("vae", ("batch_size=2147483640",), "config.batch_size = 2147483640: takes "),
    ("vae", ("num_samples=2147483647",), "config.num_samples = 2147483647: takes "),
    ("gan", ("data.image_size=2147483647",), "an example, such as config.data makes them, takes"),
    ("attention", ("sampling.max_tokens=2147483647",), "sampling.max_tokens = 2147483647: must be"),
    ("gan", ("sampling.truncation=-1",), "sampling.truncation = -1.0: must be at least 0"),
    ("vae", ("keep_best=rate",), "config.keep_best = 'rate': nothing says whether"),
    ("attention", ("augment.flip=1",), "config.augment: flip need data with images"),
    ("vae", ("freeze=(en|de){1,1}coder/Dense_0", "keep_last=2147483647"), ""),
]


@pytest.mark.parametrize(("family", "overrides", "said"), TRAINED)
def test_two_steps_are_trained_or_refused_before_anything_is_made(family, overrides, said, capsys):
    code = commands.train("run", family, "steps=2", *overrides)
    message = capsys.readouterr().err
    assert (code, said in message) == (2 if said else 0, True), message
    assert said == "" or message.splitlines()[-1].startswith("error: ")
    assert pathlib.Path("run", "checkpoints").exists() == (said == "")
