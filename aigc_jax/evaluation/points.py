"""Modes of generated points of the plane, where the true ones are known."""

from collections.abc import Callable

import numpy as np

from aigc_jax.data.points import Mixture
from aigc_jax.evaluation.results import Figure, Findings, Metric, nothing
from aigc_jax.media import points as pictures
from aigc_jax.metrics import modes

SAMPLES = 2500  # of PacGAN's protocol


def findings(mixture: Mixture, draw: Callable[[int], np.ndarray], test: np.ndarray) -> Findings:
    """What 2,500 samples cover of a mixture of Gaussians, beside what real points do.

    Args:
      mixture: the Gaussians that the data were drawn from.
      draw: number of samples -> points [N, 1, 1, 2], scaled as the data.
      test: real points [M, 1, 1, 2]; fewer than 2,500 are a floor of as many.
    """
    made = draw(SAMPLES)
    values, floors = (
        modes.gaussian_modes(batch.reshape(-1, 2) * mixture.scale, mixture.means, mixture.deviation)
        for batch in (made, test[:SAMPLES])
    )
    spread = f"{len(mixture.means)} Gaussians of standard deviation {mixture.deviation:g}"
    near = f"within {modes.HIGH_QUALITY_SIGMAS} standard deviations of a mean"
    told = {
        "found": ("modes", "higher", f"modes with at least one sample {near}"),
        "high_quality": ("high_quality_share", "test", f"share of samples {near}"),
        "reverse_kl": (
            *("reverse_kl", "lower"),
            "KL(samples' modes | uniform), every sample counted for its nearest mode",
        ),
        "reverse_kl_high_quality": (
            *("reverse_kl_high_quality", "lower"),
            f"the same of the samples {near} only, as PacGAN reports it",
        ),
    }
    found = nothing()
    for field, (metric, better, text) in told.items():
        unit = "nats" if "kl" in metric else ""
        found.metrics[metric] = Metric(
            float(getattr(values, field)),
            SAMPLES,
            f"{text}; {spread}; {SAMPLES:,} samples",
            {"test": float(getattr(floors, field))},
            better,
            unit,
        )
    for figure, batch in (("samples", made), ("real", test)):
        text = f"{SAMPLES:,} {'samples' if figure == 'samples' else 'real points'}."
        pixels = pictures.scatter(batch[:SAMPLES].reshape(-1, 2))
        found.figures.append(Figure(figure, figure.capitalize(), text, pixels))
    return found
