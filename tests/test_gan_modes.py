"""A GAN finds every Gaussian of the grid: the regression test against mode collapse."""

import pytest

from aigc_jax import build, config, loop
from benchmarks.quality import modes


def scored(folder, *words):
    """What the modes of `gan_grid`, trained in a folder, are."""
    completed = build.configured(config.load("configs/gan_grid.py"), [("mesh.data", "1"), *words])
    run = build.run(completed, build.describe_data(completed))
    return modes.score(run, loop.train(completed, folder))


def test_a_third_of_a_run_finds_nearly_all_modes(tmp_path):
    found = scored(tmp_path, *((key, "4000") for key in ("steps", "eval_every", "save_every")))
    assert found.found >= 24
    assert found.reverse_kl < 0.05


@pytest.mark.slow
def test_the_penalised_relativistic_game_covers_the_grid(tmp_path):
    found = scored(tmp_path)
    assert found.found == 25
    assert found.reverse_kl < 0.05
    assert found.high_quality > 0.4
