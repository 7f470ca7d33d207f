"""Rules beside options: values without a meaning, and those that do nothing, are refused."""

import functools
import inspect
import math
import re
import sys
import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import pytest

from aigc_jax import (
    build,
    checks,
    config,
    families,
    kinds,
    optim,
    preprocess,
    ranges,
    refusals,
)
from aigc_jax.data import load
from aigc_jax.ranges import above, at_least, below, between, needs, only_with, up_to, within

FAMILIES = {
    "gan": {"algorithm": {"name": "gan"}, "data": {"name": "digits"}},
    "vae": {"algorithm": {"name": "vae"}, "data": {"name": "digits"}},
    "attention": {"algorithm": {"name": "attention"}, "data": {"name": "python_text"}},
}


def checked(family, *overrides):
    checks.check(build.configured(FAMILIES[family], [o.split("=", 1) for o in overrides]))


def declared(
    *,
    steps: int,
    rate: Annotated[float, at_least(0, "nothing")] = 0.1,
    share: Annotated[float, below(1)] = 0.0,
    scale: Annotated[float, up_to(1)] = 1.0,
    width: Annotated[int | None, above(0)] = None,
    sizes: Annotated[Sequence[int], between(1, 9)] = (3,),
    weights: Annotated[Mapping[str, float], at_least(0)] = {},
    rise: Annotated[int, at_least(0)] = 0,
    fall: Annotated[int, at_least(0), within("steps", "rise")] = 0,
    kind: Literal["a", "b"] = "a",
    only_a: Annotated[float, only_with("kind", "a")] = 0.5,
    with_width: Annotated[str, needs("width")] = "",
    free=1,
    anything: Any = None,
):
    """A section with one option of every kind."""


def fault_of(section):
    with refusals.only_said() as said:
        ranges.check(declared, {"steps": 10} | section, "config.x")
    return said


@pytest.mark.parametrize(
    ("section", "fault"),
    [
        ({"rate": -1}, "rate = -1: must be at least 0 (0: nothing)"),
        ({"rate": math.nan}, "rate = nan: must be finite"),
        ({"rate": -math.inf}, "rate = -inf: must be finite"),
        ({"rate": 1e300}, "rate = 1e+300: must fit into 32 bits, up to 3.4e+38"),
        ({"rate": "1"}, "rate = '1': must be of type float"),
        ({"share": 1.0}, "share = 1.0: must be at least 0 and below 1"),
        ({"scale": 0.0}, "scale = 0.0: must be above 0 and at most 1"),
        ({"width": 0}, "width = 0: must be above 0"),
        ({"width": 2**31}, "width = 2147483648: must fit into 32 bits, up to 2,147,483,647"),
        ({"width": True}, "width = True: must be of type int | None"),
        ({"sizes": (3, 10)}, "sizes = (3, 10): must be from 1 to 9, each"),
        ({"sizes": 3}, "sizes = 3: must be of type tuple[int, ...]"),
        ({"sizes": ["3"]}, "sizes = ['3']: must be of type tuple[int, ...]"),
        ({"weights": {"a": -1.0}}, "weights = {'a': -1.0}: must be at least 0"),
        ({"weights": {"a": "b"}}, "weights = {'a': 'b'}: must be of type dict of float"),
        ({"rise": 6, "fall": 5}, "fall = 5: it + rise = 6 must be at most steps = 10"),
        ({"kind": "c"}, "kind = 'c': must be 'a' or 'b'"),
        (
            {"kind": "b", "only_a": 0.9},
            "only_a = 0.9: does nothing with kind = 'b', only with 'a'",
        ),
        (
            {"with_width": "x"},
            "with_width = 'x': does nothing without width; set that too, or leave this out",
        ),
        ({"free": math.inf}, "free = inf: must be finite"),
        ({"free": "x"}, "free = 'x': must be of type int | float"),
        ({"anything": (1, {"a": math.nan})}, "anything = (1, {'a': nan}): must be finite, each"),
    ],
)
def test_a_broken_rule_is_named_with_option_and_value(section, fault):
    assert fault_of(section)[:1] == [f"config.x.{fault}"]


