"""Our input pipeline: indices drawn on the host, gathered and scaled where the step would run."""

import jax

from aigc_jax import core, feed, preprocess
from benchmarks.speed import arrays
from benchmarks.speed.ours import program
from benchmarks.speed.timed import Timed


def batches(*, batch: int) -> Timed:
    """Batches of 28x28x1 images in [-1, 1]; the next one waits for none before it."""
    split = program.dataset_of_images(arrays.images(28, 1)).train
    held = jax.device_put(dict(split.arrays))
    prepare, gather = preprocess.prepare({}), feed.gather_of(split)
    key, per_call = core.stream(0, core.STEP), program.per_call(50)

    @jax.jit
    def batches_of(held, items):
        return jax.lax.map(lambda item: prepare(key, gather(held, item)), items)

    items = feed.training_items(
        split, seed=0, cursor=0, batch_size=batch, batches_per_step=1, steps=per_call
    )

    def steps(count: int) -> None:
        for _ in range(-(-count // per_call)):
            made = batches_of(held, next(items))
        jax.block_until_ready(made)

    return Timed(steps, 0)
