"""Config -> objects: the only place that turns names into functions, networks and data."""

import inspect
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from aigc_jax import checks, core, kinds, optim, overrides, preprocess, ranges, vocabulary
from aigc_jax import config as configs
from aigc_jax.data import conformance
from aigc_jax.data import load as data
from aigc_jax.data.dataset import Dataset, Info
from aigc_jax.data.dirt import say
from aigc_jax.families import RATES, family, optimizers_of
from aigc_jax.guard import guarded
from aigc_jax.names import find, is_code, resolve
from aigc_jax.refusals import refuse

SECTIONS = ("algorithm", "optimizer", "data", "augment", "sampling")


class Run(NamedTuple):
    """What a config stands for, before any data is prepared."""

    config: Mapping[str, Any]
    info: Info
    example: core.Example
    algorithm: core.Algorithm
    prepare: Callable  # (key, raw batch) -> batch, augmented
    normalise: Callable  # the same for evaluation: (key, raw batch) -> batch
    digest: str = ""  # of the config that the run began with, where it is known


def _options(function: Callable, known: Mapping[str, Any], leave_out: tuple) -> dict[str, Any]:
    """The schema of one section: keyword defaults, names for functions, `_args` beside names."""
    found = configs.schema(function, leave_out)
    found = {k: v.__name__ if inspect.isfunction(v) else v for k, v in found.items()}
    named = [option for option in known if not isinstance(found[option], Mapping)]
    return found | {f"{option}_args": {} for option in named}


GIVEN = ("example", "tx", "axis_name")  # arguments of `make` that no config sets


def complete(raw: Mapping[str, Any], trust: Collection[str] | None = None) -> dict[str, Any]:
    """The config with every option of every section in place.

    Raises:
      ValueError: for an unknown section, key or name, or a value of the wrong type.
    """
    top = configs.schema(configs.run)
    for key in raw:
        if key not in top and key not in SECTIONS:
            raise ValueError(configs.unknown(f"config.{key}", [*top, *SECTIONS]))
        if key in SECTIONS and not isinstance(raw[key], Mapping):
            raise ValueError(f"config.{key} = {raw[key]!r}: must be a dict")
    accepted = schemas(raw, trust)
    full = configs.fill({k: v for k, v in raw.items() if k in top}, top, "config")
    for section in ("algorithm", "data", "augment"):
        given = raw.get(section, {})
        full[section] = configs.fill(given, accepted[section], f"config.{section}")
    full["optimizer"] = _complete_optimizers(raw.get("optimizer", {}), accepted["optimizer"])
    full["sampling"] = dict(raw.get("sampling", {}))
    return full


def schemas(raw: Mapping[str, Any], trust: Collection[str] | None = None) -> dict[str, Any]:
    """{option or section: its default or type, see `config.schema`} of the names in a config."""
    module, make = family(raw.get("algorithm", {}).get("name", "gan"), trust)
    algorithm = _options(make, getattr(module, "NAMES", {}), (*GIVEN, "accumulate"))
    rule = _options(optim.make, RATES, ("updates_per_step",))
    return configs.schema(configs.run) | {
        "algorithm": {"name": "gan"} | algorithm,
        "optimizer": {name: rule for name in optimizers_of(module)},
        "data": data_schema(raw, trust),
        "augment": configs.schema(preprocess.augment),
    }


def configured(
    raw: Mapping[str, Any], assignments: Sequence[tuple[str, str]] = ()
) -> dict[str, Any]:
    """A config file's dict completed and overridden; the algorithm and data are named first."""
    raw = {key: dict(v) if isinstance(v, Mapping) else v for key, v in raw.items()}
    for key, value in assignments:
        section, _, option = key.partition(".")
        named = section in ("algorithm", "data") and option == "name"
        if named and isinstance(raw.setdefault(section, {}), dict):  # else it is refused below
            raw[section]["name"] = value
    before = complete(raw)
    after = overrides.override(before, assignments, _arguments)
    for line in overrides.dropped(before, after):
        print(line, file=sys.stderr)
    # Completed again, for an override is only checked by the type of the value that it replaces.
    return complete(after)


