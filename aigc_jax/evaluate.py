"""What a run is worth: python -m aigc_jax.evaluate --workdir=runs/gan_mnist.

Writes evaluation/metrics.json and evaluation/report.html into the workdir and prints one table.
"""

import argparse
import datetime
import pathlib
import sys
import time
from collections.abc import Mapping
from typing import Any

USAGE = """
python -m aigc_jax.evaluate --workdir=RUN --compare RUN2 RUN3   runs side by side
python -m aigc_jax.evaluate --list runs/                        one line per run
"""
# More would take years, or more memory than there is.
MOST = {"samples": 10_000_000, "iw_samples": 1_000_000}


def parse(argv: list[str]) -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=USAGE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--workdir", type=_path, help="the run")
    add("--compare", type=_path, nargs="+", default=[], help="more runs")
    add("--list", type=_path, help="a folder of runs")
    add("--step", type=int, help="which checkpoint; default: the newest")
    add("--samples", type=int, default=10_000, help="images to draw, at most")
    add("--iw_samples", type=int, default=100, help="K of a VAE's bound")
    add("--seed", type=int, default=0, help="of the samples")
    add("--features", type=_given, help="module:function, images -> [N, F]")
    add("--inception_weights", type=_given, help="a file; only then it is FID")
    add("--noema", action="store_true", help="raw, not averaged parameters")
    add("--trust", type=_given, action="append", default=[], help="a module of your own to run")
    return parser.parse_args(argv)


