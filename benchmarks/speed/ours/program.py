"""The project's own program as a workload: a config, data in memory, and the compiled step."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from aigc_jax import build, core, feed, loop, parallel, start
from aigc_jax.data import tokenizers
from aigc_jax.data.dataset import Dataset, Info, Split, rows
from aigc_jax.data.windows import compact, eval_windows, train_windows
from benchmarks.speed.timed import Timed

# What a config's precision is, and what JAX multiplies float32 matrices in on a GPU.
PRECISIONS = {
    "float32": ("float32", "highest"),
    "tf32": ("float32", "tensorfloat32"),
    "bfloat16": ("bfloat16", None),
}
ONE_DEVICE = {"data": 1, "fsdp": 1, "tensor": 1}


def dataset_of_images(images: np.ndarray) -> Dataset:
    """Images uint8 [N, H, W, C] without labels, for training and evaluation alike."""
    info = Info(
        name="random",
        sizes={"train": len(images), "test": len(images)},
        eval_split="test",
        shapes={"image": images.shape[1:]},
        dtypes={"image": "uint8"},
    )
    split = Split(len(images), {"image": images}, rows)
    return Dataset(info, split, split)


def dataset_of_tokens(tokens: np.ndarray, vocab: int, context: int) -> Dataset:
    """Token ids [N]: training windows [context + 1] at every offset."""
    train, held_out = train_windows(compact(tokens), context), tokens[: 2 * context + 1]
    evaluation = eval_windows([held_out], context)
    info = Info(
        name="random",
        sizes={"train": train.length, "validation": evaluation.length},
        eval_split="validation",
        shapes={"tokens": (context + 1,)},
        dtypes={"tokens": "int32"},
        vocab=vocab,
    )
    # The tokenizer is asked where texts would begin.
    return Dataset(info, train, evaluation, tokenizers.byte())


def configured(config: Mapping[str, Any], precision: str) -> dict[str, Any]:
    """The config on one device in that precision, which is set for products of float32 too."""
    computes, products = PRECISIONS[precision]
    jax.config.update("jax_default_matmul_precision", products)
    own = {"precision": computes, "mesh": ONE_DEVICE, "data": {"name": "digits"}}
    return build.configured({**config, **own})


def per_call(on_accelerator: int) -> int:
    """Steps of one dispatch: 1 on a CPU, where a loop slows down what it holds."""
    return 1 if jax.default_backend() == "cpu" else on_accelerator


def timed(
    config: Mapping[str, Any], dataset: Dataset, precision: str, on_accelerator: int = 50
) -> Timed:
    """The compiled, donated step of a config on one device, as `train.py` would call it.

    Args:
      config: as a config file gives it, without precision and steps per call.
      dataset: its data, whose arrays go onto the device.
      precision: "float32", "tf32" or "bfloat16".
      on_accelerator: steps of one dispatch there. Other numbers of steps than its multiples end
        with dispatches of one step.
    """
    steps = per_call(on_accelerator)
    config = configured(config, precision)
    run = build.run(config, dataset.info)
    mesh = parallel.make_mesh(config["mesh"])
    dataset = _on(mesh, dataset)
    calls = {size: _caller(run, dataset, mesh, size) for size in (steps, 1)}
    held = {"state": start.first_state(run, mesh)}  # what one call of `advance` leaves to the next

    def advance(count: int) -> None:
        for size, call in calls.items():
            for _ in range(count // size):
                held["state"] = call(held["state"])
            count %= size
        jax.block_until_ready(held["state"])

    return Timed(advance, numbers(held["state"].params))


def _on(mesh: jax.sharding.Mesh, dataset: Dataset) -> Dataset:
    """The data set on the device, once for all that is compiled for it."""
    whole = parallel.replicated(mesh)
    train, evaluation = (
        split._replace(arrays=parallel.put(dict(split.arrays), whole))
        for split in (dataset.train, dataset.eval)
    )
    return dataset._replace(train=train, eval=evaluation)


def numbers(params: core.PyTree) -> int:
    """How many numbers the parameters are."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def _caller(run: build.Run, dataset: Dataset, mesh: jax.sharding.Mesh, steps: int) -> Callable:
    """(state) -> state: the next `steps` steps."""
    longer = {"steps": steps, "steps_per_call": steps, "log_every": steps}
    longer |= {"eval_every": steps, "save_every": steps}
    run = run._replace(config={**run.config, **longer})
    compiled = loop.compile_run(run, dataset, mesh)
    items = items_of(run, dataset, steps)
    run_key = core.stream(run.config["seed"], core.STEP)

    def call(state: core.State) -> core.State:
        state, _, _ = compiled.step(state, compiled.arrays, next(items), run_key)
        return state

    return call


def items_of(run: build.Run, dataset: Dataset, steps: int) -> Iterator[Any]:
    """The loop's own items, each of `steps` steps."""
    return feed.training_items(
        dataset.train,
        seed=run.config["seed"],
        cursor=0,
        batch_size=run.config["batch_size"],
        batches_per_step=run.algorithm.batches_per_step,
        steps=steps,
    )
