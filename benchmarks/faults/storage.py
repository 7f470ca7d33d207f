"""Faults of what a run is stored on: damaged checkpoints, a full disk, one that only reads."""

import os
import pathlib
import shutil
import subprocess
from collections.abc import Callable

from aigc_jax import checkpoint
from benchmarks.faults import same
from benchmarks.faults.bench import ONE, Bench, Outcome

FULL = 200_000  # bytes that a file may have on a full disk: logs do, a checkpoint does not
# A shell's unit for `ulimit -f` is 512 or 1,024 bytes.
LIMITED = ("sh", "-c", f'ulimit -f {FULL // 1024}; exec "$@"', "sh")


class Unavailable(Exception):
    """This machine cannot have that fault."""


def _largest(workdir: pathlib.Path, step: int) -> pathlib.Path:
    files = [p for p in (checkpoint.folder(workdir) / str(step)).rglob("*") if p.is_file()]
    return max(files, key=lambda path: path.stat().st_size)


def cut(path: pathlib.Path) -> None:
    """Leaves half of a file."""
    os.truncate(path, path.stat().st_size // 2)


def flip(path: pathlib.Path) -> None:
    """Turns one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def damaged(bench: Bench, name: str, damage: Callable[[pathlib.Path], None]) -> Outcome:
    """The newest checkpoint of a finished run is damaged; the run is started again."""
    whole, workdir = bench.whole(), bench.workdir(name)
    shutil.copytree(whole, workdir)
    newest, before = checkpoint.steps(workdir)[:-3:-1]
    damage(_largest(workdir, newest))
    job = bench.finish(name)
    code, aside = job.wait(), f"{newest}.damaged"
    told = str(checkpoint.folder(workdir) / aside) in job.said()
    claims = {
        "found and named": told and code == 0,
        f"kept as {aside}": aside in same.names(workdir),
        f"goes on from step {before}": job.begun == before,
        "ends bit-equal": same.equal(whole, workdir),
    }
    return Outcome(claims, [code], None, job.seconds, newest - before)


def truncated(bench: Bench) -> Outcome:
    """The largest file of the newest checkpoint is cut in half."""
    return damaged(bench, "truncated", cut)


def missing(bench: Bench) -> Outcome:
    """The largest file of the newest checkpoint is gone."""
    return damaged(bench, "missing", pathlib.Path.unlink)


def flipped(bench: Bench) -> Outcome:
    """One bit of the newest checkpoint's arrays is another."""
    return damaged(bench, "flipped", flip)


def all_damaged(bench: Bench) -> Outcome:
    """One bit in every checkpoint."""
    workdir = bench.workdir("all_damaged")
    shutil.copytree(bench.whole(), workdir)
    for step in checkpoint.steps(workdir):
        flip(_largest(workdir, step))
    before = same.names(workdir)
    job = bench.finish("all_damaged")
    code, said = job.wait(), job.said()
    named = all(str(checkpoint.folder(workdir) / step) in said for step in before)
    claims = {
        "refused, each one named": code == 2 and named,
        "nothing renamed, no start from scratch": same.names(workdir) == before,
    }
    return Outcome(claims, [code], job.seconds, job.seconds, None)


def disk_full(bench: Bench) -> Outcome:
    """From the middle of a run on no file can grow; there is space again at the next start."""
    whole, name = bench.whole(), "disk_full"
    workdir = bench.workdir(name)
    with bench.start(name) as job:
        bench.reach_moment(job, name)
        there = checkpoint.steps(workdir)
        job.limit_files(FULL)
        code = job.wait()
    kept = set(there) <= set(checkpoint.steps(workdir))
    newest = checkpoint.steps(workdir)[-1]
    again = bench.finish(name)
    claims = {
        "the save's failure is named": code == 2 and "could not be saved" in job.said(),
        "older checkpoints as they were": kept and again.begun == newest,
        "with space again ends bit-equal": same.equal(whole, workdir),
    }
    redone = job.reached - again.begun
    return Outcome(claims, [code], job.noticed, bench.beyond(ONE, job, again), redone)


def full_at_start(bench: Bench) -> Outcome:
    """No file can grow from the start on."""
    bench.whole()
    with bench.start("full_at_start", before=LIMITED) as job:
        code = job.wait()
    said = job.said()
    claims = {"refused before the first step": code == 2 and "could not be saved" in said}
    claims["refused before the first step"] &= "\nstep " not in said
    return Outcome(claims, [code], job.seconds, job.seconds, 0)


def read_only(bench: Bench) -> Outcome:
    """A workdir that may only be read; root gets one in a mount of its own.

    Raises:
      Unavailable: for root where there are no own mounts.
    """
    bench.whole()
    workdir = bench.workdir("read_only")
    workdir.mkdir(parents=True)
    before: tuple[str, ...] = ()
    if os.geteuid():
        workdir.chmod(0o555)
    else:
        own = ("unshare", "-rm")
        if not shutil.which("unshare") or subprocess.run([*own, "true"], check=False).returncode:
            raise Unavailable("root can write everywhere, and there are no mounts of its own")
        mount = 'mount -t tmpfs -o ro none "$0" && exec "$@"'
        before = (*own, "sh", "-c", mount, str(workdir))
    with bench.start("read_only", before=before) as job:
        code = job.wait()
    named = code == 2 and f"{workdir}: cannot be written" in job.said()
    return Outcome({"refused before any work": named}, [code], job.seconds, job.seconds, 0)
