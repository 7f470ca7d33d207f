"""Our program beside PyTorch on the same work, in one run on one machine.

    python -m benchmarks.speed --suite=bench
    python -m benchmarks.speed --suite=cpu --only=dcgan28,lstm --check

Each variant is one warm process; they work in turns over the rounds, and a ratio is the median of
the ratios of the rounds. Prints a table (see table.py) and appends its rows to
benchmarks/results/speed.jsonl. With --check nothing is appended: ratios more than 15 % below the
last recorded ones of this machine are named, and the exit status is 1 if there are any.
"""

import argparse
import importlib.util
import os
import subprocess
import sys

from benchmarks.speed import quiet, workloads

NAME = "speed"
# The suites of the CPU must not see a GPU; on one, idle processes must not hold its memory.
PLATFORMS = {"gpu": {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}}
ON_CPU = {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}


def parse(argv: list[str]) -> argparse.Namespace:
    """The flags; `only` becomes a tuple of names."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    suites = sorted({suite for workload in workloads.WORKLOADS for suite in workload.suites})
    parser.add_argument("--suite", default="bench", choices=suites)
    parser.add_argument("--only", default="", help="names of workloads, with commas between")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--check", action="store_true", help="compare with the recorded ratios")
    flags = parser.parse_args(argv)
    flags.only = tuple(filter(None, flags.only.split(",")))
    if flags.rounds < 1:
        parser.error(f"--rounds={flags.rounds}: must be at least 1")
    return flags


def check_machine(suite: str) -> None:
    """Refuses what cannot be measured here.

    Raises:
      ValueError: without PyTorch, or for the suite of the GPU without one.
    """
    import jax

    if not importlib.util.find_spec("torch"):
        raise ValueError("PyTorch is missing: pip install -r requirements-bench.txt")
    if suite == "gpu" and jax.default_backend() == "cpu":
        raise ValueError(
            '--suite=gpu: JAX sees no GPU; pip install "jax[cuda12]" on a machine with'
        )


def measure_all(chosen: list[workloads.Workload], flags: argparse.Namespace) -> tuple[list, list]:
    """Measures, prints and, unless checking, records row after row; the rows and the errors."""
    from benchmarks import report
    from benchmarks.speed import measure, roofline, rounds, table

    rates, rows, errors = {}, [], []
    for workload in chosen:
        precision = workload.options.get("precision", "float32")
        if precision not in rates:
            rates[precision] = roofline.measured(precision)
        print(f"{workload.name}: {workload.title}", file=sys.stderr)
        try:
            row = measure.row(workload, flags.suite, flags.rounds, rates[precision])
        except (ValueError, rounds.Failed) as error:
            errors.append(f"{workload.name}: {error}")
            continue
        rows.append(report.circumstances() | row)
        if not flags.check:
            report.append(NAME, [row])
    print("\n" + table.text(rows) if rows else "")
    return rows, errors


def compare(rows: list) -> list[str]:
    """The regressions, after a line on what has no recorded row to compare with."""
    from benchmarks.speed import check

    earlier = check.recorded(NAME)
    if names := check.unknown(rows, earlier):
        print(f"no recorded row of this machine: {', '.join(names)}")
    return [f"regression: {line}" for line in check.regressions(rows, earlier)]


def main(argv: list[str]) -> int:
    """0 when everything was measured, and with --check is no slower; 1 if not, 2 for bad input."""
    flags = parse(argv)
    os.environ |= PLATFORMS.get(flags.suite, ON_CPU)  # before JAX is imported
    try:
        chosen = workloads.chosen(flags.suite, flags.only)
        check_machine(flags.suite)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    busy = quiet.share_now()
    if busy is not None and busy > quiet.LIMIT:
        print(f"warning: other processes use {100 * busy:.0f} % of the CPUs", file=sys.stderr)
    try:
        rows, errors = measure_all(chosen, flags)
    except subprocess.CalledProcessError as error:
        rows, errors = [], [f"the roofline could not be measured: {error}"]
    errors += compare(rows) if flags.check else []
    for line in errors:
        print(f"error: {line}", file=sys.stderr)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
