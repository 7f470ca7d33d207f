"""Faults of one of two processes, each with one CPU device, that train together."""

import re
import signal

from benchmarks.faults import same
from benchmarks.faults.bench import Bench, Job, Kind, Outcome

HEARTBEAT = 5
PAIR = Kind("pair", {"mesh.data": 2, "heartbeat_seconds": HEARTBEAT}, 2)
ABORTED, RETRY = -signal.SIGABRT, 75
VICTIM, PEER = 1, 0


def _struck(bench: Bench, name: str, number: int) -> Job:
    """A pair of which one got a signal, once the other has left."""
    with bench.start(name, PAIR) as job:
        bench.reach_moment(job, name)
        job.strike(number, VICTIM)
        job.wait(PEER)
    return job


def _lost(bench: Bench, name: str, number: int) -> Outcome:
    """One of two gone without a word: the other leaves, and both start again."""
    whole = bench.whole(PAIR)
    job = _struck(bench, name, number)
    code = job.wait(PEER)
    again = bench.finish(name, PAIR)
    claims = {
        "the other leaves with a code to retry": code in (RETRY, ABORTED),
        "with its stacks": bool(re.search(r"line \d+,? in loop\b", job.said(PEER))),
        f"both go on from step {again.begun}": again.codes() == [0, 0] and again.begun > 0,
        "end bit-equal": same.equal(whole, bench.workdir(name)),
    }
    redone = job.reached - again.begun
    return Outcome(claims, [code], job.noticed, bench.beyond(PAIR, job, again), redone)


def killed(bench: Bench) -> Outcome:
    """SIGKILL to one of two."""
    return _lost(bench, "pair_killed", signal.SIGKILL)


def stopped(bench: Bench) -> Outcome:
    """SIGSTOP to one of two: it keeps its connections and says nothing."""
    return _lost(bench, "pair_stopped", signal.SIGSTOP)


def terminated(bench: Bench) -> Outcome:
    """SIGTERM to one of two; early, for it takes JAX up to a second or two to tell the other."""
    whole, name = bench.whole(PAIR), "pair_terminated"
    with bench.start(name, PAIR) as job:
        job.wait_for(f"step {bench.plan['log_every']}/")
        job.strike(signal.SIGTERM, VICTIM)
        codes = job.codes()
    last = [re.findall(r"asked to stop, after step (\d+)", job.said(i)) for i in (0, 1)]
    again = bench.finish(name, PAIR)
    claims = {
        "both save and end after the same step": codes == [0, 0] and last[0] == last[1] != [],
        "end bit-equal": same.equal(whole, bench.workdir(name)),
    }
    redone = int(last[0][0]) - again.begun
    return Outcome(claims, codes, job.noticed, bench.beyond(PAIR, job, again), redone)
