"""Rules between the values of a config, and between a config and its networks."""

import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from aigc_jax import config as configs
from aigc_jax import core

PRECISIONS = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def check(config: Mapping[str, Any]) -> None:
    """Rules between the values of a config.

    Raises:
      ValueError: naming the key, its value and the rule.
    """
    options = {
        "precision": PRECISIONS,
        "parallel": ("jit", "pmap"),
        "keep_best_mode": ("min", "max"),
    }
    for key, accepted in options.items():
        if config[key] not in accepted:
            raise ValueError(configs.unknown(f"config.{key} = {config[key]!r}", accepted))
    configs.profiled_steps(config["profile_steps"])
    for pattern in (*config["freeze"], *config["init_params"]):
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"config: {pattern!r} is not a regular expression ({error})") from None
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
    if config["keep_best"] and config["save_every"] % config["eval_every"]:
        raise ValueError(
            f"config.save_every = {config['save_every']}: must be a multiple of config.eval_every "
            f"= {config['eval_every']} where config.keep_best names a metric"
        )


def check_patterns(config: Mapping[str, Any], params: core.PyTree) -> None:
    """Every regex of `freeze` and `init_params` must match a parameter."""
    leaves = jax.tree_util.tree_flatten_with_path(params)[0]
    names = [core.path_name(path) for path, _ in leaves]
    for key in ("freeze", "init_params"):
        for pattern in config[key]:
            if not any(re.search(pattern, name) for name in names):
                raise ValueError(
                    f"config.{key}: {pattern!r} matches no parameter. There are: {', '.join(names)}"
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
