"""What faults come to in real runs of train.py, and what checkpoints cost.

    python -m benchmarks.faults                          # every fault, 5 minutes on 2 cores
    python -m benchmarks.faults --only=sigkill,nan
    python -m benchmarks.faults --checkpoints            # a minute

Each fault is injected from outside into fresh processes with one CPU device, and what comes of it
is compared with a run without it. Rows go to `faults.jsonl` and `checkpoints.jsonl` in results/.
"""

import argparse
import pathlib
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from aigc_jax import launch
from benchmarks import report
from benchmarks.faults import checkpoints
from benchmarks.faults.bench import Bench, Outcome
from benchmarks.faults.catalogue import FAULTS
from benchmarks.faults.storage import Unavailable


def row_of(name: str, outcome: Outcome, bench: Bench) -> dict[str, Any]:
    """A row of `results/faults.jsonl`, with what the runs without faults took."""
    false = [words for words, found in outcome.claims.items() if not found]
    rounded = lambda value: value if value is None else round(value, 3)
    return {
        **{"fault": name, "title": FAULTS[name].title, "test": FAULTS[name].test},
        **{"outcome": "; ".join(outcome.claims), "not_so": false, "exits": list(outcome.exits)},
        **{"noticed_s": rounded(outcome.noticed), "lost_s": rounded(outcome.lost)},
        **{"redone": outcome.redone, "plan": dict(bench.plan)},
        "without_s": {kind: list(map(rounded, times)) for kind, times in bench.timed.items()},
    }


def line_of(row: Mapping[str, Any]) -> str:
    """What the terminal shows of a row."""
    numbers = f"exit {row['exits']}, noticed {row['noticed_s']} s, lost {row['lost_s']} s"
    wrong = f"  NOT SO: {row['not_so']}" if row["not_so"] else ""
    return f"{row['fault']}: {row['outcome']}; {numbers}, redone {row['redone']}{wrong}"


def measure(names: Sequence[str], bench: Bench) -> list[dict[str, Any]]:
    """The rows of faults, each told as it comes; without those that this machine cannot have."""
    rows = []
    for name in names:
        try:
            rows.append(row_of(name, FAULTS[name].inject(bench), bench))
        except Unavailable as reason:
            print(f"{name}: not tested here: {reason}")
            continue
        except Exception as error:  # such as a process that ends where it should go on
            first = str(error).strip().splitlines()[0] if str(error).strip() else ""
            outcome = Outcome({f"{type(error).__name__}: {first}": False}, [])
            rows.append(row_of(name, outcome, bench))
        print(line_of(rows[-1]), flush=True)
    return rows


def main(argv: Sequence[str]) -> int:
    """Measures and records; 1 if any outcome was not what it should be."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default=",".join(FAULTS), help="faults, with commas")
    parser.add_argument("--checkpoints", action="store_true", help="the cost of checkpoints")
    parser.add_argument("--rounds", type=int, default=0, help="default: 2; 5 of checkpoints")
    flags = parser.parse_args(argv)
    names = flags.only.split(",")
    for name in names:
        if name not in FAULTS:
            parser.error(f"--only={name}: accepted are {', '.join(FAULTS)}")
    began = time.monotonic()
    if flags.checkpoints:
        launch.configure()
        name, rows = "checkpoints", checkpoints.measure(flags.rounds or 5)
        print(report.table(rows))
    else:
        jax.config.update("jax_platforms", "cpu")  # as the runs
        with tempfile.TemporaryDirectory(prefix="aigc_jax_faults_") as folder:
            bench = Bench(pathlib.Path(folder), rounds=flags.rounds or 2)
            name, rows = "faults", measure(names, bench)
    print(report.append(name, rows))
    print(f"{time.monotonic() - began:.0f} s")
    return int(any(row.get("not_so") for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
