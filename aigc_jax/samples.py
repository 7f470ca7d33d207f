"""Drawing samples of a run, the same ones for any number and batch size, and showing them."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from aigc_jax import build, core
from aigc_jax.compiling import compiled_once
from aigc_jax.config import typed, unknown
from aigc_jax.data.dataset import Dataset, Info
from aigc_jax.log import Log
from aigc_jax.media import images as pictures
from aigc_jax.media import music, points, provenance


def options_of(algorithm: core.Algorithm) -> dict[str, Any]:
    """{name: default} of the options that the algorithm's sampler takes."""
    parameters = inspect.signature(algorithm.sample).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def check_options(algorithm: core.Algorithm, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options by the types of their defaults.

    Raises:
      ValueError: for an option that the sampler does not take.
    """
    accepted = options_of(algorithm)
    for name in options:
        if name not in accepted:
            raise ValueError(unknown(f"config.sampling.{name}", accepted))
    return {name: typed(v, accepted[name], f"sampling.{name}") for name, v in options.items()}


def draw(
    algorithm: core.Algorithm,
    state: core.State,
    seed: int,
    num: int,
    cond: Mapping[str, np.ndarray],
    options: Mapping[str, Any],
    batch_size: int = 64,
) -> dict[str, np.ndarray]:
    """Samples 0 .. num - 1 of a seed; see `sampler`."""
    return sampler(algorithm, seed, options, min(batch_size, num))(state, num, cond)


def sampler(
    algorithm: core.Algorithm,
    seed: int,
    options: Mapping[str, Any],
    batch_size: int,
    sharding: jax.sharding.Sharding | None = None,
    outputs: jax.sharding.Sharding | None = None,
) -> Callable:
    """(state, num, cond) -> samples 0 .. num - 1, with averaged parameters, compiled once.

    `cond` holds one row for each sample. Sample i depends on the seed, i and its row alone: batches
    are filled up and cut. `sharding` says over which devices a batch is split, `outputs` where the
    samples go.
    """
    key = core.stream(seed, core.SAMPLE)

    def sample_batch(state, start, cond):
        keys = core.example_keys(key, batch_size, start)
        if sharding is not None:
            keys = jax.lax.with_sharding_constraint(keys, sharding)
        return algorithm.sample(core.averaged(state), keys, cond, **options)

    sample_batch = compiled_once(jax.jit(sample_batch, out_shardings=outputs))

    def draw_samples(state, num, cond):
        parts = []
        for start in range(0, num, batch_size):
            rows = np.minimum(np.arange(start, start + batch_size), num - 1)
            given = {name: value[rows] for name, value in cond.items()}
            part = sample_batch(state, np.int32(start), given)
            parts.append(jax.tree.map(lambda x: np.asarray(x)[: num - start], part))
        return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}

    return draw_samples


def head_of(
    algorithm: core.Algorithm,
    name: str,
    seed: int,
    outputs: jax.sharding.Sharding | None = None,
) -> Callable:
    """(state, batch) -> what the head makes of it, with averaged parameters, compiled once.

    `outputs` says where the result goes, which of several processes each must hold whole.
    """

    @functools.partial(jax.jit, out_shardings=outputs)
    def compute(state, batch):
        key = core.stream(seed, core.SAMPLE)
        return algorithm.heads[name](core.averaged(state), batch, key)

    return lambda state, batch: jax.tree.map(np.asarray, compute(state, batch))


def unprompted(
    algorithm: core.Algorithm, info: Info, tokenizer: Any, num: int
) -> dict[str, np.ndarray]:
    """What samples start from when nobody asks for anything: all classes in turn, or a new line."""
    cond = {}
    if "label" in algorithm.conditions:
        cond["label"] = np.arange(num, dtype=np.int32) % info.num_classes
    if "prompt" in algorithm.conditions:
        cond["prompt"] = np.full((num, 1), tokenizer.start, np.int32)
        cond["prompt_length"] = np.ones(num, np.int32)
    return cond


def texts_of(drawn: Mapping[str, np.ndarray], tokenizer: Any) -> list[str]:
    """The texts of sampled tokens, prompt included."""
    lengths = drawn["length"]
    return [tokenizer.decode(row[:n]) for row, n in zip(drawn["tokens"], lengths, strict=True)]


def shower(run: build.Run, dataset: Dataset, whole: jax.sharding.Sharding) -> Callable:
    """(state, step, log): writes the samples of an evaluation to files and TensorBoard.

    The seed is the same each time, so that one can watch a sample become what it is. All processes
    draw, since each may hold a part of the state, and `whole` gives every one all samples.
    """
    config, num = run.config, run.config["num_samples"]
    options = check_options(run.algorithm, config["sampling"])
    draw_samples = sampler(run.algorithm, config["seed"], options, num, outputs=whole)
    cond = unprompted(run.algorithm, run.info, dataset.tokenizer, num)
    rebuild = reconstructor(run, dataset, whole)

    def show(state, step, log):
        drawn = draw_samples(state, num, cond)
        rebuilt = rebuild(state) if rebuild else None
        if log.writes:
            with log.forgiven("samples"):
                write(drawn, rebuilt, step, log)

    def write(drawn, rebuilt, step, log):
        if "tokens" in drawn and dataset.tokenizer.name == "music":
            pieces = [music.frames_of(text) for text in texts_of(drawn, dataset.tokenizer)]
            _show_grid(music.picture(pieces), "samples", run, step, log)
        elif "tokens" in drawn:
            _show_text(texts_of(drawn, dataset.tokenizer), step, log)
        if "image" in drawn:
            _show_grid(points.overview(drawn["image"]), "samples", run, step, log)
        if rebuilt is not None:
            _show_grid(rebuilt, "reconstructions", run, step, log)

    return show


def reconstructor(
    run: build.Run, dataset: Dataset, whole: jax.sharding.Sharding, pairs: int = 32
) -> Callable | None:
    """(state) -> a grid of evaluation images, each beside its reconstruction; None without."""
    if "reconstruct" not in run.algorithm.heads or dataset.eval.arrays is None:
        return None
    if run.info.shapes["image"] == points.SHAPE:  # a point beside a point says nothing
        return None
    rows = np.arange(min(pairs, dataset.eval.length))
    batch = run.normalise(None, dataset.eval.gather(dataset.eval.arrays, rows))
    rebuild = head_of(run.algorithm, "reconstruct", run.config["seed"], whole)
    originals = np.asarray(batch["image"])
    return lambda state: pictures.side_by_side(originals, rebuild(state, batch)["image"])


def _show_text(texts: list[str], step: int, log: Log) -> None:
    folder = log.workdir / "samples"
    folder.mkdir(exist_ok=True)
    text = "\n----\n".join(texts)
    (folder / f"step_{step:07d}.txt").write_text(text, encoding="utf-8")
    log.text(step, "samples", text)


def _show_grid(grid: np.ndarray, name: str, run: build.Run, step: int, log: Log) -> None:
    folder = log.workdir / name
    folder.mkdir(exist_ok=True)
    mark = provenance.mark(
        run=log.workdir.name,
        step=step,
        config_digest=run.digest,
        seed=run.config["seed"],
    )
    pictures.write_png(folder / f"step_{step:07d}.png", grid, mark)
    log.image(step, name, grid)
