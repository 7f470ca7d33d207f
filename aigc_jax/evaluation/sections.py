"""The parts of a report about numbers: whose they are, the headlines, the table, the refusals."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from aigc_jax.evaluation import standing
from aigc_jax.evaluation.markup import Markup, element, joined
from aigc_jax.evaluation.readable import arrow, direction, headed, number, quantity
from aigc_jax.evaluation.runs import Run

# Of metrics.json; what else stands in it is shown as it is.
KNOWN = ("run", "step", "seed", "digest", "commit", "versions", "device", "date", "seconds")
KNOWN += ("metrics", "refused", "figures", "protocol", "remaining")
HEADLINES = 4
DATE = re.compile(r"(?<=\d)T(?=\d)")  # between day and time
COLOURS = 8


def colour(index: int) -> str:
    """The style of the run of this index."""
    return f"--c:var(--c{index % COLOURS})"


def swatch(index: int) -> Markup:
    """A small square of the run's colour."""
    return element("span", class_="swatch", style=colour(index), aria_hidden="true")


def heading(run: Run, index: int) -> Markup:
    """A column's head for one of several runs."""
    return element("th", swatch(index), run.name, scope="col", class_="number")


def scrolling(*children: Markup) -> Markup:
    """A box in which a wide table scrolls, by keyboard too."""
    return element("div", *children, class_="scroll", tabindex="0", role="group")


def evaluations_of(runs: Sequence[Run]) -> dict[str, Mapping[str, Any]]:
    """{run name: content of its metrics.json} of the evaluated runs."""
    return {run.name: run.content for run in runs if run.content}


def subject(run: Run) -> str:
    """What was trained on what, "gan on mnist"."""
    config = run.record.get("config", {})
    names = [config.get(part, {}).get("name") for part in ("algorithm", "data")]
    return " on ".join(name for name in names if name)


def facts(run: Run) -> dict[str, Any]:
    """{label: text} of when, where and by which code the run was trained and evaluated."""
    content = run.content
    taken = f", in {number(content['seconds'], 3)} s" if "seconds" in content else ""
    return {
        "Trained": subject(run),
        "Step": _step(run) if content else "",
        "Evaluated": DATE.sub(" ", content.get("date", "not yet")) + taken,
        "Device": _both(run, "device"),
        "Commit": _both(run, "commit", 12),
        "Config digest": content.get("digest") or run.record.get("digest"),
        "Seed": content.get("seed"),
        "Options": _options(content.get("protocol", {})),
        **{headed(k): v for k, v in content.items() if k not in KNOWN},
        "Versions": _versions(content.get("versions") or run.record.get("versions") or {}),
    }


def _step(run: Run) -> str:
    steps = run.record.get("config", {}).get("steps")
    return f"{run.content['step']:,}" + (f" of {steps:,}" if steps else "")


def _options(protocol: Mapping[str, Any]) -> str:
    """The options of an evaluation that bear on its numbers and do not stand elsewhere."""
    named = {k: protocol.get(k) for k in ("samples", "iw_samples", "features", "inception_weights")}
    named |= {"sampling": protocol.get("sampling"), "parameters": protocol.get("parameters")}
    first = {k: v[0] if isinstance(v, list) else v for k, v in named.items() if v}
    return " · ".join(f"{name} {value}" for name, value in first.items())


def _versions(versions: Mapping[str, str]) -> str:
    return " · ".join(f"{package} {version}" for package, version in versions.items())


def _both(run: Run, key: str, length: int | None = None) -> str:
    """Of the training and of the evaluation, once where they are the same."""
    trained, evaluated = (_shortened(x.get(key) or "", length) for x in (run.record, run.content))
    if trained and evaluated and trained != evaluated:
        return f"{trained} (training), {evaluated} (evaluation)"
    return trained or evaluated


def _shortened(text: str, length: int | None) -> str:
    commit, plus, changes = text.partition("+")
    return commit[:length] + (plus and f" {plus}{changes}")


