"""Faults of what a run learns from: numbers that are not finite, and files that are none."""

import pathlib
import re

from aigc_jax import checkpoint
from aigc_jax.data import load
from aigc_jax.media.images import write_png
from benchmarks.faults import injected, same
from benchmarks.faults.bench import ONE, Bench, Kind, Outcome

PIXELS = {"algorithm.likelihood": "gaussian", "algorithm.binarize": "none"}
DIGITS = {"data.name": f"{injected.__name__}:digits", "batch_size": injected.BATCH, **PIXELS}
FLOATS = Kind("floats", ONE.options | DIGITS)
SINGLE, STREAK = 3, 13  # bad batches in a row: fewer and more than config.max_bad_steps
FILES, BROKEN = 1000, 10


def _holes(bench: Bench, name: str, count: int):
    """The finished run of which `count` batches from the one of `bench.moment` on are NaN."""
    first = bench.moment - 1
    return bench.finish(name, FLOATS, data__first=first, data__last=first + count - 1)


def skipped(bench: Bench) -> Outcome:
    """A few batches of NaN."""
    bench.whole(FLOATS)
    workdir, job = bench.workdir("nan"), _holes(bench, "nan", SINGLE)
    arrays, code = checkpoint.read_arrays(workdir), job.wait()
    counted = int(arrays["guard/skipped"]) == SINGLE and int(arrays["guard/rollbacks"]) == 0
    said = f"not finite from step {bench.moment} on" in job.said()
    claims = {
        f"the {SINGLE} steps are skipped, counted and said": counted and said,
        "all else goes on": code == 0 and same.finite(workdir),
    }
    return Outcome(claims, [code], None, bench.beyond(FLOATS, job), 0)


def rolled_back(bench: Bench) -> Outcome:
    """More batches of NaN in a row than are skipped."""
    bench.whole(FLOATS)
    workdir, job = bench.workdir("nan_streak"), _holes(bench, "nan_streak", STREAK)
    code, went = job.wait(), same.rows(workdir, "rollback")
    back = {"from": 0, "step": 0, "cursor": 0, "lr_scale": 1.0} | (went[0] if went else {})
    once = len(went) == 1 and back["step"] == bench.saved and back["cursor"] == back["from"]
    claims = {
        f"back from step {back['from']} to {back['step']}, on with later data": once,
        "at half the learning rate": back["lr_scale"] == 0.5,
        "ends finite": code == 0 and same.finite(workdir),
    }
    redone = back["from"] - back["step"]
    return Outcome(claims, [code], None, bench.beyond(FLOATS, job), redone)


def never_finite(bench: Bench) -> Outcome:
    """A loss that is NaN from a step on, whatever is tried."""
    bench.whole()
    workdir = bench.workdir("nan_for_ever")
    key = "algorithm__beta_schedule"
    schedule = {key: f"{injected.__name__}:broken_from", f"{key}_args": {"first": bench.moment}}
    with bench.start("nan_for_ever", **schedule) as job:
        job.wait_for("was not finite")
        job.strike(0)
        code = job.wait()
    story = re.search(r"error: .*back (\d) times before", job.said())
    claims = {
        f"goes back {story and story.group(1)} times, then ends with the story": code == 1,
        "the newest checkpoint is finite": same.finite(workdir),
    }
    found = checkpoint.steps(workdir)[-1] == bench.saved
    return Outcome(claims | {f"that of step {bench.saved}": found}, [code], job.noticed, None, None)


def _pictures(folder: pathlib.Path, broken: int, data_dir: pathlib.Path) -> str:
    """A folder of digits as PNG, of which every hundredth is cut off, empty or text."""
    folder.mkdir(parents=True)
    images = load.load({"name": "digits", "data_dir": str(data_dir)}).train.arrays["image"]
    for i in range(FILES):
        path = folder / f"{i}.png"
        write_png(path, images[i], {})
        if i % (FILES // BROKEN) == 0 and i // (FILES // BROKEN) < broken:
            content = path.read_bytes()
            path.write_bytes((content[: len(content) // 2], b"", b"no picture")[i // 100 % 3])
    return str(folder)


def dirty_folder(bench: Bench) -> Outcome:
    """One percent of a folder of images is broken."""
    clean = _pictures(bench.folder / "clean", 0, bench.folder / "data")
    dirty = _pictures(bench.folder / "dirty", BROKEN, bench.folder / "data")
    kind = lambda name, folder: Kind(name, ONE.options | {"data.name": folder})
    bench.whole(kind("pictures", clean))
    job = bench.finish("dirty", kind("dirty", dirty))
    code, workdir = job.wait(), bench.workdir("dirty")
    claims = {
        f"{BROKEN} of {FILES:,} files left out and said": f"{BROKEN} files left out" in job.said(),
        "ends finite": code == 0 and same.finite(workdir),
    }
    return Outcome(claims, [code], None, bench.beyond(kind("pictures", clean), job), 0)
