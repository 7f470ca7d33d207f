"""The rules of a config: of each value, between values, and between a config and its networks."""

import re
from collections.abc import Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from aigc_jax import config as configs
from aigc_jax import core, names, optim, preprocess, ranges, sharding
from aigc_jax.data import load as data
from aigc_jax.families import RATES, direction_of, family
from aigc_jax.identity import INTERVALS
from aigc_jax.names import find
from aigc_jax.refusals import refuse

PRECISIONS = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def check(config: Mapping[str, Any], trust: Collection[str] | None = None) -> None:
    """Every value of a completed config against the rules beside the option, and between options.

    Raises:
      ValueError: naming the key, its value and the rule.
    """
    hard = [name for name in INTERVALS if not name.startswith("sharding")]  # which pmap ignores
    ranges.check(configs.run, config, "config", hard=hard)
    _check_together(config)
    algorithm = config["algorithm"]
    others = {"steps": config["steps"], "conditional": algorithm.get("conditional", False)}
    module, make = family(algorithm["name"], trust)
    ranges.check(make, algorithm, "config.algorithm")
    names.check(algorithm, getattr(module, "NAMES", {}), others, "config.algorithm", trust)
    for name, section in config["optimizer"].items():
        where = f"config.optimizer.{name}"
        ranges.check(optim.make, section, where)
        names.check(section, RATES, others, where, trust)
    if not names.is_code(config["data"]["name"]):
        ranges.check(data.options, config["data"], "config.data")
    elif trust is None:  # else what was stored about the data is read, and the function is not
        function = find(config["data"]["name"], (), "config.data.name")
        ranges.check(function, config["data"], "config.data")
    ranges.check(preprocess.augment, config["augment"], "config.augment")
    sharding.rules_of(config, trust)


def _check_together(config: Mapping[str, Any]) -> None:
    """Rules between options of the top level."""
    options = {
        "precision": PRECISIONS,
        "parallel": ("jit", "pmap"),
        "keep_best_mode": ("", "min", "max"),
    }
    for key, accepted in options.items():
        if config[key] not in accepted:
            raise ValueError(configs.unknown(f"config.{key} = {config[key]!r}", accepted))
    span = configs.profiled_steps(config["profile_steps"])
    if span and span[0] >= config["steps"]:
        refuse(
            f"config.profile_steps = {config['profile_steps']!r}: must begin before the last of "
            f"config.steps = {config['steps']}"
        )
    decays = [section.get("weight_decay_paths", "") for section in config["optimizer"].values()]
    for pattern in (*config["freeze"], *config["init_params"], *decays):
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"config: {pattern!r} is not a regular expression ({error})") from None
    divided = [axis for axis in ("fsdp", "tensor") if config["mesh"][axis] not in (-1, 1)]
    if config["parallel"] == "pmap" and divided:
        raise ValueError(f"config.parallel = 'pmap': config.mesh.{divided[0]} must be 1")
    if config["batch_size"] % config["accumulate"]:
        raise ValueError(
            f"config.batch_size = {config['batch_size']}: must be a multiple of "
            f"config.accumulate = {config['accumulate']}"
        )
    for key in ("steps", "log_every", "eval_every", "save_every"):
        if config["steps_per_call"] and config[key] % config["steps_per_call"]:
            raise ValueError(
                f"config.{key} = {config[key]}: must be a multiple of "
                f"config.steps_per_call = {config['steps_per_call']}"
            )
    if config["keep_best_mode"] == "max" and not config["keep_best"]:  # "min" was the default once
        refuse("config.keep_best_mode = 'max': does nothing without keep_best")
    if config["keep_every"] % config["save_every"]:
        refuse(
            f"config.keep_every = {config['keep_every']}: must be a multiple of config.save_every "
            f"= {config['save_every']}, since others are not saved"
        )
    if config["keep_best"] and config["save_every"] % config["eval_every"]:
        raise ValueError(
            f"config.save_every = {config['save_every']}: must be a multiple of config.eval_every "
            f"= {config['eval_every']} where config.keep_best names a metric"
        )


def check_patterns(config: Mapping[str, Any], params: core.PyTree) -> None:
    """Every regex of `freeze`, `init_params` and `weight_decay_paths` must match a parameter."""
    leaves = jax.tree_util.tree_flatten_with_path(params)[0]
    names = [core.path_name(path) for path, _ in leaves]
    for key in ("freeze", "init_params"):
        for pattern in config[key]:
            if not any(re.search(pattern, name) for name in names):
                raise ValueError(
                    f"config.{key}: {pattern!r} matches no parameter. There are: {', '.join(names)}"
                )
    for name, section in config["optimizer"].items():
        # An optimiser of one network sees its parameters alone.
        own = [path.removeprefix(f"{name}/") for path in names if path.startswith(f"{name}/")]
        pattern, seen = section["weight_decay_paths"], names if name == "model" else own or names
        if not any(re.search(pattern, path) for path in seen):
            refuse(
                f"config.optimizer.{name}.weight_decay_paths: {pattern!r} matches no parameter, so "
                f"that nothing decays. There are: {', '.join(seen)}"
            )


def check_accumulate(config: Mapping[str, Any], mutable: core.PyTree) -> None:
    """Microbatches are for networks that keep no statistics of the batch that they see."""
    kept = any(jnp.issubdtype(x.dtype, jnp.floating) for x in jax.tree.leaves(mutable))
    if config["accumulate"] > 1 and kept:
        refuse(
            f"config.accumulate = {config['accumulate']}: {', '.join(mutable)} would normalise by, "
            "and keep statistics of, each microbatch for itself, which is another model; use "
            "accumulate=1, or a network without batch statistics, such as with nn.GroupNorm"
        )


def check_shift(config: Mapping[str, Any], example: core.Example) -> None:
    """An image is not moved out of sight."""
    shift, (height, width) = config["augment"]["shift"], example.batch["image"].shape[1:3]
    if shift >= min(height, width):
        refuse(
            f"config.augment.shift = {shift}: must be less than the {height} x {width} pixels of "
            "an image"
        )


def check_metric(
    config: Mapping[str, Any], made: core.Algorithm, shapes: core.State, example: core.Example
) -> None:
    """`keep_best` must name something that evaluation measures."""
    if not config["keep_best"]:
        return
    key = jax.eval_shape(lambda: jax.random.key(0))
    measured = set(jax.eval_shape(made.eval, shapes, example.batch, key)) - {"weight"}
    if config["keep_best"] not in measured:
        raise ValueError(configs.unknown(f"config.keep_best = {config['keep_best']!r}", measured))
    _check_best(config)


def best_mode(config: Mapping[str, Any]) -> str:
    """Whether the "min" or the "max" of `config.keep_best` is best: as given, or as is known."""
    module, _ = family(config["algorithm"]["name"])
    return config["keep_best_mode"] or direction_of(module, config["keep_best"]) or "min"


def _check_best(config: Mapping[str, Any]) -> None:
    """The best must be kept, not the worst."""
    metric, given = config["keep_best"], config["keep_best_mode"]
    known = direction_of(family(config["algorithm"]["name"])[0], metric)
    if not given and not known:
        refuse(
            f"config.keep_best = {metric!r}: nothing says whether less or more of it is better; "
            "give config.keep_best_mode = min or max"
        )
    if given and known and given != known:
        refuse(
            f"config.keep_best_mode = {given!r}: would keep the worst, since the {known} of "
            f"{metric} is best; leave it out"
        )
