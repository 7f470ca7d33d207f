"""What the project adds to the bare step, at three times what a quiet machine shows at most."""

from statistics import median

from aigc_jax import build, config
from benchmarks import overhead


def test_a_fresh_process_imports_quickly():
    assert min(overhead.import_seconds(rounds=2)) <= 3 * 2.5


def test_saving_holds_the_loop_up_for_a_moment_only():
    first, *later = overhead.checkpoint_seconds(rounds=3)
    assert first <= 3 * 5
    assert median(later) <= 3 * 0.5


def test_the_loop_adds_little_to_the_bare_step():
    # Eight microbatches of a small network: a step of about five milliseconds, the shortest
    # that the promise is made for; a faster machine is held to the same absolute time.
    words = [("batch_size", "1024"), ("accumulate", "8"), ("mesh.data", "1"), ("log_every", "50")]
    completed = build.configured(config.load("configs/vae_digits.py"), words)
    looped, bare = overhead.loop_and_bare(completed, rounds=5)
    assert min(looped) - median(bare) <= 3 * 0.05 * max(median(bare), 0.005)
