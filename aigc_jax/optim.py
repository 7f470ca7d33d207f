"""Config -> optax chains, and masks by path regex."""

import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from aigc_jax.core import PyTree, path_name
from aigc_jax.ranges import above, at_least, below, needs, only_with
from aigc_jax.schedules import Schedule, constant, course


class Watched(NamedTuple):
    """The state of a `watched` optimiser."""

    inner: PyTree
    scale: jax.Array  # f32 [], what learning rates are multiplied with
    finite: jax.Array  # bool [], whether all gradients since `primed` were


def make(
    *,
    name: str = "adam",
    learning_rate: Annotated[float, at_least(0)] = 1e-3,
    learning_rate_schedule: Callable[..., Schedule] = constant,
    b1: Annotated[float, below(1), only_with("name", "adam", "adamw", "lion")] = 0.9,
    b2: Annotated[float, below(1), only_with("name", "adam", "adamw", "lion")] = 0.999,
    eps: Annotated[float, above(0), only_with("name", "adam", "adamw")] = 1e-8,
    momentum: Annotated[float, below(1), only_with("name", "sgd")] = 0.0,
    weight_decay: Annotated[float, at_least(0), only_with("name", "adamw", "lion")] = 0.0,
    weight_decay_paths: Annotated[str, needs("weight_decay")] = "",
    clip_norm: Annotated[float, at_least(0, "no limit")] = 0.0,
    updates_per_step: int = 1,
) -> optax.GradientTransformation:
    """An optimiser: clipping by the global norm, then the rule `name` at its learning rate.

    Args:
      name: "adam", "adamw" (decoupled decay, arXiv 1711.05101), "sgd" or "lion" (2302.06675).
      weight_decay: decoupled from the gradients.
      weight_decay_paths: regex of the parameters that decay; "" is all matrices, see `decayed`.
      clip_norm: the largest global norm of the gradients, 0 is no limit.
      updates_per_step: optimiser updates per step of the run; the schedule counts steps.

    Raises:
      ValueError: for an unknown rule.
    """
    at = course(learning_rate_schedule, learning_rate, "learning_rate_schedule")
    rate = lambda count: at(count // updates_per_step)
    mask = lambda params: decayed(params, weight_decay_paths)
    rules = {
        "adam": lambda: optax.adam(rate, b1, b2, eps),
        "adamw": lambda: optax.adamw(rate, b1, b2, eps, weight_decay=weight_decay, mask=mask),
        "sgd": lambda: optax.sgd(rate, momentum or None),
        "lion": lambda: optax.lion(rate, b1, b2, weight_decay=weight_decay, mask=mask),
    }
    if name not in rules:
        raise ValueError(f"optimizer name = {name!r}: unknown. Accepted: {', '.join(rules)}")
    clip = [optax.clip_by_global_norm(clip_norm)] if clip_norm else []
    return watched(optax.chain(*clip, rules[name]()))


def watched(tx: optax.GradientTransformation) -> optax.GradientTransformation:
    """`tx`, its updates times a scale, which also notes whether the gradients were finite.

    What is noted is known before any update is computed, so that skipping a step costs no pass over
    the parameters of its own.
    """

    def init(params):
        return Watched(tx.init(params), jnp.ones(()), jnp.ones((), bool))

    def update(updates, state, params=None):
        finite = state.finite & jnp.isfinite(optax.tree.norm(updates))
        updates, inner = tx.update(updates, state.inner, params)
        updates = jax.tree.map(lambda u: state.scale.astype(u.dtype) * u, updates)
        return updates, Watched(inner, state.scale, finite)

    return optax.GradientTransformation(init, update)


def _is_watched(node: Any) -> bool:
    return isinstance(node, Watched)


def primed(opt_state: PyTree, scale: jax.Array) -> PyTree:
    """The optimiser states with every `watched` one at `scale` and without a bad gradient yet."""
    put = lambda node: Watched(node.inner, scale, jnp.ones((), bool)) if _is_watched(node) else node
    return jax.tree.map(put, opt_state, is_leaf=_is_watched)


def finite_gradients(opt_state: PyTree) -> dict[str, jax.Array]:
    """{name of an optimiser: bool [], whether its gradients were finite since `primed`}."""
    nodes = jax.tree_util.tree_leaves_with_path(opt_state, is_leaf=_is_watched)
    return {path_name(path): node.finite for path, node in nodes if _is_watched(node)}


# What Flax and this project call vectors of one layer, however many layers lie in one array.
VECTORS = ("bias", "scale")


def decayed(params: PyTree, pattern: str) -> PyTree:
    """True where a parameter decays: its path matches, or without a pattern it is a matrix.

    Matrices, the kernels and embeddings of any module, have two or more dimensions and are called
    neither "bias" nor "scale": where layers are stacked for a scan, a bias has two as well. Vectors
    of one's own in stacked layers, under another name, are for the pattern to leave out.
    """

    def decide(path, leaf):
        name = path_name(path)
        if pattern:
            return bool(re.search(pattern, name))
        return leaf.ndim >= 2 and name.rpartition("/")[2] not in VECTORS

    return jax.tree_util.tree_map_with_path(decide, params)


def frozen(
    tx: optax.GradientTransformation, patterns: Sequence[str], prefix: str = ""
) -> optax.GradientTransformation:
    """`tx` for all parameters but those whose path matches a pattern, which get no update.

    Paths are those of `State.params`; `prefix` is what an optimiser of one network does not see.
    """
    if not patterns:
        return tx

    def label(params: PyTree) -> Any:
        def decide(path, _):
            name = prefix + path_name(path)
            return "frozen" if any(re.search(p, name) for p in patterns) else "trained"

        return jax.tree_util.tree_map_with_path(decide, params)

    return optax.multi_transform({"trained": tx, "frozen": optax.set_to_zero()}, label)


class Averaging(NamedTuple):
    """An optimiser whose `update` averages what the devices of a pmap found, each on its part.

    `core.update` asks it for the `mean`, whose norm is no mean of the devices' norms.
    """

    init: Callable
    update: Callable
    mean: Callable  # (gradients of this device) -> gradients of all


def averaged_over(axis_name: str, tx: optax.GradientTransformation) -> Averaging:
    """`tx` on gradients averaged over the devices of a pmap axis."""
    mean = lambda grads: jax.lax.pmean(grads, axis_name)
    averages = lambda grads, state, params=None: (mean(grads), state)
    first = optax.GradientTransformation(lambda _: optax.EmptyState(), averages)
    return Averaging(*optax.chain(first, tx), mean)
