"""One line for each way in which a run goes wrong, and none for one that goes well."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax import health, trend

GAN = {"fake_distance": 0.95, "d_real_sign": 0.8, "d_fake_sign": -0.8, "g_grad_norm": 2.0}
VAE = {"loss": 90.0, "active_units": 12.0, "grad_norm": 3.0}
BATCH = 512


def rows_of(healthy, changed=None, *, last=3, count=20):
    """A run of which only the last rows have other values."""
    rows = [{"step": 100 * (i + 1), **healthy} for i in range(count)]
    for row in rows[count - last :]:
        row.update(changed or {})
    return rows


@pytest.mark.parametrize("healthy", [GAN, VAE], ids=["gan", "vae"])
def test_nothing_is_said_of_a_healthy_run(healthy):
    assert health.warnings(rows_of(healthy), 2000, BATCH) == {}


@pytest.mark.parametrize(
    ("healthy", "changed", "signal"),
    [
        (GAN, {"fake_distance": 0.1}, "fake_distance"),
        (GAN, {"d_real_sign": 1.0, "d_fake_sign": -1.0}, "d_real_sign"),
        (GAN, {"g_grad_norm": 500.0}, "g_grad_norm"),
        (VAE, {"active_units": 0.0}, "active_units"),
        (VAE, {"grad_norm": 300.0}, "grad_norm"),
    ],
)
def test_the_signal_is_named_with_its_value(healthy, changed, signal):
    found = health.warnings(rows_of(healthy, changed), 2000, BATCH)
    assert list(found) == [signal]
    assert found[signal].startswith("warning: step 2000: " + signal)
    assert "\n" not in found[signal]


def test_one_bad_row_is_no_collapse():
    assert health.warnings(rows_of(GAN, {"fake_distance": 0.1}, last=2), 2000, BATCH) == {}


def test_the_start_of_a_run_may_look_like_a_collapse():
    rows = rows_of(GAN, {"fake_distance": 0.0}, count=4, last=4)
    assert health.warnings(rows, 20000, BATCH) == {}
    assert health.warnings(rows, 1000, BATCH)


def test_a_discriminator_that_wins_on_one_side_only_is_no_warning():
    assert health.warnings(rows_of(GAN, {"d_real_sign": 1.0}), 2000, BATCH) == {}


@pytest.mark.parametrize("batch", [2, 8, 64])
def test_small_batches_collapse_after_as_many_examples(batch):
    """The same line for any batch size, once 192 images were seen, and never before."""
    bad = {"fake_distance": 0.1, "active_units": 0.0}
    rows = rows_of(bad, count=200, last=0)
    needed = -(-192 // batch)
    assert health.warnings(rows[: needed - 1], 1, batch) == {}
    assert set(health.warnings(rows[:needed], 1, batch)) == set(bad)


# Noise of a loss that neither falls nor rises, by what it is like.
def _correlated(draw, shape, rho):
    noise, last = draw.normal(size=shape), 0.0
    for t in range(shape[1]):
        last = noise[:, t] = rho * last + np.sqrt(1 - rho**2) * noise[:, t]
    return noise


NOISES = {
    "normal": lambda draw, shape: draw.normal(size=shape),
    "heavy tails": lambda draw, shape: draw.standard_t(3, size=shape),
    "skewed": lambda draw, shape: draw.exponential(size=shape),
    "correlated over 10 steps": lambda draw, shape: _correlated(draw, shape, 0.9),
    "correlated over 30 steps": lambda draw, shape: _correlated(draw, shape, 0.967),
    "the same in every epoch": lambda draw, shape: np.tile(
        draw.normal(size=(shape[0], 500)), shape[1] // 500
    ),
    "swaying": lambda draw, shape: draw.normal(size=shape) + np.sin(np.arange(shape[1]) / 150),
}


@jax.jit
def trends(losses):
    """The trends after every step of runs with losses [T, runs]."""

    def step(now, loss):
        now = jax.vmap(trend.follow)(now, jnp.stack([loss, loss], 1))
        return now, {name: now[name] for name in ("above", "count")}

    begun = jax.tree.map(lambda x: jnp.stack([x] * losses.shape[1]), trend.begin())
    return jax.lax.scan(step, begun, losses)[1]


def alarmed(losses):
    """Which of runs with losses [runs, T], a row each step, are warned of at any time."""
    seen = jax.device_get(trends(jnp.asarray(losses.T, jnp.float32)))
    return (seen["above"] >= np.maximum(health.LONG, health.SHARE * seen["count"])).any(0)


@pytest.mark.parametrize("kind", NOISES)
@pytest.mark.parametrize("falls", [False, True])
def test_one_healthy_loss_in_a_hundred_is_warned_of_at_most(kind, falls):
    """Over 10,000 rows, for a loss of 1 and one that falls from 3, with noise of 0.1 about it."""
    runs, steps = 300, 10_000
    course = 2 * np.exp(-np.arange(steps) / 400) if falls else 0
    noise = NOISES[kind](np.random.default_rng(0), (runs, steps))
    assert alarmed(1 + course + 0.1 * noise).mean() <= 0.01


def fallen_and_risen(noise, steps=1500):
    """To 0.58 nats by step 160, back to 0.91 by step 300, and on like that."""
    at = np.arange(steps)
    fall = 0.58 + 5 * np.exp(-at / 35) * (at < 160)
    course = np.where(at < 160, fall, 0.58 + 0.33 * np.minimum((at - 160) / 140, 1))
    return course + noise * np.random.default_rng(0).normal(size=(50, steps))


@pytest.mark.parametrize("noise", [0.01, 0.03, 0.05])
def test_a_rise_before_the_first_row_is_seen(noise):
    assert alarmed(fallen_and_risen(noise)).all()


def test_one_enormous_loss_does_not_blind_the_rest_of_a_run():
    course = np.where(np.arange(14_000) < 10_000, 0.6, 0.9)
    losses = course + 0.01 * np.random.default_rng(0).normal(size=course.shape)
    losses[50] = 1e30
    signal = jax.vmap(lambda loss: trend.signals({"loss": loss})[0])(jnp.float32(losses))
    assert alarmed(np.asarray(signal)[None]).all()


def test_a_rise_is_said_with_the_level_and_the_best_of_it():
    now = trend.begin()
    for loss in fallen_and_risen(0.02)[0]:
        now = FOLLOW(now, jnp.full(2, loss, jnp.float32))
    rows = rows_of(VAE, count=5)
    (line,) = health.warnings(rows, 500, BATCH, jax.tree.map(lambda x: x.tolist(), now)).values()
    assert "loss 0.9" in line
    assert "above its best by then, 0." in line
    assert line.endswith("the run may be diverging")
    assert float(now["best"][0]) == pytest.approx(0.6, abs=0.06)


FOLLOW = jax.jit(trend.follow)


def test_a_weight_that_grows_raises_the_loss_and_is_no_divergence():
    now = trend.begin()
    for at in range(600):
        elbo = -(200 - at / 10)
        metrics = {"loss": jnp.float32(80 + at / 5), "elbo": jnp.float32(elbo)}
        now = FOLLOW(now, trend.signals(metrics))
    assert int(now["above"]) == 0
    alone = trend.begin()
    for at in range(600):
        alone = FOLLOW(alone, trend.signals({"loss": jnp.float32(80 + at / 5)}))
    assert int(alone["above"]) > health.LONG
    assert trend.signals({"g_loss": jnp.float32(1)}) is None


def healthy_game(draw, rows, batch):
    """Signals of a game in which fakes differ as real ones do, in as few as two directions."""
    distance = [np.sqrt(np.var(draw.normal(size=(rows, batch, 2)), axis=1).sum(-1)) for _ in "ab"]
    right = draw.binomial(batch, 0.98, (2, rows)) / batch
    signs = 2 * right - 1
    for i in range(rows):
        yield {
            "step": i + 1,
            "fake_distance": distance[0][i] / distance[1][i],
            "d_real_sign": signs[0, i],
            "d_fake_sign": -signs[1, i],
            "g_grad_norm": draw.lognormal(sigma=1.0),
        }


@pytest.mark.parametrize(
    ("batch", "runs"),
    [(2, 1), (8, 1), (64, 1)]
    + [pytest.param(batch, 100, marks=pytest.mark.slow) for batch in (2, 8, 64, 256)],
)
def test_a_healthy_game_is_not_warned_of(batch, runs):
    """Over 10,000 rows with a discriminator that is right about 98 of 100 images."""
    rows, warned = 10_000, 0
    for seed in range(runs):
        seen, found = [], {}
        for row in healthy_game(np.random.default_rng(seed), rows, batch):
            seen = [*seen[-health.KEPT + 1 :], row]
            found |= health.warnings(seen, rows, batch)
        warned += bool(found)
    assert warned <= 0.01 * runs


def test_what_an_evaluation_could_not_measure_is_said_once_per_streak():
    series = [{"elbo": -3.0, "rate": 1.0}, *[{"elbo": np.nan, "rate": 1.0}] * 2]
    series += [{"elbo": np.nan, "rate": np.inf}, series[0], series[1]]
    said, before = [], set()
    for step, values in enumerate(series):
        said.append(health.unmeasured(values, before, step, "test"))
        before = {name for name, value in values.items() if not np.isfinite(value)}
    assert [len(lines) for lines in said] == [0, 1, 0, 1, 0, 1]
    assert said[1][0].startswith("warning: step 1: elbo of test is nan; ")
    assert said[3][0].startswith("warning: step 3: rate of test is inf; ")
