"""A GAN finds every Gaussian of the grid: the regression test against mode collapse."""

from aigc_jax import build, config, loop
from benchmarks.quality import modes


def test_the_penalised_relativistic_game_covers_the_grid(tmp_path):
    completed = build.configured(config.load("configs/gan_grid.py"), [("mesh.data", "1")])
    run = build.run(completed, build.describe_data(completed))
    found = modes.score(run, loop.train(completed, tmp_path))
    assert found.found == 25
    assert found.reverse_kl < 0.05
    assert found.high_quality > 0.4
