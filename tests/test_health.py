"""One line for each way in which a run goes wrong, and none for one that goes well."""

import pytest

from aigc_jax import health

GAN = {"fake_distance": 0.95, "d_real_sign": 0.8, "d_fake_sign": -0.8, "g_grad_norm": 2.0}
VAE = {"loss": 90.0, "active_units": 12.0, "grad_norm": 3.0}


def rows_of(healthy, changed=None, *, last=3, count=20):
    """A run of which only the last rows have other values."""
    rows = [{"step": 100 * (i + 1), **healthy} for i in range(count)]
    for row in rows[count - last :]:
        row.update(changed or {})
    return rows


@pytest.mark.parametrize("healthy", [GAN, VAE], ids=["gan", "vae"])
def test_nothing_is_said_of_a_healthy_run(healthy):
    assert health.warnings(rows_of(healthy), 2000) == {}


@pytest.mark.parametrize(
    ("healthy", "changed", "signal"),
    [
        (GAN, {"fake_distance": 0.1}, "fake_distance"),
        (GAN, {"d_real_sign": 1.0, "d_fake_sign": -1.0}, "d_real_sign"),
        (GAN, {"g_grad_norm": 500.0}, "g_grad_norm"),
        (VAE, {"active_units": 0.0}, "active_units"),
        (VAE, {"loss": 300.0}, "loss"),
        (VAE, {"grad_norm": 300.0}, "grad_norm"),
    ],
)
def test_the_signal_is_named_with_its_value(healthy, changed, signal):
    found = health.warnings(rows_of(healthy, changed), 2000)
    assert list(found) == [signal]
    assert found[signal].startswith("warning: step 2000: " + signal)
    assert "\n" not in found[signal]


def test_one_bad_row_is_no_collapse():
    assert health.warnings(rows_of(GAN, {"fake_distance": 0.1}, last=2), 2000) == {}


def test_the_start_of_a_run_may_look_like_a_collapse():
    rows = rows_of(GAN, {"fake_distance": 0.0}, count=4, last=4)
    assert health.warnings(rows, 20000) == {}
    assert health.warnings(rows, 1000)


def test_a_discriminator_that_wins_on_one_side_only_is_no_warning():
    assert health.warnings(rows_of(GAN, {"d_real_sign": 1.0}), 2000) == {}
