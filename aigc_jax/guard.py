"""The finite guard: which metric or parameter stopped being finite, and at which step."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from aigc_jax.core import Algorithm, Metrics, State, path_name


def _watched(state: State, metrics: Metrics) -> dict[str, jax.Array]:
    paths = jax.tree_util.tree_flatten_with_path(state.params)[0]
    named = {"params/" + path_name(path): leaf for path, leaf in paths}
    return {**{f"metric {name}": metrics[name] for name in sorted(metrics)}, **named}


def watched_names(state: State, metrics: Metrics) -> list[str]:
    """Names that `guard["name"]` counts: metrics in alphabetical order, then parameters."""
    return list(_watched(state, metrics))


def guarded(algorithm: Algorithm) -> Algorithm:
    """Remembers in `state.guard` the first step whose metrics or parameters were not finite."""

    def init(key):
        none = jnp.full((), -1, jnp.int32)
        return algorithm.init(key).replace(guard={"step": none, "name": none.copy()})

    def step(state, batch, key):
        new, metrics = algorithm.step(state, batch, key)
        watched = _watched(new, metrics).values()
        bad = ~jnp.stack([jnp.isfinite(x).all() for x in watched])
        first = (state.guard["step"] < 0) & bad.any()
        seen = {"step": state.step + 1, "name": jnp.argmax(bad).astype(jnp.int32)}
        guard = {k: jnp.where(first, seen[k], state.guard[k]) for k in seen}
        return new.replace(guard=guard), metrics

    return algorithm._replace(init=init, step=step)


def nonfinite_share(seen: Mapping, after: int, until: int) -> float:
    """The share of the steps after .. until from the first one that was not finite on.

    0 in a healthy run; since `check_finite` stops the others, only their last row has more.
    """
    first = int(jax.device_get(seen["step"]))
    return 0.0 if first < 0 else (until - max(first, after + 1) + 1) / (until - after)


def check_finite(state: State, metrics: Mapping[str, jax.Array], seen: Mapping) -> None:
    """Stops the run at the first metric or parameter that was not finite.

    Raises:
      FloatingPointError: with its name and step. Nothing is saved after that step.
    """
    seen = jax.device_get(seen)
    if seen["step"] >= 0:
        name = watched_names(state, metrics)[int(seen["name"])]
        raise FloatingPointError(
            f"{name} was not finite at step {int(seen['step'])}; the checkpoints before it are "
            "kept. Try a lower learning rate, config.optimizer.*.clip_norm or a float32 precision"
        )
