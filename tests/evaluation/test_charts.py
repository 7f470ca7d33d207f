import math
import re

import numpy as np
import pytest

from aigc_jax.evaluation import axes, charts


@pytest.mark.parametrize(
    ("low", "high"),
    [(0.0, 1.0), (-3.2, 17.0), (0.0123, 0.0124), (-1e6, 2.5e9), (99.5, 100.5), (-7.0, -6.9)],
)
def test_linear_ticks_are_round_even_and_enclose_the_range(low, high):
    ticks = axes.linear_ticks(low, high)
    assert ticks[0] <= low
    assert ticks[-1] >= high
    assert 3 <= len(ticks) <= 9
    apart = np.diff(ticks)
    np.testing.assert_allclose(apart, apart[0], rtol=1e-6)
    mantissa = apart[0] / 10 ** math.floor(math.log10(apart[0]) + 1e-6)
    assert min(abs(mantissa - m) for m in (1, 2, 5)) < 1e-4


@pytest.mark.parametrize(
    ("low", "high"), [(1.0, 1.0), (0.3, 0.4), (0.011, 9.0), (1e-9, 1e12), (2.0, 20.0)]
)
def test_log_ticks_enclose_the_range_and_are_few(low, high):
    ticks = axes.log_ticks(low, high)
    assert ticks[0] <= low * 1.00001
    assert ticks[-1] >= high * 0.99999
    assert ticks[0] < ticks[-1]
    assert 2 <= len(ticks) <= 9
    assert ticks == sorted(set(ticks))


@pytest.mark.parametrize("log", [False, True])
def test_positions_rise_with_values_and_meet_both_ends(log):
    values = np.geomspace(0.01, 50, 40)
    axis = axes.values_axis(values, 222, 10, log)
    assert axis.log == log or axis.log
    places = [axes.position(axis, v) for v in values]
    assert all(b < a for a, b in zip(places, places[1:], strict=False))  # upwards on the page
    assert all(10 <= place <= 222 for place in places)
    assert axes.position(axis, axis.low) == pytest.approx(222)
    assert axes.position(axis, axis.high) == pytest.approx(10)


@pytest.mark.parametrize("value", [0.0, 5.0, -3.0, 1e-12, 1e30])
def test_a_constant_has_an_axis_around_it(value):
    axis = axes.values_axis([value] * 9, 222, 10)
    assert axis.low <= value <= axis.high
    assert axis.low < axis.high


def test_an_axis_covers_everything_unless_little_lies_far_out():
    even = np.linspace(3, 9, 100)
    axis = axes.values_axis(even, 222, 10)
    assert axis.low <= 3
    assert axis.high >= 9
    steep = np.concatenate([[-900.0, -500.0], -even])
    axis = axes.values_axis(steep, 222, 10)
    assert -30 < axis.low <= -9
    assert axis.high >= -3.3


def test_huge_positive_ranges_get_a_log_axis_and_values_with_zero_do_not():
    assert axes.values_axis(np.geomspace(1e-6, 1e3, 50), 222, 10).log
    assert not axes.values_axis(np.append(np.geomspace(1e-6, 1e3, 50), 0), 222, 10, True).log


def test_thinning_keeps_ends_and_extremes():
    rng = np.random.default_rng(0)
    points = [(i, float(v)) for i, v in enumerate(rng.normal(size=5000))]
    kept = axes.thinned(points, 100)
    assert len(kept) <= 202
    assert kept[0] == points[0]
    assert kept[-1] == points[-1]
    for extreme in (min, max):
        assert extreme(v for _, v in kept) == extreme(v for _, v in points)
    assert kept == sorted(kept)
    assert axes.thinned(points[:50], 100) == points[:50]


def test_smoothing_ignores_spikes_and_leaves_the_start():
    points = [(i, 1.0 + 100 * (i == 500) + 7 * (i == 0)) for i in range(1000)]
    smooth = axes.smoothed(points, 120)
    assert smooth[0] == (0, 8.0)
    assert {v for _, v in smooth[1:]} == {1.0}
    assert smooth[-1][0] == 999


