"""Whether a run is going well, read off its own metrics: which signal says that it is not.

Signals of a GAN: `fake_distance`, `d_real_sign` and `d_fake_sign`, gradient norms; of a VAE:
`active_units`; of anything with one loss: its `trend`, and `grad_norm`.

Of healthy runs of 10,000 rows at most 1 in 100 is warned of: simulated in `tests/test_health.py`
for plateaus with noise of many kinds, independent from step to step or correlated over 30 of them,
and for every batch size. What is a mean over a batch is looked at over as many rows as it takes to
see enough examples; where the rows that are kept are too few, as for
batches of one, nothing is said.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from statistics import fmean, median
from typing import Any

Row = Mapping[str, float]  # {"step": steps done, name: value}

LATEST = 3  # rows that must agree, at least
KEPT = 256  # rows that anything here looks at
WARM_UP = 0.1  # of the run: what is a symptom later is normal at first
COLLAPSED = 0.4  # of the real images' distance
DECIDED = 0.99  # mean sign of logits: not one image in two hundred is taken for the other kind
JUMP = 50.0  # times the gradient norm of the run so far
PAIRS, DECISIONS = 192, 1024  # examples that tell a collapse, and a decided game, from chance
LONG, SHARE = 200, 0.25  # steps that a loss stays above its best: so many, and of all so far


def warnings(
    rows: Sequence[Row], steps: int, batch_size: int, trend: Mapping[str, Any] | None = None
) -> dict[str, str]:
    """{signal: one line} for everything that the latest rows of a run of `steps` steps show.

    Args:
      rows: the train rows so far, or the last `KEPT` of them, oldest first.
      steps: of the whole run.
      batch_size: examples that a row is about.
      trend: of `aigc_jax.trend`, as numbers, by the last row.
    """
    latest = rows[-LATEST:]
    if len(latest) < LATEST or latest[0]["step"] < WARM_UP * steps:
        return {}
    seen = lambda examples: rows[-max(LATEST, math.ceil(examples / batch_size)) :]
    found = {
        "fake_distance": _collapse(seen(PAIRS), PAIRS / batch_size),
        "d_real_sign": _decided(seen(DECISIONS), DECISIONS / batch_size),
        "active_units": _posterior_collapse(seen(PAIRS), PAIRS / batch_size),
        "loss": _above_best(trend) if trend else "",
    }
    found |= {name: _jump(name, rows) for name in latest[-1] if name.endswith("grad_norm")}
    step = int(latest[-1]["step"])
    return {name: f"warning: step {step}: {text}" for name, text in found.items() if text}


def unmeasured(
    values: Mapping[str, float], before: Collection[str], step: int, split: str
) -> list[str]:
    """One line for each metric of an evaluation that is no number, and was one `before`."""
    lost = [name for name, value in values.items() if not math.isfinite(value)]
    return [
        f"warning: step {step}: {name} of {split} is {values[name]}; no row holds it, and "
        "keep_best does not count it"
        for name in lost
        if name not in before
    ]


def _collapse(rows: Sequence[Row], needed: float) -> str:
    values = _values(rows, "fake_distance")
    if len(values) < needed or max(values[-LATEST:]) >= COLLAPSED or fmean(values) >= COLLAPSED:
        return ""
    return (
        f"fake_distance {values[-1]:.2g}: samples differ from each other less than {COLLAPSED:g} "
        "times as much as real ones; the generator is collapsing"
    )


def _decided(rows: Sequence[Row], needed: float) -> str:
    real, fake = _values(rows, "d_real_sign"), _values(rows, "d_fake_sign")
    if not real or not fake or len(real) < needed:
        return ""
    if fmean(real) <= DECIDED or fmean(fake) >= -DECIDED:
        return ""
    return (
        f"d_real_sign {real[-1]:.3g}, d_fake_sign {fake[-1]:.3g}: the discriminator tells every "
        "image; the generator learns little from it"
    )


def _posterior_collapse(rows: Sequence[Row], needed: float) -> str:
    values = _values(rows, "active_units")
    if not values or len(values) < needed or max(values) >= 1:
        return ""
    return "active_units 0: no latent dimension says anything of the image; the posterior collapsed"


def _above_best(trend: Mapping[str, Any]) -> str:
    above = trend["above"]
    if above < max(LONG, SHARE * trend["count"]):
        return ""
    level, best = trend["level"][0], trend["best"][0]
    return (
        f"loss {level:.4g}: for {above} steps above its best by then, {best:.4g}; the run may be "
        "diverging"
    )


def _jump(name: str, rows: Sequence[Row]) -> str:
    values = _values(rows, name)
    before = values[:-LATEST]
    if len(before) < LATEST or min(values[-LATEST:]) <= JUMP * median(before):
        return ""
    return (
        f"{name} {values[-1]:.3g}: over {JUMP:g} times that of the run so far, "
        f"{median(before):.3g}; the run may be diverging"
    )


def _values(rows: Sequence[Row], name: str) -> list[float]:
    """The signal in every row, nothing if a row lacks it."""
    values = [row.get(name, math.nan) for row in rows]
    return values if not any(map(math.isnan, values)) else []
