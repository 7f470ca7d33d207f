"""The finite guard: a step with anything that is not finite is skipped, counted and remembered.

`State.guard` holds {"skipped": steps skipped so far, "in_a_row": up to now without a good one
between, "rollbacks": times the run went back to a checkpoint, "lr_scale": what learning rates are
multiplied with since, "step" and "name": with which step the last streak of them began and what was
not finite in it, -1 without any}; all i32 [] but "lr_scale", f32 []; and "trend", the course of
the loss over all steps that were not skipped, see trend.py.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aigc_jax import trend
from aigc_jax.core import Algorithm, Metrics, PyTree, State, path_name
from aigc_jax.optim import finite_gradients, primed

NEVER = 2**31 - 1  # steps in a row


class BadStreak(FloatingPointError):
    """Too many steps in a row were not finite: where the run has to go back, and past which data.

    Attributes:
      before: the last step before the streak.
      step: its last step.
      cursor: batches consumed by then.
      guard: `State.guard` by then, as numbers.
    """

    def __init__(self, reason: str, before: int, step: int, cursor: int, guard: Mapping[str, Any]):
        super().__init__(reason)
        self.before, self.step, self.cursor, self.guard = before, step, cursor, dict(guard)


def _named_leaves(prefix: str, tree: PyTree) -> dict[str, jax.Array]:
    paths = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {f"{prefix}/{path_name(path)}": leaf for path, leaf in paths}


def _watched(state: State, metrics: Metrics) -> dict[str, jax.Array]:
    """{name: whether it was finite} of what is known before the parameters are updated."""
    seen = {f"metric {name}": jnp.isfinite(metrics[name]).all() for name in sorted(metrics)}
    gradients = finite_gradients(state.opt_state)
    return seen | {f"gradient of {name}": finite for name, finite in gradients.items()}


def watched_names(state: State, metrics: Metrics) -> list[str]:
    """Names that `guard["name"]` counts: metrics in alphabetical order, then optimisers."""
    gradients = [f"gradient of {name}" for name in finite_gradients(state.opt_state)]
    return [f"metric {name}" for name in sorted(metrics)] + gradients


def _nothing_bad() -> dict[str, jax.Array]:
    count = lambda start: jnp.full((), start, jnp.int32)
    counts = {"skipped": count(0), "in_a_row": count(0), "rollbacks": count(0)}
    counts |= {"lr_scale": jnp.ones(()), "step": count(-1), "name": count(-1)}
    return counts | {"trend": trend.begin()}


def guarded(algorithm: Algorithm, axis_name: str | None = None, most: int = NEVER) -> Algorithm:
    """Skips a step whose metrics or gradients are not finite: the state stays as it was.

    After `most` such steps in a row every step is skipped, so that whoever looks at the guard from
    time to time finds the streak, however long ago it was.

    Parameters are not looked at, which would take a pass over them: where an update of finite
    gradients ruins them, the metrics of the next step say so, and no such state is saved.

    Learning rates are multiplied with `guard["lr_scale"]`, in optimisers made by `optim.make`.

    Args:
      axis_name: of the devices of a pmap, which skip together.
    """

    def init(key):
        return algorithm.init(key).replace(guard=_nothing_bad())

    def followed(before, metrics, skip):
        signal = trend.signals(metrics)
        if signal is None:
            return before
        signal = jax.lax.pmean(signal, axis_name) if axis_name else signal
        after = trend.follow(before, signal)
        return jax.tree.map(lambda old, new: jnp.where(skip, old, new), before, after)

    def step(state, batch, key):
        guard = state.guard
        ready = primed(state.opt_state, guard["lr_scale"])
        new, metrics = algorithm.step(state.replace(opt_state=ready), batch, key)
        bad = ~jnp.stack(list(_watched(new, metrics).values()))
        if axis_name:
            bad = jax.lax.pmax(bad.astype(jnp.int32), axis_name) > 0
        skip = bad.any() | (guard["in_a_row"] >= most)
        kept = jax.tree.map(lambda old, value: jnp.where(skip, old, value), state, new)
        one, starts = skip.astype(jnp.int32), skip & (guard["in_a_row"] == 0)
        counted = {
            "skipped": guard["skipped"] + one,
            "in_a_row": (guard["in_a_row"] + 1) * one,
            "step": jnp.where(starts, state.step + 1, guard["step"]),
            "name": jnp.where(starts, jnp.argmax(bad).astype(jnp.int32), guard["name"]),
            "trend": followed(guard["trend"], metrics, skip),
        }
        return kept.replace(guard=guard | counted), metrics

    return algorithm._replace(init=init, step=step)


@jax.jit
def _finite_flags(leaves: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    return {name: jnp.isfinite(x).all() for name, x in leaves.items()}


def nonfinite_part(state: State) -> str:
    """The name of a part of the state that is not finite, "" in a state that may be saved."""
    leaves: dict[str, jax.Array] = {}
    for name in ("params", "opt_state", "mutable", "ema", "extra"):
        leaves |= _named_leaves(name, getattr(state, name))
    floats = {k: x for k, x in leaves.items() if jnp.issubdtype(x.dtype, jnp.floating)}
    flags = jax.device_get(_finite_flags(floats))
    return next((name for name, finite in flags.items() if not finite), "")


def counts(guard: PyTree) -> dict[str, Any]:
    """The guard on the host, as it is."""
    return jax.tree.map(lambda value: np.asarray(value).tolist(), dict(guard))


def as_numbers(guard: PyTree, state: State, metrics: Metrics) -> dict[str, Any]:
    """The guard on the host, with the name itself in "name" ("" for none)."""
    seen = counts(guard)
    name = "" if seen["name"] < 0 else watched_names(state, metrics)[seen["name"]]
    return seen | {"name": name}
