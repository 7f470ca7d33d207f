"""Where a loss stands and where it stood at its best, followed at every step on the devices.

Rows are too far apart for it: a loss may fall and rise again before the first of them. A trend is
{"level", "mean", "noise", "best": f32 [2], "count", "above": i32 []}, in `State.guard`, of two
signals: the metric `loss`, and minus the metric `elbo` where there is one, since a weight that
grows over a run, as a VAE's beta may, lets the one rise and not the other.

`level` follows the signal over about 10 steps and `mean` over 100, `noise` is the mean square of
what differs from that mean, and `best` is the lowest level so far. Single outliers move the level
by no more than four times the noise. `above` counts the steps in a row in which both levels were
above their best by four times the noise.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

FAST, SLOW = 10, 100  # steps that `level`, and `mean` and `noise`, look back
MARGIN = 4.0  # times the noise
LARGEST = 1e18  # of a signal: squares of larger ones are infinite, and so would the noise stay

Trend = dict[str, jax.Array]


def begin() -> Trend:
    """The trend before the first step."""
    names = ("level", "mean", "noise", "best")
    counts = {name: jnp.zeros((), jnp.int32) for name in ("count", "above")}
    return {name: jnp.zeros((2,), jnp.float32) for name in names} | counts


def signals(metrics: Mapping[str, jax.Array]) -> jax.Array | None:
    """The signals f32 [2] of a step's metrics, None in a game, of which no loss has to fall."""
    if "loss" not in metrics:
        return None
    loss = metrics["loss"]
    both = jnp.stack([loss, -metrics.get("elbo", -loss)]).astype(jnp.float32)
    return jnp.clip(both, -LARGEST, LARGEST)


def follow(trend: Trend, signal: jax.Array) -> Trend:
    """The trend after one more step with `signal` f32 [2]."""
    count = trend["count"] + 1
    fast, slow = (jnp.maximum(1 / count, 1 / span) for span in (FAST, SLOW))
    settled = count > FAST
    spread = jnp.sqrt(trend["noise"])
    gap, deviation = signal - trend["level"], signal - trend["mean"]
    most = jnp.where(settled, MARGIN * spread, jnp.inf)
    level = trend["level"] + fast * jnp.clip(gap, -most, most)
    square = jnp.where(count > 1, deviation**2, 0.0)
    noise = trend["noise"] + slow * (square - trend["noise"])
    best = jnp.where(settled, jnp.minimum(trend["best"], level), level)
    above = jnp.all(level > best + MARGIN * jnp.sqrt(noise))
    return {
        "level": level,
        "mean": trend["mean"] + slow * deviation,
        "noise": noise,
        "best": best,
        "count": count,
        "above": jnp.where(above, trend["above"] + 1, 0),
    }
