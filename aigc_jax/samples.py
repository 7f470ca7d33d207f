"""Drawing samples of a run: the same ones for any number and batch size."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from aigc_jax import build, config, core, ranges
from aigc_jax.compiling import compiled_once
from aigc_jax.data.dataset import Info
from aigc_jax.media import provenance
from aigc_jax.refusals import refuse


def options_of(algorithm: core.Algorithm) -> dict[str, Any]:
    """{name: default} of the options that the algorithm's sampler takes."""
    return config.schema(algorithm.sample)


def check_options(algorithm: core.Algorithm, stored: Mapping[str, Any]) -> dict[str, Any]:
    """All options of the sampler: those of `config.sampling` by their types, else the defaults.

    Raises:
      ValueError: for an option that the sampler does not take, or one that it needs.
    """
    return config.fill(stored, options_of(algorithm), "config.sampling")


def check(run: build.Run) -> None:
    """Holds `config.sampling` against the sampler, before any work.

    Raises:
      ValueError: for what `check_options` refuses, a value outside of its range, or code of the
        user's own that cannot give samples.
    """
    options = check_options(run.algorithm, run.config["sampling"])
    ranges.check(run.algorithm.sample, options, "config.sampling")
    named = {k: v for k, v in run.config["algorithm"].items() if ":" in str(v)}
    if named and (fault := _fault(run, options)):
        refuse(f"config.algorithm = {named}: {fault}")


def _fault(run: build.Run, options: Mapping[str, Any]) -> str:
    """Why no samples can be shown, "" if they can; the sampler is traced and nothing computed."""
    num = run.config["num_samples"]
    rows = lambda *shape: jax.ShapeDtypeStruct((num, *shape), np.int32)
    known = {"label": rows(), "prompt": rows(1), "prompt_length": rows()}
    read = run.algorithm.conditions  # of a prompt its length, too, see `unprompted`
    cond = {name: value for name, value in known.items() if name.partition("_")[0] in read}
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), num))
    draw = lambda state, keys, cond: run.algorithm.sample(
        core.averaged(state), keys, cond, **options
    )
    try:
        made = jax.eval_shape(draw, core.shapes_of(run.algorithm), keys, cond)
    except Exception as error:  # of the user's code
        return f"its sampler raises {type(error).__name__}: {str(error).partition(chr(10))[0]}"
    if not isinstance(made, Mapping):
        return "its sampler gives no dict; accepted is one of arrays by name"
    shapes = {name: getattr(value, "shape", ()) for name, value in made.items()}
    if {"tokens", "length"} <= shapes.keys() or len(shapes.get("image", ())) == 4:
        return ""
    return f"its sampler gives {shapes}; accepted are image [N, H, W, C], or tokens and length"


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
    keep: Callable = lambda part: part,
) -> Callable:
    """(state, num, cond) -> samples 0 .. num - 1, with averaged parameters, compiled once.

    `cond` holds one row for each sample. Sample i depends on the seed, i and its row alone: batches
    are filled up and cut. `sharding` says over which devices a batch is split, `outputs` where the
    samples go, `keep` what is kept of the samples of a batch until all are drawn.
    """
    key = core.stream(seed, core.SAMPLE)

    def sample_batch(state, start, cond):
        keys = core.example_keys(key, batch_size, start)
        if sharding is not None:
            keys = jax.lax.with_sharding_constraint(keys, sharding)
        return algorithm.sample(core.averaged(state), keys, cond, **options)

    sample_batch = compiled_once(jax.jit(sample_batch, out_shardings=outputs))

    def draw_samples(state, num, cond):
        compute = lambda start, rows: keep(sample_batch(state, np.int32(start), rows))
        return in_batches(compute, num, batch_size, cond)

    return draw_samples


def in_batches(
    compute: Callable, num: int, batch_size: int, values: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """`compute(start, rows of values)` for rows 0 .. num - 1, put together again.

    Every call gets `batch_size` rows from `start` on: the last ones are filled up, and cut.
    """
    parts = []
    for start in range(0, num, batch_size):
        rows = np.minimum(np.arange(start, start + batch_size), num - 1)
        part = compute(start, {name: value[rows] for name, value in values.items()})
        parts.append(jax.tree.map(lambda x: np.asarray(x)[: num - start], part))
    return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}


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


def mark(run: build.Run, /, *, raw: bool = False, **known: Any) -> dict[str, Any]:
    """What files of samples of a run say; `known` as in `provenance.mark`.

    Args:
      raw: the parameters are not the averaged ones, of a run that keeps both.
    """
    averaged = run.config["ema_decay"] and not raw
    return provenance.mark(parameters="averaged" if averaged else "raw", **known)