@pytest.mark.parametrize(
    "section",
    [
        {"rate": 0, "share": 0.999, "scale": 1, "width": None, "sizes": [], "weights": {"a": 0}},
        {"rise": 5, "fall": 5, "kind": "b", "only_a": 0.5},
        {"with_width": "x", "width": 1, "free": 0.5, "anything": object()},
        {"anything": 2**70, "sizes": [3], "unknown": -1},
    ],
)
def test_what_the_rules_allow_passes(section):
    assert fault_of(section) == []


def test_what_nothing_works_without_is_refused_in_stored_runs_too():
    with refusals.only_said(), pytest.raises(ValueError, match=r"config\.x\.rate = -1"):
        ranges.check(declared, {"rate": -1}, "config.x", hard=("rate",))


# (family, overrides, what the message must say)
REFUSED = [
    ("vae", ("optimizer.model.clip_norm=-1",), "model.clip_norm = -1.0: must be at least 0"),
    ("vae", ("optimizer.model.learning_rate=-1",), "model.learning_rate = -1.0: must be at least"),
    ("gan", ("optimizer.generator.b1=1",), "generator.b1 = 1.0: must be at least 0 and below 1"),
    ("gan", ("optimizer.discriminator.b2=2",), "discriminator.b2 = 2.0: must be"),
    ("vae", ("optimizer.model.eps=0",), "eps = 0.0: must be above 0"),
    ("vae", ("optimizer.model.learning_rate=1e999",), "learning_rate = inf: must be finite"),
    ("vae", ("optimizer.model.momentum=0.9",), "momentum = 0.9: does nothing with name = 'adam'"),
    ("vae", ("optimizer.model.name=sgd", "optimizer.model.b1=0.5"), "b1 = 0.5: does nothing with"),
    ("vae", ("optimizer.model.name=lion", "optimizer.model.eps=1e-5"), "eps = 1e-05: does nothing"),
    ("vae", ("optimizer.model.weight_decay=0.1",), "weight_decay = 0.1: does nothing with name"),
    (
        *("vae", ("optimizer.model.name=adamw", "optimizer.model.weight_decay_paths=k")),
        "weight_decay_paths = 'k': does nothing without weight_decay",
    ),
    ("vae", ("ema_networks=decoder",), "config.ema_networks = ('decoder',): does nothing without"),
    ("vae", ("init_params=x",), "config.init_params = ('x',): does nothing without init_from"),
    (
        "vae",
        ("keep_best_mode=max",),
        "config.keep_best_mode = 'max': does nothing without keep_best",
    ),
    ("vae", ("max_rollbacks=0", "rollback_lr_scale=0.1"), "rollback_lr_scale = 0.1: does nothing"),
    ("vae", ("parallel=pmap", "sharding=tensor_parallel"), "sharding = 'tensor_parallel': does"),
    ("vae", ("steps=3000000000",), "config.steps = 3000000000: must fit into 32 bits"),
    ("vae", ("rollback_lr_scale=0",), "rollback_lr_scale = 0.0: must be above 0 and at most 1"),
    ("vae", ("algorithm.latent_dim=0",), "config.algorithm.latent_dim = 0: must be at least 1"),
    ("vae", ("algorithm.importance_samples=0",), "importance_samples = 0: must be from 1"),
    ("vae", ("algorithm.beta=-1",), "config.algorithm.beta = -1.0: must be at least 0"),
    ("vae", ("algorithm.free_bits=-1",), "config.algorithm.free_bits = -1.0: must be at least 0"),
    ("vae", ("algorithm.encoder_args.hidden=64,0",), "encoder_args.hidden = (64, 0): must be at"),
    (
        "vae",
        ("algorithm.encoder_args.black=1",),
        "encoder_args.black = 1.0: must be at least -1 an",
    ),
    (
        *("vae", ("algorithm.likelihood=gaussian", "algorithm.likelihood_args.sigma=0")),
        "config.algorithm.likelihood_args.sigma = 0.0: must be above 0",
    ),
    (
        *("vae", ("algorithm.beta_schedule=linear", "algorithm.beta_schedule_args.begin=-1")),
        "config.algorithm.beta_schedule_args.begin = -1: must be at least 0",
    ),
    ("gan", ("algorithm.n_critic=0",), "config.algorithm.n_critic = 0: must be at least 1"),
    ("gan", ("algorithm.pack=0",), "config.algorithm.pack = 0: must be at least 1"),
    ("gan", ("algorithm.penalties.r1=-1",), "penalties = {'r1': -1}: must be at least 0"),
    (
        "gan",
        ("algorithm.penalties.r1=much",),
        "penalties = {'r1': 'much'}: must be of type dict of",
    ),
    (
        "gan",
        ("algorithm.penalties_schedule=cosine",),
        "penalties_schedule = 'cosine': does nothing",
    ),
    ("gan", ("algorithm.discriminator_args.dropout=1",), "dropout = 1.0: must be at least 0 and"),
    (
        "gan",
        ("algorithm.generator_args.widths=8,8",),
        "widths = (8, 8): must be of type tuple[int, ",
    ),
    ("gan", ("algorithm.generator_args.label_features=4",), "label_features = 4: does nothing wit"),
    (
        "attention",
        ("algorithm.start_token=-1",),
        "config.algorithm.start_token = -1: must be at le",
    ),
    (
        "attention",
        ("algorithm.network_args.layers=0",),
        "network_args.layers = 0: must be from 1 to",
    ),
    (
        *("attention", ("algorithm.network=RnnLanguageModel", "algorithm.network_args.dim=0")),
        "config.algorithm.network_args.dim = 0: must be at least 1",
    ),
    (
        "attention",
        ("algorithm.network_args.dropout=-1",),
        "network_args.dropout = -1.0: must be at",
    ),
    (
        "attention",
        ("algorithm.network_args.periods=1",),
        "periods = (1,): must be at least 2, each",
    ),
    ("attention", ("data.context=0",), "config.data.context = 0: must be at least 1"),
    ("attention", ("data.vocab_size=99",), "vocab_size = 99: does nothing with tokenizer = 'auto'"),
    (
        "vae",
        ("keep_every=3", "save_every=2"),
        "config.keep_every = 3: must be a multiple of config.",
    ),
    (
        "vae",
        ("algorithm.encoder_args.latent_dim=3",),
        "encoder_args.latent_dim = 3: comes from conf",
    ),
    (
        "vae",
        ("algorithm.decoder_args.num_classes=3",),
        "decoder_args.num_classes = 3: comes from th",
    ),
    (
        "vae",
        ("algorithm.objective_args.beta=3",),
        "objective_args.beta = 3.0: comes from config.alg",
    ),
    (
        *("vae", ("algorithm.decoder=ConvDecoder", "algorithm.decoder_args.features=")),
        "decoder_args.features = (): must not be empty",
    ),
    ("vae", ("augment.flip=2",), "config.augment.flip = 2.0: must be from 0 to 1"),
    ("vae", ("augment.scale=1",), "config.augment.scale = 1.0: must be at least 0 and below 1"),
]


