"""Faults of one process: killed, asked to stop, doubled, without its log, gone on with by two."""

import signal

from aigc_jax import checkpoint
from benchmarks.faults import same
from benchmarks.faults.bench import KILLED, ONE, Bench, Outcome
from benchmarks.faults.pairs import PAIR

UNFINISHED = "unfinished"


def killed(bench: Bench) -> Outcome:
    """SIGKILL between two saves."""
    whole, name = bench.whole(), "killed"
    with bench.start(name) as job:
        bench.reach_moment(job, name)
        job.strike(signal.SIGKILL)
        code = job.wait()
    newest = checkpoint.steps(bench.workdir(name))[-1]
    again = bench.finish(name)
    claims = {
        f"goes on from step {newest}": code == KILLED and again.begun == newest >= bench.saved,
        "ends bit-equal": same.equal(whole, bench.workdir(name)),
    }
    redone = job.reached - again.begun
    return Outcome(claims, [code], job.noticed, bench.beyond(ONE, job, again), redone)


def killed_in_save(bench: Bench) -> Outcome:
    """SIGKILL while a checkpoint is being made."""
    whole, name = bench.whole(), "killed_in_save"
    left = lambda: any(UNFINISHED in found for found in same.names(bench.workdir(name)))
    with bench.start(name) as job:
        bench.reach_moment(job, name)
        job.wait_until(left, every=0.0005)
        job.strike(signal.SIGKILL)
        code = job.wait()
    half, newest = left(), checkpoint.steps(bench.workdir(name))[-1]
    again = bench.finish(name)
    claims = {
        "the half-made checkpoint does not count": half and again.begun == newest,
        "and is removed": not left(),
        "ends bit-equal": same.equal(whole, bench.workdir(name)),
    }
    redone = job.reached - again.begun
    return Outcome(claims, [code], job.noticed, bench.beyond(ONE, job, again), redone)


def terminated(bench: Bench) -> Outcome:
    """SIGTERM."""
    whole, name = bench.whole(), "terminated"
    with bench.start(name) as job:
        bench.reach_moment(job, name)
        job.strike(signal.SIGTERM)
        code = job.wait()
    again = bench.finish(name)
    claims = {
        "saves and ends": code == 0 and f"stopped at step {again.begun}" in job.said(),
        "ends bit-equal": same.equal(whole, bench.workdir(name)),
    }
    redone = max(job.reached - again.begun, 0)
    return Outcome(claims, [code], job.noticed, bench.beyond(ONE, job, again), redone)


def second_run(bench: Bench) -> Outcome:
    """Another run on the workdir of one that trains, which is held still meanwhile."""
    whole, name = bench.whole(), "second_run"
    with bench.start(name) as first:
        bench.reach_moment(first, name)
        first.strike(signal.SIGSTOP)
        second = bench.finish(name)
        first.strike(signal.SIGCONT)
        ended = first.wait()
    code = second.wait()
    claims = {
        "refused, with the holder's name": code == 2 and "is training there" in second.said(),
        "the first ends bit-equal": not ended and same.equal(whole, bench.workdir(name)),
    }
    return Outcome(claims, [code], second.seconds, second.seconds, 0)


def logger(bench: Bench) -> Outcome:
    """TensorBoard cannot write: a file is where its folder shall be."""
    whole, name = bench.whole(), "logger"
    bench.workdir(name).mkdir(parents=True)
    (bench.workdir(name) / "tensorboard").write_text("")
    job = bench.finish(name)
    code = job.wait()
    claims = {
        "said once, the run goes on": job.said().count("warning: TensorBoard") == 1,
        "ends bit-equal": not code and same.equal(whole, bench.workdir(name)),
    }
    return Outcome(claims, [code], None, bench.beyond(ONE, job), 0)


def other_processes(bench: Bench) -> Outcome:
    """Stopped in one process, gone on with in two of one device each."""
    whole, name = bench.whole(), "other_processes"
    with bench.start(name) as job:
        bench.reach_moment(job, name)
        job.strike(signal.SIGTERM)
        job.wait()
    again = bench.finish(name, PAIR)
    codes, far = again.codes(), same.apart(whole, bench.workdir(name))
    claims = {
        "no conversion": codes == [0, 0] and again.begun >= bench.moment,
        f"the last ELBO within {100 * far:.1g} %": far < 2e-3,
    }
    return Outcome(claims, codes, None, None, 0)
