"""How a quantity of a compiled program grows with the number of devices: small laws, fitted."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

# Terms beside a constant, from simple to steep; the simplest law within TOLERANCE of the best is
# taken. Programs are made of arrays that are whole, divided, or as long as the mesh.
TERMS: Mapping[str, Callable] = {
    "a": lambda n: [np.ones_like(n)],
    "a + b/n": lambda n: [np.ones_like(n), 1 / n],
    "a + b log n": lambda n: [np.ones_like(n), np.log2(n)],
    "a + b n": lambda n: [np.ones_like(n), n],
    "a + b n + c/n": lambda n: [np.ones_like(n), n, 1 / n],
}
TOLERANCE = 1e-3
# Where no law comes this near to the last point, programs changed their ways: its value stands.
ROUGH = 0.1
LAST = "last"


class Law(NamedTuple):
    """value(n) = coefficients . TERMS[form](n), or the last value, whatever n."""

    form: str
    coefficients: tuple[float, ...]
    error: float  # relative, of predicting the greatest n from a fit to the others

    def at(self, n: float) -> float:
        """The value at n devices, not below 0."""
        return max(0.0, _value(self.form, self.coefficients, n))


def law(values: Mapping[int, float]) -> Law:
    """The law of {devices: value}, fitted to the relative error of all points.

    Its form is chosen by, and its `error` is that of, predicting the greatest number of devices
    from the others: what an extrapolation by the same factor may be off. With one point it is that
    value for any n, the error unknown (nan).

    Raises:
      ValueError: if there is no point.
    """
    if not values:
        raise ValueError("values = {}: a law needs at least one number of devices")
    points = dict(sorted(values.items()))
    *fewer, last = points
    if not fewer:
        return Law("a", (float(points[last]),), float("nan"))
    errors = {}
    for form, terms in TERMS.items():
        if len(fewer) > len(terms(np.ones(1))):  # one point more than unknowns, or the fit is exact
            coefficients = _fitted(form, {n: points[n] for n in fewer})
            errors[form] = abs(_value(form, coefficients, last) - points[last])
    if not errors:
        coefficients = _fitted("a", {n: points[n] for n in fewer})
        errors = {"a": abs(_value("a", coefficients, last) - points[last])}
    scale = max(abs(points[last]), 1e-30)
    best = min(errors.values())
    form = next(f for f, error in errors.items() if error <= best + TOLERANCE * scale)
    if best > ROUGH * scale:
        return Law(LAST, (float(points[last]),), errors[form] / scale)
    return Law(form, _fitted(form, points), errors[form] / scale)


def _fitted(form: str, points: Mapping[int, float]) -> tuple[float, ...]:
    n, values = np.array(list(points), float), np.array(list(points.values()), float)
    weight = 1 / np.maximum(np.abs(values), max(np.abs(values).max(), 1e-30) * 1e-6)
    columns = np.stack(TERMS[form](n), axis=1) * weight[:, None]
    size = np.linalg.norm(columns, axis=0)
    solution, *_ = np.linalg.lstsq(columns / size, values * weight, rcond=None)
    return tuple((solution / size).tolist())


def _value(form: str, coefficients: tuple[float, ...], n: float) -> float:
    terms = TERMS.get(form, TERMS["a"])(np.array([float(n)]))
    return float(sum(c * term[0] for c, term in zip(coefficients, terms, strict=True)))