@pytest.mark.parametrize(("family", "overrides", "said"), REFUSED)
def test_values_without_a_meaning_are_refused(family, overrides, said):
    with pytest.raises(ValueError, match="^(?=config).*" + re.escape(said)):
        checked(family, *overrides)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("wsd warmup=60 decay=50", "decay = 50: it + warmup = 60 must be at most steps = 100"),
        ("wsd warmup=-1 decay=50", "warmup = -1: must be at least 0"),
        ("linear steps=0", "steps = 0: must be at least 1"),
        ("cosine final=-1", "final = -1.0: must be at least 0"),
        ("staircase stages=0", "stages = 0: must be from 1 to 100"),
        ("staircase growth=0", "growth = 0.0: must be above 0"),
    ],
)
def test_phases_of_a_schedule_fit_into_its_steps(arguments, said):
    where = "optimizer.model.learning_rate_schedule"
    name, *rest = arguments.split()
    overrides = ("steps=100", f"{where}={name}", *(f"{where}_args.{a}" for a in rest))
    with pytest.raises(ValueError, match=re.escape(f"config.{where}_args.{said}")):
        checked("vae", *overrides)


def test_phases_that_fit_are_taken():
    rates = "optimizer.model.learning_rate_schedule"
    phases = (f"{rates}=wsd", f"{rates}_args.warmup=60", "steps=100")
    checked("vae", *phases, f"{rates}_args.decay=40")
    checked("vae", *phases, f"{rates}_args.decay=50", f"{rates}_args.steps=200")


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("digits", "context", 3),
        ("digits", "tokenizer", "char"),
        ("digits", "transpose", 2),
        ("grid", "image_size", 8),
        ("stacked_mnist", "max_memory_gib", 2.0),
        ("python_text", "image_size", 8),
        ("python_text", "transpose", 2),
        ("jsb_chorales", "image_size", 8),
    ],
)
def test_an_option_that_a_data_set_does_not_read_is_refused(name, option, value):
    said = rf"config\.data\.{option} = {value!r}: does nothing with data\.name = '{name}'"
    with pytest.raises(ValueError, match=said):
        load.describe({"name": name, option: value})


