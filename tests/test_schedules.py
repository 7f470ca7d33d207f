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
STAIRCASE = {"staircase": schedules.staircase(3.0, steps=STEPS)}


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


@pytest.mark.parametrize("name", CASES | STAIRCASE)
def test_it_is_the_same_inside_jit_as_outside(name):
    schedule = (CASES | STAIRCASE)[name]
    for step in (0, 20, 77, STEPS):
        outside, inside = schedule(step), jax.jit(schedule)(np.int32(step))
        assert inside.dtype == np.float32
        assert inside.shape == ()
        np.testing.assert_allclose(inside, outside, rtol=1e-6)


def test_staircase_is_the_schedule_of_burda():
    """0.001 * 10^(-i / 7) for 3^i passes, i = 0 .. 7: 1 + 3 + ... + 2187 = 3280 passes."""
    expected = np.concatenate([np.full(3**i, 0.001 * 10 ** (-i / 7)) for i in range(8)])
    assert len(expected) == 3280
    for per_pass in (1, 600):
        schedule = schedules.staircase(0.001, steps=3280 * per_pass)
        last = np.asarray(jax.vmap(schedule)(np.arange(1, 3281) * per_pass - 1))
        first = np.asarray(jax.vmap(schedule)(np.arange(3280) * per_pass))
        np.testing.assert_allclose(last, expected, rtol=1e-6)
        np.testing.assert_allclose(first, expected, rtol=1e-6)
        np.testing.assert_allclose(schedule(10**9), 1e-4, rtol=1e-6)


def test_staircase_by_hand():
    # Stages of 1 : 2 : 4 in 14 steps, halving: 2 steps, 4 steps, 8 steps.
    schedule = schedules.staircase(8.0, steps=14, stages=3, factor=0.5, growth=2)
    np.testing.assert_array_equal(values(schedule, 15), [8.0] * 2 + [4.0] * 4 + [2.0] * 9)
    one = schedules.staircase(8.0, steps=14, stages=1)
    np.testing.assert_array_equal(values(one, 15), 8.0)
