"""Samples and reconstructions at every evaluation of a training: in files and in TensorBoard."""

import contextlib
import functools
import pathlib
import re
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from aigc_jax import build, core, samples
from aigc_jax.data.dataset import Dataset
from aigc_jax.log import Log
from aigc_jax.media import images as pictures
from aigc_jax.media import music, points, text

FOLDERS = ("samples", "reconstructions")
SHOWN = re.compile(r"step_(\d{7,})\.(png|txt|json)")


def shower(run: build.Run, dataset: Dataset, whole: jax.sharding.Sharding) -> Callable:
    """(state, step, log): writes the samples of an evaluation to files and TensorBoard.

    The seed is the same each time, so that one can watch a sample become what it is. All processes
    draw, since each may hold a part of the state, and `whole` gives every one all samples. What
    goes wrong is said once, and the run goes on.
    """
    seed, num = run.config["seed"], run.config["num_samples"]
    options = samples.check_options(run.algorithm, run.config["sampling"])
    draw_samples = samples.sampler(run.algorithm, seed, options, num, outputs=whole)
    cond = samples.unprompted(run.algorithm, run.info, dataset.tokenizer, num)
    draw = lambda state: draw_samples(state, num, cond)
    write = functools.partial(_write_samples, run, dataset.tokenizer, options)
    parts = [("samples", draw, write)]
    if rebuild := reconstructor(run, dataset, whole):
        parts.append(("reconstructions", rebuild, functools.partial(_write_pairs, run)))

    def show(state, step, log):
        for what, make, write in parts:
            with _forgiven(log, what):
                made = make(state)
                with log.forgiven(what):
                    if log.writes:
                        write(made, step, log)

    return show


def cut_back(log: Log, step: int) -> None:
    """Removes what was shown after `step`, as the log does with its rows: it will come anew."""
    with log.forgiven("samples"):
        for name in FOLDERS if log.writes else ():
            for path in (log.workdir / name).glob("step_*"):
                shown = SHOWN.fullmatch(path.name)
                if shown and int(shown[1]) > step:
                    path.unlink()


def _forgiven(log: Log, what: str) -> contextlib.AbstractContextManager:
    """`log.forgiven`, but not where other processes wait for this one to take part."""
    return log.forgiven(what) if jax.process_count() == 1 else contextlib.nullcontext()


def reconstructor(
    run: build.Run, dataset: Dataset, whole: jax.sharding.Sharding, pairs: int = 32
) -> Callable | None:
    """(state) -> a grid of evaluation images, each beside its reconstruction; None without.

    A conditional model gets the label of each.
    """
    if "reconstruct" not in run.algorithm.heads or dataset.eval.arrays is None:
        return None
    if run.info.shapes.get("image", points.SHAPE) == points.SHAPE:  # nothing to see in a pair
        return None
    rows = np.arange(min(pairs, dataset.eval.length))
    batch = run.normalise(None, dataset.eval.gather(dataset.eval.arrays, rows))
    rebuild = samples.head_of(run.algorithm, "reconstruct", run.config["seed"], whole)
    originals = np.asarray(batch["image"])
    return lambda state: pictures.side_by_side(originals, rebuild(state, batch)["image"])


def _write_samples(
    run: build.Run, tokenizer: Any, options: dict, drawn: core.Batch, step: int, log: Log
) -> None:
    mark = _mark(run, step, log, options=options)
    if "image" in drawn:
        _show_grid(points.overview(drawn["image"]), "samples", mark, log)
        return
    written = samples.texts_of(drawn, tokenizer)
    if tokenizer.name == "music":
        pieces = [music.frames_of(piece) for piece in written]
        _show_grid(music.picture(pieces), "samples", mark, log)
        return
    joined = "\n----\n".join(written)
    text.write(_folder(log, "samples") / f"step_{step:07d}.txt", joined, mark)
    log.text(step, "samples", joined)


def _write_pairs(run: build.Run, grid: np.ndarray, step: int, log: Log) -> None:
    _show_grid(grid, "reconstructions", _mark(run, step, log, head="reconstruct"), log)


def _show_grid(grid: np.ndarray, name: str, mark: dict[str, Any], log: Log) -> None:
    pictures.write_png(_folder(log, name) / f"step_{mark['step']:07d}.png", grid, mark)
    log.image(mark["step"], name, grid)


def _folder(log: Log, name: str) -> pathlib.Path:
    folder = log.workdir / name
    folder.mkdir(exist_ok=True)
    return folder


def _mark(run: build.Run, step: int, log: Log, **how: Any) -> dict[str, Any]:
    return samples.mark(
        run,
        run=log.workdir.resolve().name,
        step=step,
        config_digest=run.digest,
        seed=run.config["seed"],
        **how,
    )