def facts_list(runs: Sequence[Run]) -> Markup:
    """The facts of one run as a list, of several as a table."""
    told = [{k: v for k, v in facts(run).items() if v not in (None, "")} for run in runs]
    if len(runs) == 1:
        return _facts_of_one(told[0])
    labels = dict.fromkeys(label for each in told for label in each)
    names = (element("th", swatch(i), run.name, scope="col") for i, run in enumerate(runs))
    head = element("tr", element("td"), *names)
    rows = [_facts_row(label, [each.get(label, "–") for each in told]) for label in labels]
    table = element("table", element("thead", head), element("tbody", *rows), class_="plain runs")
    return scrolling(table)


def _facts_of_one(told: Mapping[str, Any]) -> Markup:
    items = [
        element("div", element("dt", label), element("dd", told[label]), class_=_wide(label))
        for label in told
        if label != "Trained"  # it stands below the title
    ]
    return element("dl", *items, class_="facts")


def _wide(label: str) -> str | None:
    return "wide" if label == "Versions" else None


def _facts_row(label: str, values: Sequence[Any]) -> Markup:
    """A row of the runs' facts; what is the same for all stands once."""
    cells = [element("td", value) for value in values]
    if len(set(map(str, values))) == 1:
        cells = [element("td", values[0], colspan=len(values))]
    return element("tr", element("th", label, scope="row"), *cells)


def cards(runs: Sequence[Run]) -> Markup:
    """The metrics to read first, large."""
    evaluations = evaluations_of(runs)
    shared = {"metrics": {}}
    for name in standing.metric_names(evaluations):
        shared["metrics"][name] = next(iter(standing.of_runs(evaluations, name).values()))
    chosen = standing.headlines(shared, HEADLINES)
    one = _card if len(runs) == 1 else _card_of_several
    return element(
        "div",
        *(one(name, runs, standing.of_runs(evaluations, name)) for name in chosen),
        class_="cards",
    )


def _card(name: str, runs: Sequence[Run], metrics: Mapping[str, Any]) -> Markup:
    metric = metrics[runs[0].name]
    written, _, unit = quantity(metric["value"], metric["unit"]).partition(" ")
    value = element("div", written, element("span", f" {unit}", class_="unit"), class_="value")
    floors = ", ".join(f"{label} {number(v, 3)}" for label, v in metric["floors"].items())
    lines = [_direction(metric["better"]), f"real data: {floors}" if floors else ""]
    small = [element("p", text, class_="soft") for text in lines if text]
    return element("section", element("h2", headed(name)), value, *small, class_="card")


def _card_of_several(name: str, runs: Sequence[Run], metrics: Mapping[str, Any]) -> Markup:
    leaders = standing.best(metrics)
    rows = [
        element("li", element("span", swatch(i), run.name), _short_value(run, metrics, leaders))
        for i, run in enumerate(runs)
        if run.name in metrics
    ]
    better = _direction(next(iter(metrics.values()))["better"])
    small = element("p", better, class_="soft") if better else None
    title = element("h2", headed(name))
    return element("section", title, element("ol", *rows), small, class_="card")


def _short_value(run: Run, metrics: Mapping[str, Any], leaders: set[str]) -> Markup:
    metric = metrics[run.name]
    name = "strong" if run.name in leaders else "span"
    best = "best" if run.name in leaders else None
    return element(name, quantity(metric["value"], metric["unit"]), class_=best)


def _direction(better: str) -> str:
    """Where better is, in words with an arrow."""
    return f"{arrow(better)} {direction(better)}".strip()


def refused(runs: Sequence[Run]) -> Markup | None:
    """Metrics that are not reported, and why; None if there are none."""
    several = len(runs) > 1
    items = [
        element("li", element("code", metric), reason, f" ({of})" * several)
        for metric, reason, of in standing.refusals(evaluations_of(runs))
    ]
    if not items:
        return None
    title = element("h2", "Not reported", id="refused")
    return element("section", title, element("ul", joined(items), class_="refused"))
