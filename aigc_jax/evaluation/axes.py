"""Axes of a chart: round ticks that cover the values, and where on the page a value stands."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

MANTISSAS = (1, 2, 5, 10)
OUTLYING = 4  # an axis shows the middle values only if all span so many times their range
MIDDLE = (5, 97)  # percentiles
LOG_FROM = 100  # positive values whose middle spans this ratio stand on a log axis


class Axis(NamedTuple):
    """Values `low` to `high` on page coordinates `start` to `end`."""

    low: float
    high: float
    start: float
    end: float
    log: bool
    ticks: tuple[float, ...]


def linear_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round values, 1, 2 or 5 of a power of ten apart, that enclose the range."""
    rough = (high - low) / max(count - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next((m for m in MANTISSAS if m * power >= rough * 0.999), 10)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten around the positive range, at most seven; with 2 and 5 where few are."""
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    last = max(last, first + 1)
    if last - first > 2:
        stride = -(-(last - first) // 6)
        return [10.0**i for i in range(first, last + stride, stride)]
    ticks = sorted({m * 10.0**i for i in range(first, last) for m in MANTISSAS})
    below = max(t for t in ticks[:-1] if t <= low * 1.000001)
    above = min(t for t in ticks if t >= high * 0.999999 and t > below)
    return [t for t in ticks if below <= t <= above]


def steps_axis(last: float, start: float, end: float) -> Axis:
    """The axis of steps 0 to `last`, with ticks inside it."""
    last = max(last, 1)
    ticks = tuple(t for t in linear_ticks(0, last, 6) if t <= last)
    return Axis(0, last, start, end, False, ticks)


def values_axis(values: Sequence[float], start: float, end: float, log: bool = False) -> Axis:
    """The axis of finite values, between two of its ticks.

    It is logarithmic where `log` asks for it or the middle values span a ratio of 100, if all are
    positive. Where a few values lie far out, as those of the first steps often do, a linear axis
    covers the others.
    """
    values = np.asarray(values, np.float64)
    low, high = float(values.min()), float(values.max())
    middle = np.percentile(values, MIDDLE)
    if low > 0 and (log or middle[1] > LOG_FROM * middle[0]):
        ticks = log_ticks(low, high)
        return Axis(ticks[0], ticks[-1], start, end, True, tuple(ticks))
    if high - low > OUTLYING * (middle[1] - middle[0]) > 0:
        low, high = (float(x) for x in middle)
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        low, high = low - 0.1 * abs(low), high + (0.1 * abs(high) or 1.0)
    ticks = linear_ticks(low, high)
    return Axis(ticks[0], ticks[-1], start, end, False, tuple(ticks))


def position(axis: Axis, value: float) -> float:
    """Where `value` stands on the page; beyond start or end if it is beyond low or high."""
    low, high, value = (math.log10(v) if axis.log else v for v in (axis.low, axis.high, value))
    return axis.start + (value - low) / (high - low) * (axis.end - axis.start)


def thinned(points: Sequence[tuple[float, float]], buckets: int) -> list[tuple[float, float]]:
    """At most 2 of every bucket of neighbouring points, its lowest and highest, in their order."""
    if len(points) <= 2 * buckets:
        return list(points)
    kept = {0, len(points) - 1}
    for part in np.array_split(np.arange(len(points)), buckets):
        values = [points[i][1] for i in part]
        kept |= {int(part[np.argmin(values)]), int(part[np.argmax(values)])}
    return [points[i] for i in sorted(kept)]


def unbroken(points: Sequence[tuple[float, float]]) -> list[list[tuple[float, float]]]:
    """The stretches of points between values that are not finite."""
    stretches = [[]]
    for step, value in points:
        if math.isfinite(value):
            stretches[-1].append((step, value))
        elif stretches[-1]:
            stretches.append([])
    return [stretch for stretch in stretches if stretch]


def smoothed(points: Sequence[tuple[float, float]], count: int) -> list[tuple[float, float]]:
    """`count` of the points with the median of their neighbourhood, 2 % of all to each side.

    It shrinks to nothing at the start, where curves are steep, and looks back at the end.
    """
    values, last = [value for _, value in points], len(points) - 1
    middles = np.unique(np.linspace(0, last, count).astype(int)).tolist()
    reach = {i: min(len(points) // 50, i) for i in middles}
    return [
        (points[i][0], float(np.median(values[i - reach[i] : i + reach[i] + 1]))) for i in middles
    ]