def _arguments(config: Mapping[str, Any], path: Sequence[str]) -> dict[str, inspect.Parameter]:
    """What the arguments at a path, ["algorithm", "network_args"], are declared as, by name."""
    section, where, option = config, "config", path[-1].removesuffix("_args")
    for part in path[:-1]:
        section, where = section[part], f"{where}.{part}"
    module, _ = family(config["algorithm"]["name"])
    known = RATES if path[0] == "optimizer" else getattr(module, "NAMES", {})
    return kinds.parameters(find(section[option], known[option], f"{where}.{option}"))


def data_schema(raw: Mapping[str, Any], trust: Collection[str] | None) -> dict[str, Any]:
    """The keys of the data section: those of the project's sets, or of the user's own function."""
    name = str(raw.get("data", {}).get("name", ""))
    if not is_code(name):
        return configs.schema(data.options)
    if trust is not None and name.partition(":")[0] not in trust:
        return {k: None for k in raw["data"]}
    return {"name": str} | configs.schema(find(name, (), "config.data.name", trust))


def _complete_optimizers(raw: Mapping[str, Any], accepted: Mapping[str, Any]) -> dict[str, Any]:
    for name in raw:
        if name not in accepted:
            raise ValueError(configs.unknown(f"config.optimizer.{name}", accepted))
    return {
        name: configs.fill(raw.get(name, {}), rule, f"config.optimizer.{name}")
        for name, rule in accepted.items()
    }


def optimizers(config: Mapping[str, Any], trust: Collection[str] | None = None) -> dict[str, Any]:
    """{name: optax transformation} of `config.optimizer`, with frozen parameters masked."""
    module, _ = family(config["algorithm"]["name"], trust)
    built = {}
    for name, counted_by in optimizers_of(module).items():
        where = f"config.optimizer.{name}"
        section = dict(config["optimizer"][name])
        options = resolve(section, RATES, {"steps": config["steps"]}, where, trust)
        per_step = config["algorithm"][counted_by] if counted_by else 1
        tx = optim.make(**options, updates_per_step=per_step)
        prefix = "" if name == "model" else f"{name}/"
        tx = optim.frozen(tx, config["freeze"], prefix)
        built[name] = optim.averaged_over("data", tx) if config["parallel"] == "pmap" else tx
    return built


def describe_data(config: Mapping[str, Any], tokenizer: Any = None) -> Info:
    """What the data set is, without preparing it."""
    section = config["data"]
    if is_code(section["name"]):
        return _made(section, tokenizer, None).info
    return data.describe(section, tokenizer)


def load_data(
    config: Mapping[str, Any], tokenizer: Any = None, trust: Collection[str] | None = None
) -> Dataset:
    """The prepared data set, held against what it says of itself.

    A user's own "module:function" gets its options as keywords. `tokenizer` is that of a pretrained
    or stored run.
    """
    section = config["data"]
    if not is_code(section["name"]):
        return conformance.check(data.load(section, tokenizer))
    dataset = _made(section, tokenizer, trust)
    if remark := conformance.remark(dataset):
        say(remark)
    return dataset


def _made(section: Mapping[str, Any], tokenizer: Any, trust: Collection[str] | None) -> Dataset:
    """What a user's own function makes of the options beside its name."""
    function = find(section["name"], (), "config.data.name", trust)
    chosen = {k: v for k, v in section.items() if k != "name"}
    try:
        inspect.signature(function).bind(**chosen)
    except TypeError as error:
        raise ValueError(
            f"config.data.name = {section['name']!r}: must take its options by keyword; {error}"
        ) from None
    dataset = conformance.check(function(**chosen))
    return vocabulary.completed(dataset, tokenizer, trust)