def train(step, **values):
    return {"step": step, "split": "train", "time": 0.0, **values}


def held_out(step, **values):
    return {"step": step, "split": "test", "time": 0.0, **values}


def paths(html):
    return re.findall(r'<path d="([^"]*)"', html)


def test_values_that_are_not_finite_are_gaps_with_a_cross_each_and_missing_ones_are_not():
    values = [1.0, 2.0, math.nan, 3.0, None, math.inf, 4.0, 5.0]
    rows = [train(i, loss=v) for i, v in enumerate(values)]
    rows.insert(1, train(0, other=1.0))  # a row without the metric
    (loss, _) = charts.charts({"run": rows})
    (d,) = paths(loss)
    assert [len(part.split("L")) for part in d.split("M")[1:]] == [2, 1, 2]
    assert loss.count('class="gap"') == 3
    assert "nan" not in d
    assert "inf" not in d


def test_one_row_is_a_dot_and_no_finite_value_is_said_to_be_none():
    (one,) = charts.charts({"run": [train(7, loss=2.0)]})
    assert re.fullmatch(r"M[\d.]+,[\d.]+h0", paths(one)[0])
    (none,) = charts.charts({"run": [train(7, loss=math.nan)]})
    assert "no finite value" in none
    assert charts.charts({"run": []}) == []


def test_metrics_that_belong_together_share_a_chart():
    row = train(1, d_loss=1.0, g_loss=2.0, d_real=1.0, d_fake=-1.0, d_real_sign=1.0)
    row |= dict(d_fake_sign=-1.0, r1=0.1, d_grad_norm=1.0, g_grad_norm=1.0, my_own=3.0)
    drawn = charts.charts({"run": [row, held_out(1, my_own=2.0)]})
    titles = [re.search("<h3>(.*?)</h3>", chart)[1] for chart in drawn]
    assert titles == [
        "Losses of both players",
        "Logits of real and fake",
        "Signs of the logits",
        "Penalties",
        "Gradient norms",
        "My own",
    ]
    assert [len(paths(chart)) for chart in drawn] == [2, 2, 2, 1, 2, 2]
    assert "log scale" in drawn[4]


def test_runs_have_colours_and_their_metrics_dashes():
    rows = [train(s, d_loss=1.0 + s, g_loss=2.0) for s in range(5)]
    (one,) = charts.charts({"a": rows})
    assert "stroke-dasharray" not in one
    (both,) = charts.charts({"a": rows, "b": rows})
    lines = re.findall(r'<g class="line" style="(.*?)"|<path d="[^"]*"( stroke-dasharray)?', both)
    colours = [colour for colour, _ in lines if colour]
    assert colours == ["--c:var(--c0)", "--c:var(--c0)", "--c:var(--c1)", "--c:var(--c1)"]
    assert [bool(dash) for colour, dash in lines if not colour] == [False, True, False, True]
    assert "a · d_loss" in both


def test_values_are_read_back_from_the_places_on_the_page():
    values = [3.0, 4.5, 7.25]
    (html,) = charts.charts({"run": [train(10 * i, my_own=v) for i, v in enumerate(values)]})
    start, end, low, high = map(float, re.search('data-y="([^"]*)"', html)[1].split())
    found = [float(y) for _, y in re.findall(r"([\d.]+),([\d.]+)", paths(html)[0])]
    read = [low + (y - start) / (end - start) * (high - low) for y in found]
    np.testing.assert_allclose(read, values, atol=1e-3)


def test_a_long_noisy_line_has_its_median_and_names_are_escaped():
    rng = np.random.default_rng(0)
    rows = [train(i, **{"<b>": float(rng.normal())}) for i in range(400)]
    (html,) = charts.charts({"<script>": rows})
    assert 'class="smooth"' in html
    assert "<b>" not in html
    assert "&lt;b&gt;" in html