def _given(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("is empty")
    return text


def _path(text: str) -> pathlib.Path:
    return pathlib.Path(_given(text))


def check(flags: argparse.Namespace) -> None:
    """Every flag in its range, and against the others.

    Raises:
      ValueError: naming the flag, its value and the rule.
    """
    from aigc_jax import seeds

    if bool(flags.workdir) == bool(flags.list):
        raise ValueError("give --workdir=RUN, or --list FOLDER")
    others = [name for name, value in vars(parse([])).items() if getattr(flags, name) != value]
    if flags.list and others != ["list"]:
        named = ", ".join(f"--{name}" for name in others if name != "list")
        raise ValueError(f"--list reads what is stored: it takes no {named}")
    for name, most in MOST.items():
        if not 1 <= getattr(flags, name) <= most:
            raise ValueError(f"--{name}={getattr(flags, name)}: must be from 1 to {most:,}")
    if flags.features and flags.inception_weights:
        raise ValueError("--features and --inception_weights: give one of them")
    runs = [path.resolve() for path in (flags.workdir, *flags.compare) if path]
    for path in runs:
        if runs.count(path) > 1:
            raise ValueError(f"--compare={path}: each run may be named once")
    if fault := seeds.fault(f"--seed={flags.seed}", flags.seed):
        raise ValueError(fault)


def main(argv: list[str]) -> int:
    """Evaluates, compares or lists; 0 when done, 2 for bad input."""
    flags = parse(argv)
    try:
        check(flags)
        if flags.list:
            print(listing(flags.list))
        else:
            compared(flags)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def listing(folder: pathlib.Path) -> str:
    """One line for each run in a folder; of one that cannot be read, why.

    Raises:
      ValueError: there is none.
    """
    from aigc_jax.evaluation import runs

    return "\n".join(map(_line, runs.listed(folder)))


def _line(workdir: pathlib.Path) -> str:
    from aigc_jax.evaluation import results, runs, tables

    try:
        (run,) = runs.load([workdir])
        return tables.summary_line(run.name, run.content, run.record, run.rows)
    except Exception as error:  # of whatever lies there: the other lines are worth as much
        return f"{workdir.name.ljust(tables.NAME)}  cannot be read: {results.reason_of(error)}"


def compared(flags: argparse.Namespace) -> None:
    """Evaluates the run and those it is compared with, writes the page and prints the table.

    A run that it is to be compared with and cannot be evaluated is left out of the table.

    Raises:
      ValueError: for a run that cannot be evaluated, of those that are compared at the end.
    """
    from aigc_jax import checkpoint
    from aigc_jax.evaluation import page, runs, tables

    for workdir in flags.compare:
        if not (workdir / "config.json").exists():
            raise ValueError(f"--compare {workdir}: is no run; accepted are workdirs")
        checkpoint.read_run(workdir)
    evaluate(flags.workdir, flags)
    report, workdirs, failed = flags.workdir / "evaluation" / "report.html", [flags.workdir], []
    page.write(report, workdirs)
    for workdir in flags.compare:
        try:
            evaluated(workdir, flags)
            workdirs.append(workdir)
        except (ValueError, OSError) as error:
            failed.append(f"--compare {workdir}: left out, {error}")
    if len(workdirs) > 1:
        report = report.with_name("comparison.html")
        page.write(report, workdirs)
    found = runs.load(workdirs)
    print(tables.metrics_table({run.name: run.content for run in found}))
    print(f"\n{report}")
    if failed:
        raise ValueError("\n".join(failed))


def evaluated(workdir: pathlib.Path, flags: argparse.Namespace) -> None:
    """Evaluates another run, unless that was done under the same protocol already."""
    from aigc_jax import checkpoint
    from aigc_jax.evaluation import page, protocol, results

    step = checkpoint.choose(workdir)
    sampling = checkpoint.read_run(workdir, step)["config"]["sampling"]
    wanted = protocol.of(flags, step, checkpoint.digest(workdir, step), sampling)
    try:
        stored = results.read(workdir)
    except ValueError:  # it is measured anew
        stored = None
    if not protocol.reusable(stored, wanted):
        evaluate(workdir, argparse.Namespace(**vars(flags) | {"step": None}))
        page.write(workdir / "evaluation" / "report.html", [workdir])


def evaluate(workdir: pathlib.Path, flags: argparse.Namespace) -> dict[str, Any]:
    """Measures one run and writes `evaluation/metrics.json`; returns what it holds.

    It is written after each task, with those that remain.

    Raises:
      ValueError: for a run, data or options that do not go together, before anything is drawn; or
        nothing at all could be measured.
    """
    from aigc_jax import (
        build,
        checkpoint,
        config,
        launch,
        parallel,
        refusals,
        start,
        stored_config,
        vocabulary,
    )
    from aigc_jax import workdir as workdirs
    from aigc_jax.evaluation import plan, progress, protocol, results

    began = time.perf_counter()
    launch.configure()
    step = checkpoint.choose(workdir, flags.step)
    record = checkpoint.read_run(workdir, step)
    sampling = record["config"]["sampling"]
    options = protocol.of(flags, step, checkpoint.digest(workdir, step), sampling)
    tokenizer = vocabulary.stored(record, flags.trust)
    with refusals.told():
        completed = stored_config.as_of_today(record["config"], flags.trust)[0] | config.UNDIVIDED
        run = build.run(completed, workdirs.info_of(record), flags.trust)
        dataset = build.load_data(completed, tokenizer, flags.trust)
    workdirs.check_corpus(workdir, dataset.info)
    dataset = workdirs.as_begun(dataset, record)
    mesh = parallel.make_mesh(config.MESH)
    state = start.restore(run, workdir, mesh, step)
    state = state.replace(ema={}) if flags.noema else state
    subject = plan.Subject(run, state, dataset, workdir, mesh, flags)
    bar, found = progress.Bar(), results.nothing()
    planned = plan.tasks(subject, bar.say)
    remaining = [title for title, _ in planned]
    for task in bar.over(planned):
        written = len(found.figures)
        task(found)
        del remaining[0]
        about = _about(subject, record, time.perf_counter() - began)
        about |= {"protocol": options, "remaining": remaining}
        results.write(workdir / "evaluation", found, about, written)
    if not found.metrics and not found.figures:
        raise ValueError(f"--workdir={workdir}: nothing could be measured, see what is refused")
    return results.read(workdir)


def _about(subject: Any, record: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """Whose evaluation it is, and under what circumstances it was made."""
    from aigc_jax import samples
    from aigc_jax import workdir as workdirs
    from aigc_jax.evaluation import plan

    run, raw, options = subject.run, subject.flags.noema, plan.sampled_with(subject.run)
    step, seed = int(subject.state.step), subject.flags.seed
    digest, name = record["digest"], subject.workdir.resolve().name
    drawn = {"run": name, "step": step, "config_digest": digest, "seed": seed, "options": options}
    return {
        "run": name,
        "step": step,
        "seed": seed,
        "digest": digest,
        **workdirs.circumstances(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        "mark": samples.mark(run, raw=raw, **drawn),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