def example_of(info: Info, batch_size: int) -> core.Example:
    """One prepared batch in the abstract, from the facts about a data set."""
    batch = jax.eval_shape(preprocess.normalise, raw_of(info, batch_size))
    return core.Example(batch, info.num_classes, info.vocab)


def raw_of(info: Info, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
    """One raw batch in the abstract."""
    return {
        name: jax.ShapeDtypeStruct((batch_size, *shape), np.dtype(info.dtypes[name]))
        for name, shape in info.shapes.items()
    }


def algorithm(
    config: Mapping[str, Any], example: core.Example, trust: Collection[str] | None = None
) -> core.Algorithm:
    """The algorithm of a completed config, averaged and guarded as it asks."""
    module, make = family(config["algorithm"]["name"], trust)
    section = {k: v for k, v in config["algorithm"].items() if k != "name"}
    axis_name = "data" if config["parallel"] == "pmap" else None
    offered = offered_by(config, example) | {"axis_name": axis_name}
    known = getattr(module, "NAMES", {})
    options = resolve(section, known, offered, "config.algorithm", trust)
    if "axis_name" in inspect.signature(make).parameters:
        options["axis_name"] = axis_name
    tx = optimizers(config, trust)
    options |= {"example": example, "tx": tx, "accumulate": config["accumulate"]}
    named = f"config.algorithm.name = {config['algorithm']['name']!r}"
    try:
        inspect.signature(make).bind(**options)
    except TypeError as error:
        raise ValueError(f"{named}: must take its options by keyword; {error}") from None
    made = make(**options)
    if not isinstance(made, core.Algorithm):
        raise ValueError(f"{named}: gives a {type(made).__name__}; accepted is a core.Algorithm")
    if config["ema_decay"]:
        made = core.with_ema(made, config["ema_decay"], _averaged_networks(config, made))
    return guarded(made, axis_name, config["max_bad_steps"])


def offered_by(config: Mapping[str, Any], example: core.Example) -> dict[str, Any]:
    """What a network class may ask for by declaring a field of that name."""
    offered = {
        "num_classes": example.num_classes,
        "vocab": example.vocab,
        "dtype": checks.PRECISIONS[config["precision"]],
        "steps": config["steps"],
    }
    if "latent_dim" in config["algorithm"]:
        offered["latent_dim"] = config["algorithm"]["latent_dim"]
    if not config["algorithm"].get("conditional", False):
        offered["num_classes"] = 0
    if "image" in example.batch:
        offered["shape"] = example.batch["image"].shape[1:]
    if "tokens" in example.batch:
        offered["context"] = example.batch["tokens"].shape[1] - 1
    return offered


def _averaged_networks(config: Mapping[str, Any], made: core.Algorithm) -> tuple[str, ...]:
    networks = tuple(core.shapes_of(made).params)
    for name in config["ema_networks"]:
        if name not in networks:
            raise ValueError(configs.unknown(f"config.ema_networks = {name!r}", networks))
    return config["ema_networks"] or tuple(n for n in networks if n != "discriminator")


def run(config: Mapping[str, Any], info: Info, trust: Collection[str] | None = None) -> Run:
    """Everything a completed config stands for; no data is read and nothing is compiled."""
    checks.check(config, trust)
    example = example_of(info, config["batch_size"])
    made = algorithm(config, example, trust)
    if config["steps"] * made.batches_per_step > ranges.INT32:
        refuse(
            f"config.steps = {config['steps']}: with {made.batches_per_step} batches each, must "
            f"count up to {ranges.INT32:,} batches at most"
        )
    shapes = core.shapes_of(made)
    checks.check_patterns(config, shapes.params)
    checks.check_accumulate(config, shapes.mutable)
    checks.check_metric(config, made, shapes, example)
    if "image" in example.batch:
        checks.check_shift(config, example)
    prepare = preprocess.prepare(config["augment"])
    jax.eval_shape(prepare, jax.eval_shape(lambda: jax.random.key(0)), raw_of(info, 1))
    return Run(config, info, example, made, prepare, lambda key, raw: preprocess.normalise(raw))
