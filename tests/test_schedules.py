"""End points, continuity and shape of every schedule."""

import math

import jax
import numpy as np
import pytest

from aigc_jax import schedules

STEPS = 200
CASES = {
    "constant": schedules.constant(3.0),
    "linear": schedules.linear(3.0, steps=100, begin=50, initial=1.0),
    "cosine": schedules.cosine(3.0, steps=STEPS, final=0.5),
    "warmup_cosine": schedules.warmup_cosine(3.0, steps=STEPS, warmup=20, final=0.5),
    "wsd": schedules.wsd(3.0, steps=STEPS, warmup=20, decay=50, final=0.5),
}


def values(schedule, steps=STEPS + 50):
    return np.asarray(jax.vmap(schedule)(np.arange(steps)))


@pytest.mark.parametrize(
    ("name", "points"),
    [
        ("constant", {0: 3.0, 10**6: 3.0}),
        ("linear", {0: 1.0, 50: 1.0, 100: 2.0, 150: 3.0, 10**6: 3.0}),
        ("cosine", {0: 3.0, STEPS // 2: 1.75, STEPS: 0.5, 10**6: 0.5}),
        ("warmup_cosine", {0: 3 / 21, 19: 3 * 20 / 21, 20: 3.0, 110: 1.75, STEPS: 0.5}),
        ("wsd", {0: 3 / 21, 20: 3.0, 150: 3.0, 175: 1.75, STEPS: 0.5, 10**6: 0.5}),
    ],
)
def test_known_points(name, points):
    for step, expected in points.items():
        np.testing.assert_allclose(CASES[name](step), expected, rtol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_no_step_jumps(name):
    # The steepest of these courses is the warm-up, 3 / 21 per step.
    assert np.abs(np.diff(values(CASES[name]))).max() < 3 / 21 + 1e-5


@pytest.mark.parametrize("name", ["cosine", "warmup_cosine", "wsd"])
def test_it_rises_to_the_peak_and_falls_from_there(name):
    course = values(CASES[name])
    peak = int(course.argmax())
    assert (np.diff(course[: peak + 1]) > 0).all()
    assert (np.diff(course[peak:]) <= 1e-6).all()
    assert course.max() == pytest.approx(3.0)


def test_warmup_cosine_is_that_of_nanogpt():
    """`get_lr` of nanoGPT's train.py with its names; there is no difference."""

    def get_lr(it, peak=1e-3, low=1e-4, warmup=100, decay=2000):
        if it < warmup:
            return peak * (it + 1) / (warmup + 1)
        if it > decay:
            return low
        ratio = (it - warmup) / (decay - warmup)
        return low + 0.5 * (1 + math.cos(math.pi * ratio)) * (peak - low)

    schedule = schedules.warmup_cosine(1e-3, steps=2000, warmup=100, final=1e-4)
    expected = [get_lr(it) for it in range(2100)]
    np.testing.assert_allclose(values(schedule, 2100), expected, rtol=2e-5)


@pytest.mark.parametrize("name", CASES)
def test_it_is_the_same_inside_jit_as_outside(name):
    for step in (0, 20, 77, STEPS):
        outside, inside = CASES[name](step), jax.jit(CASES[name])(np.int32(step))
        assert inside.dtype == np.float32
        assert inside.shape == ()
        np.testing.assert_allclose(inside, outside, rtol=1e-6)
