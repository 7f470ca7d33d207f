"""Whether a run is going well, read off its own metrics: which signal says that it is not.

Signals of a GAN: `fake_distance`, `d_real_sign` and `d_fake_sign`, gradient norms; of a VAE:
`active_units`; of anything with one loss: `loss` and `grad_norm`.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import median

Row = Mapping[str, float]  # {"step": steps done, name: value}

LATEST = 3  # rows that must agree
WARM_UP = 0.1  # of the run: what is a symptom later is normal at first
COLLAPSED = 0.4  # of the real images' distance
DECIDED = 0.99  # mean sign of logits: not one image in two hundred is taken for the other kind
JUMP = 50.0  # times the gradient norm of the run so far


def warnings(rows: Sequence[Row], steps: int) -> dict[str, str]:
    """{signal: one line} for everything that the latest rows of a run of `steps` steps show.

    Args:
      rows: the train rows so far, oldest first.
      steps: of the whole run.
    """
    latest = rows[-LATEST:]
    if len(latest) < LATEST or latest[0]["step"] < WARM_UP * steps:
        return {}
    found = {
        "fake_distance": _collapse(latest),
        "d_real_sign": _decided(latest),
        "active_units": _posterior_collapse(latest),
        "loss": _above_start(rows),
    }
    found |= {name: _jump(name, rows) for name in latest[-1] if name.endswith("grad_norm")}
    step = int(latest[-1]["step"])
    return {name: f"warning: step {step}: {text}" for name, text in found.items() if text}


def _collapse(latest: Sequence[Row]) -> str:
    values = _values(latest, "fake_distance")
    if not values or max(values) >= COLLAPSED:
        return ""
    return (
        f"fake_distance {values[-1]:.2g}: samples differ from each other less than {COLLAPSED:g} "
        "times as much as real ones; the generator is collapsing"
    )


def _decided(latest: Sequence[Row]) -> str:
    real, fake = _values(latest, "d_real_sign"), _values(latest, "d_fake_sign")
    if not real or not fake or min(real) <= DECIDED or max(fake) >= -DECIDED:
        return ""
    return (
        f"d_real_sign {real[-1]:.3g}, d_fake_sign {fake[-1]:.3g}: the discriminator tells every "
        "image; the generator learns little from it"
    )


def _posterior_collapse(latest: Sequence[Row]) -> str:
    values = _values(latest, "active_units")
    if not values or max(values) >= 1:
        return ""
    return "active_units 0: no latent dimension says anything of the image; the posterior collapsed"


def _above_start(rows: Sequence[Row]) -> str:
    values = _values(rows, "loss")
    if len(values) <= LATEST or min(values[-LATEST:]) <= values[0]:
        return ""
    return f"loss {values[-1]:.4g}: above the first one, {values[0]:.4g}; the run may be diverging"


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
