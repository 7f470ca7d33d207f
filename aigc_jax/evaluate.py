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


def parse(argv: list[str]) -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=USAGE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    path = pathlib.Path
    parser.add_argument("--workdir", type=path, help="the run")
    parser.add_argument("--compare", type=path, nargs="+", default=[], help="more runs")
    parser.add_argument("--list", type=path, help="a folder of runs")
    parser.add_argument("--step", type=int, help="which checkpoint; default: the newest")
    parser.add_argument("--samples", type=int, default=10_000, help="images to draw, at most")
    parser.add_argument("--iw_samples", type=int, default=100, help="K of a VAE's bound")
    parser.add_argument("--seed", type=int, default=0, help="of the samples")
    parser.add_argument("--features", default="", help="module:function, images -> [N, F]")
    parser.add_argument("--inception_weights", default="", help="a file; only then it is FID")
    parser.add_argument("--noema", action="store_true", help="raw, not averaged parameters")
    parser.add_argument("--trust", action="append", default=[], help="a module of your own to run")
    flags = parser.parse_args(argv)
    if bool(flags.workdir) == bool(flags.list):
        parser.error("give --workdir=RUN, or --list FOLDER")
    for name in ("samples", "iw_samples"):
        if getattr(flags, name) < 1:
            parser.error(f"--{name}={getattr(flags, name)}: must be at least 1")
    return flags


def main(argv: list[str]) -> int:
    """Evaluates, compares or lists; 0 when done, 2 for bad input."""
    flags = parse(argv)
    try:
        if flags.list:
            print(listing(flags.list))
        else:
            compared(flags)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def listing(folder: pathlib.Path) -> str:
    """One line for each run in a folder.

    Raises:
      ValueError: there is none.
    """
    from aigc_jax.evaluation import runs, tables

    workdirs = sorted(path.parent for path in folder.glob("*/config.json"))
    if not workdirs:
        raise ValueError(f"--list={folder}: holds no runs; accepted is a folder of workdirs")
    found = runs.load(workdirs)
    return "\n".join(tables.summary_line(r.name, r.content, r.record, r.rows) for r in found)


def compared(flags: argparse.Namespace) -> None:
    """Evaluates the run and those it is compared with, writes the page and prints the table."""
    from aigc_jax.evaluation import page, runs, tables

    workdirs = [flags.workdir, *flags.compare]
    for workdir in workdirs[1:]:
        if not (workdir / "config.json").exists():
            raise ValueError(f"--compare {workdir}: is no run; accepted are workdirs")
    evaluate(flags.workdir, flags)
    report = flags.workdir / "evaluation" / "report.html"
    page.write(report, workdirs[:1])
    if flags.compare:
        for workdir in workdirs[1:]:
            evaluated(workdir, flags)
        report = report.with_name("comparison.html")
        page.write(report, workdirs)
    found = runs.load(workdirs)
    print(tables.metrics_table({run.name: run.content for run in found}))
    print(f"\n{report}")


def evaluated(workdir: pathlib.Path, flags: argparse.Namespace) -> None:
    """Evaluates another run, unless that was done at the same step and seed already."""
    from aigc_jax import checkpoint
    from aigc_jax.evaluation import page, results

    stored = results.read(workdir)
    newest = (checkpoint.steps(workdir) or [None])[-1]
    if stored is None or (stored["step"], stored["seed"]) != (newest, flags.seed):
        evaluate(workdir, argparse.Namespace(**vars(flags) | {"step": None}))
        page.write(workdir / "evaluation" / "report.html", [workdir])


def evaluate(workdir: pathlib.Path, flags: argparse.Namespace) -> dict[str, Any]:
    """Measures one run and writes `evaluation/metrics.json`; returns what it holds.

    It is written after each task, with those that remain.

    Raises:
      ValueError: for a run, data or options that do not go together, before anything is drawn.
    """
    from aigc_jax import (
        build,
        checkpoint,
        config,
        launch,
        parallel,
        refusals,
        seeds,
        start,
        stored_config,
        vocabulary,
    )
    from aigc_jax import workdir as workdirs
    from aigc_jax.evaluation import plan, progress, results

    began = time.perf_counter()
    launch.configure()
    if fault := seeds.fault(f"--seed={flags.seed}", flags.seed):
        raise ValueError(fault)
    step = checkpoint.choose(workdir, flags.step)
    record = checkpoint.read_run(workdir, step)
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
        about = _about(subject, record, time.perf_counter() - began) | {"remaining": remaining}
        results.write(workdir / "evaluation", found, about, written)
    return results.read(workdir)


def _about(subject: Any, record: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """Whose evaluation it is, and under what circumstances it was made."""
    from aigc_jax import workdir as workdirs
    from aigc_jax.media import provenance

    step, seed = int(subject.state.step), subject.flags.seed
    digest, name = record["digest"], subject.workdir.resolve().name
    return {
        "run": name,
        "step": step,
        "seed": seed,
        "digest": digest,
        **workdirs.circumstances(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        "mark": provenance.mark(run=name, step=step, config_digest=digest, seed=seed),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
