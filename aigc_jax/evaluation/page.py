"""One self-contained HTML page of stored evaluations: `evaluation/report.html`.

Everything is inside the file, and its Content-Security-Policy forbids whatever would not be.
"""

import pathlib
from collections.abc import Sequence

from aigc_jax.evaluation import charts, exhibits, metric_rows, sections
from aigc_jax.evaluation.markup import Markup, element
from aigc_jax.evaluation.runs import Run, load

POLICY = (
    "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
)
HERE = pathlib.Path(__file__).parent
PLACES = {"metrics": "Metrics", "refused": "Not reported", "figures": "Figures"} | {
    "curves": "Curves",
    "config": "Config",
}


def write(path: pathlib.Path, runs: Sequence[pathlib.Path]) -> None:
    """Writes the report of these workdirs, several side by side, in one move.

    Raises:
      ValueError: there is none, or one holds neither a record nor an evaluation.
    """
    text = page(load(runs))
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def page(runs: Sequence[Run]) -> str:
    """The whole page of loaded runs."""
    parts = [*_top(runs), *_numbers(runs), *_figures(runs), *_curves(runs), *_config(runs)]
    body = element("body", *parts, element("script", Markup((HERE / "page.js").read_text())))
    return f"<!doctype html>\n{element('html', _head(runs), body, lang='en')}\n"


def _head(runs: Sequence[Run]) -> Markup:
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", ", ".join(run.name for run in runs), " · evaluation"),
        element("link", rel="icon", href="data:,"),
        element("style", Markup((HERE / "page.css").read_text())),
    )


def _top(runs: Sequence[Run]) -> list[Markup]:
    several = len(runs) > 1
    title = f"{len(runs)} runs side by side" if several else runs[0].name
    told = ", ".join(run.name for run in runs) if several else sections.subject(runs[0])
    button = element(
        "button", "Dark", id="theme", type="button", hidden=True, title="Change colours"
    )
    names = element("div", element("h1", title), element("p", told, class_="soft"))
    missing = [
        element(
            "p", f"{run.name} is not evaluated yet: ", element("code", _command(run)), class_="warn"
        )
        for run in runs
        if not run.content
    ]
    missing += [
        element("p", f"{run.name}: cut short, not done are {', '.join(left)}", class_="warn")
        for run in runs
        if (left := run.content.get("remaining"))
    ]
    links = [element("a", label, href=f"#{place}") for place, label in _places(runs).items()]
    nav = element("nav", *links, aria_label="Parts of this page")
    return [
        element("header", names, button, class_="top"),
        nav,
        sections.facts_list(runs),
        *missing,
    ]


def _command(run: Run) -> str:
    return f"python -m aigc_jax.evaluate --workdir={run.workdir}"


def _places(runs: Sequence[Run]) -> dict[str, str]:
    """{anchor: label} of the parts that this page has."""
    there = {
        "metrics": any(run.content for run in runs),
        "refused": any(run.content.get("refused") for run in runs),
        "figures": any(run.content.get("figures") for run in runs),
        "curves": any(run.rows for run in runs),
        "config": any(run.record for run in runs),
    }
    return {place: label for place, label in PLACES.items() if there[place]}


def _numbers(runs: Sequence[Run]) -> list[Markup]:
    if not any(run.content for run in runs):
        return []
    title = element("h2", "Metrics", id="metrics")
    table = metric_rows.metric_table(runs)
    unreported = sections.refused(runs)
    parts = [sections.cards(runs), element("section", title, table), unreported]
    return [part for part in parts if part]


def _figures(runs: Sequence[Run]) -> list[Markup]:
    found = exhibits.figures(runs)
    return [element("section", element("h2", "Figures", id="figures"), *found)] if found else []


def _curves(runs: Sequence[Run]) -> list[Markup]:
    drawn = charts.charts({run.name: run.rows for run in runs})
    if not drawn:
        return []
    note = (
        "Training values are faint lines with their running median where there are many, held-out "
        "values have dots. Beside each name stands its last value, or the one at the pointer."
    )
    title = element("h2", "Curves", id="curves")
    return [
        element(
            "section",
            title,
            element("p", note, class_="soft"),
            element("div", *drawn, class_="curves"),
        )
    ]


def _config(runs: Sequence[Run]) -> list[Markup]:
    if not any(run.record for run in runs):
        return []
    return [element("section", element("h2", "Config", id="config"), exhibits.config(runs))]