def test_a_picture_is_never_shifted_out_of_sight():
    raw = FAMILIES["vae"] | {"augment": {"shift": 8}}
    completed = build.complete(raw)
    with pytest.raises(ValueError, match=r"config\.augment\.shift = 8: must be less than the 8"):
        build.run(completed, build.describe_data(completed))


def test_a_stored_run_with_a_value_that_is_refused_now_is_told_and_goes_on():
    completed = build.complete(FAMILIES["vae"])
    completed["optimizer"]["model"] |= {"clip_norm": -1.0, "momentum": 0.9}
    with refusals.only_said() as said:
        checks.check(completed)
    assert [line.split(":")[0] for line in said] == [
        "config.optimizer.model.momentum = 0.9",
        "config.optimizer.model.clip_norm = -1.0",
    ]


def test_a_stored_run_under_pmap_may_name_a_sharding():
    """It was ignored there without a word, and sampling leaves it out."""
    completed = build.complete(
        FAMILIES["vae"] | {"parallel": "pmap", "sharding": "tensor_parallel"}
    )
    with pytest.raises(ValueError, match="config.sharding = 'tensor_parallel': does nothing"):
        checks.check(completed)
    with refusals.only_said() as said:
        checks.check(completed)
    assert len(said) == 1


def test_every_number_of_a_section_has_a_range():
    sections = [config.run, optim.make, preprocess.augment, load.options]
    sections += [families.family(name)[1] for name in families.FAMILIES]
    for function in sections:
        for name, parameter in kinds.parameters(function).items():
            given = name in ("example", "tx", "accumulate", "updates_per_step", "mesh", "channels")
            if any(k in (int, float) for k in kinds.members(kinds.annotation_of(parameter))):
                rules = getattr(parameter.annotation, "__metadata__", ())
                assert given or any(isinstance(r, ranges.Range) for r in rules), (function, name)


def test_annotations_that_cannot_be_read_are_no_hindrance(monkeypatch):
    namespace = {}
    exec(  # noqa: S102
        "def f(*, width: 'Nowhere' = 3, mode: 'int | str' = 'auto', count: 'int' = 1, deep=False):"
        " pass",
        namespace,
    )
    for function in (namespace["f"], functools.partial(namespace["f"], count=2)):
        found = {k: kinds.annotation_of(p) for k, p in kinds.parameters(function).items()}
        assert found == {"width": Any, "mode": int | str, "count": int, "deep": bool}
    ranges.check(namespace["f"], {"width": 4, "mode": 5}, "config.x")
    networks = types.ModuleType("written_as_text")
    monkeypatch.setitem(
        sys.modules, networks.__name__, networks
    )  # where a dataclass looks for its names
    exec(  # noqa: S102
        "from __future__ import annotations\nimport flax.linen as nn\n"
        "class Own(nn.Module):\n    widths: tuple[int, ...] = (8,)\n    other: Nowhere = 1",
        vars(networks),
    )
    found = {k: kinds.annotation_of(p) for k, p in kinds.parameters(networks.Own).items()}
    assert (found["widths"], found["other"]) == (tuple[int, ...], Any)
    with pytest.raises(ValueError, match=r"config\.x\.deep = 1: must be of type bool"):
        ranges.check(namespace["f"], {"deep": 1}, "config.x")
    assert kinds.annotation_of(inspect.signature(declared).parameters["free"]) == int | float


def test_an_integer_without_a_type_stays_one():
    """`range` takes no float; who writes margin=1 may take 0.5 all the same."""
    (count,) = kinds.parameters(lambda count=3: None).values()
    read = [kinds.read(text, kinds.annotation_of(count), "config.x") for text in ("4", "0.5")]
    assert list(map(repr, read)) == ["4", "0.5"]
