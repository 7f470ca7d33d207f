import base64
import html.parser
import json
import math
import re
import subprocess
import sys
import zlib

import pytest

from aigc_jax.evaluation import exhibits, page
from aigc_jax.evaluation.markup import Markup, element
from aigc_jax.evaluation.results import Metric

VOID = {"img", "link", "meta", "wbr"}
EVIL = "<script>alert('x')</script>&\"quoted\""


class Balance(html.parser.HTMLParser):
    """Fails on an end tag without its start; collects elements and the text outside scripts."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.texts.append(data)

    def of(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self):
        return " ".join("".join(self.texts).split())


def png(width=8, height=4):
    """A grey PNG, written by hand."""
    rows = (b"\0" + b"\x80" * width) * height

    def chunk(kind, data):
        checked = kind + data
        return len(data).to_bytes(4) + checked + zlib.crc32(checked).to_bytes(4)

    header = width.to_bytes(4) + height.to_bytes(4) + b"\x08\0\0\0\0"
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(*part) for part in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    )


FILES = {"samples.png": png(), "text.txt": EVIL.encode(), "chorale.wav": b"RIFFdata"}
METRICS = {
    "frechet_distance": Metric(1.2, 10_000, "classifier features", {"test | train": 0.8}, "lower"),
    "recall": Metric(0.71, 9_000, "k = 5", {"test | train": math.nan}, "higher"),
    "parameters": Metric(1_412_353, 1, "all networks"),
}


def make_run(workdir, metrics=METRICS, refused=None, files=FILES, rows=40, **config):
    (workdir / "evaluation" / "figures").mkdir(parents=True)
    for name, data in files.items():
        (workdir / "evaluation" / "figures" / name).write_bytes(data)
    figures = [
        {"name": f.split(".")[0], "title": f"Title of {f}", "caption": f"Caption of {f}", "file": f}
        for f in files
    ]
    about = {"commit": "0123456789abcdef", "device": "1 x cpu", "versions": {"jax": "0.10.2"}}
    content = about | {"run": workdir.name, "step": 2000, "seed": 0, "digest": "d1", "seconds": 9.0}
    content |= {"date": "2026-01-31T10:00:00", "refused": refused or {}, "figures": figures}
    content["metrics"] = {name: metric._asdict() for name, metric in metrics.items()}
    (workdir / "evaluation" / "metrics.json").write_text(json.dumps(content))
    config = {"steps": 2000, "algorithm": {"name": "gan", "loss": "hinge"}, "note": EVIL} | config
    config |= {"data": {"name": "mnist"}}
    record = about | {"config": config, "digest": "d1"}
    (workdir / "config.json").write_text(json.dumps(record))
    lines = [{"step": i, "split": "train", "time": 0.0, "loss": 1 / (i + 1)} for i in range(rows)]
    if rows:
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (workdir / "metrics.jsonl").write_text(text + '{"step": 9')
    return workdir


def written(tmp_path, *runs):
    page.write(tmp_path / "out" / "report.html", runs)
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    return text, Balance(text)


@pytest.fixture
def workdir(tmp_path):
    return make_run(tmp_path / "gan_mnist", refused={"kid": "features of 40 samples"})


def test_the_page_holds_everything_that_was_found(tmp_path, workdir):
    _, parsed = written(tmp_path, workdir)
    for name, metric in METRICS.items():
        assert name in parsed.text
        assert metric.protocol in parsed.text
    for said in ("1.200", "0.7100", "1,412,353", "10,000", "test | train 0.800", "kid"):
        assert said in parsed.text
    for fact in ("features of 40 samples", "2,000 of 2,000", "0123456789ab", "jax 0.10.2", "d1"):
        assert fact in parsed.text
    for file in FILES:
        assert f"Title of {file}" in parsed.text
        assert f"Caption of {file}" in parsed.text
    assert "algorithm" in parsed.text
    assert "hinge" in parsed.text
    assert parsed.text.count("Loss") == 1  # the chart


def test_figures_are_inside_the_page_byte_for_byte(tmp_path, workdir):
    _, parsed = written(tmp_path, workdir)
    (image,), (audio,) = parsed.of("img"), parsed.of("audio")
    for found, kind, file in (
        (image, "image/png", "samples.png"),
        (audio, "audio/wav", "chorale.wav"),
    ):
        prefix, data = found["src"].split(",")
        assert prefix == f"data:{kind};base64"
        assert base64.b64decode(data) == FILES[file]
    assert image["alt"] == "Caption of samples.png"
    assert (image["width"], image["height"]) == ("8", "4")
    assert image["class"] == "cells"  # few pixels are shown as squares


def test_nothing_is_fetched(tmp_path, workdir):
    text, parsed = written(tmp_path, workdir)
    for tag, attributes in parsed.elements:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            if name in attributes:
                assert attributes[name].startswith(("data:", "#")), (tag, attributes)
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest|https?://", text)
    (policy,) = [m["content"] for m in parsed.of("meta") if "http-equiv" in m]
    assert policy.startswith("default-src 'none'; img-src data:; media-src data:;")


def test_text_of_users_stays_text(tmp_path):
    workdir = make_run(tmp_path / "a<b>&'c'", refused={"<i>": EVIL})
    _, parsed = written(tmp_path, workdir, make_run(tmp_path / "other"))
    assert len(parsed.of("script")) == 1
    assert not parsed.of("i")
    assert parsed.text.count(EVIL) >= 3  # figure, refusal, config
    assert "a<b>&'c'" in parsed.text


def test_markup_escapes_all_but_itself():
    inner = element("b", "<&>", Markup("<br>"), None, title='"<')
    assert inner == '<b title="&quot;&lt;">&lt;&amp;&gt;<br></b>'
    assert element("p", inner, hidden=True, id=None) == f"<p hidden>{inner}</p>"
    assert element("p", "\x00\x1b\n") == "<p>\ufffd\ufffd\n</p>"


def test_pieces_may_be_missing(tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "config.json").write_text(json.dumps({"config": {"steps": 5}, "digest": "d2"}))
    text, parsed = written(tmp_path, bare)
    assert "bare is not evaluated yet" in parsed.text
    assert 'id="metrics"' not in text
    refused = make_run(tmp_path / "refused", {}, {"kid": "too few"}, files={}, rows=0)
    text, parsed = written(tmp_path, refused)
    assert "No metric is reported" in parsed.text
    assert "too few" in parsed.text
    assert not {'id="figures"', 'id="curves"'} & set(re.findall('id="[a-z]*"', text))
    (refused / "config.json").unlink()
    _, parsed = written(tmp_path, refused, bare)
    assert "too few" in parsed.text


def test_links_of_the_page_lead_to_its_parts(tmp_path, workdir):
    _, parsed = written(tmp_path, workdir)
    places = {attributes.get("id") for _, attributes in parsed.elements}
    links = [a["href"][1:] for a in parsed.of("a")]
    assert links == ["metrics", "refused", "figures", "curves", "config"]
    assert set(links) <= places


def test_a_missing_figure_is_named(tmp_path, workdir):
    (workdir / "evaluation" / "figures" / "samples.png").unlink()
    _, parsed = written(tmp_path, workdir)
    assert "The file samples.png is missing" in parsed.text


def test_folders_that_are_no_runs_are_refused(tmp_path, workdir):
    with pytest.raises(ValueError, match="holds neither config.json"):
        page.write(tmp_path / "report.html", [tmp_path])
    with pytest.raises(ValueError, match="0 runs"):
        page.write(tmp_path / "report.html", [])
    with pytest.raises(ValueError, match="named once"):
        page.write(tmp_path / "report.html", [workdir, workdir])
    assert not (tmp_path / "report.html").exists()


def test_the_best_run_and_what_differs_are_marked(tmp_path, workdir):
    better = METRICS | {"frechet_distance": METRICS["frechet_distance"]._replace(value=1.1)}
    other = make_run(tmp_path / "other", better, steps=3000)
    text, parsed = written(tmp_path, workdir, other)
    best = re.findall(r'<td class="number best"[^>]*>(.*?)</td>', text)
    assert best == ["1.100"]
    differing = re.findall(r'<tr class="differs"><th[^>]*><code>(.*?)</code>', text)
    assert differing == ["steps", "steps"]  # in what differs, and among all keys
    assert parsed.text.index("gan_mnist") < parsed.text.index("other")
    assert len(parsed.of("img")) == 2


def test_other_protocols_are_shown_and_not_judged(tmp_path, workdir):
    metric = METRICS["recall"]._replace(value=0.9, protocol="k = 3")
    other = make_run(tmp_path / "other", {"recall": metric})
    text, parsed = written(tmp_path, workdir, other)
    assert "other: k = 3" in parsed.text
    assert 'class="number best"' not in text


def test_a_caption_of_all_runs_stands_once_and_others_each(tmp_path, workdir):
    other = make_run(tmp_path / "other")
    path = other / "evaluation" / "metrics.json"
    path.write_text(path.read_text().replace("Caption of text", "Another caption of text"))
    _, parsed = written(tmp_path, workdir, other)
    assert parsed.text.count("Caption of samples.png") == 1
    assert parsed.text.count("Caption of text.txt") == 1
    assert parsed.text.count("Another caption of text.txt") == 1


def test_runs_of_one_name_are_told_apart_by_their_folders(tmp_path):
    one, two = make_run(tmp_path / "x" / "gan"), make_run(tmp_path / "y" / "gan")
    _, parsed = written(tmp_path, one, two)
    assert str(one) in parsed.text
    assert str(two) in parsed.text


def test_equal_input_gives_equal_pages_and_leaves_no_other_file(tmp_path, workdir):
    first, _ = written(tmp_path, workdir)
    again, _ = written(tmp_path, workdir)
    assert first == again
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["report.html"]


def test_sizes_of_pngs_are_read_from_their_header():
    assert exhibits.png_size(png(13, 7)) == (13, 7)


def test_jax_is_not_needed():
    code = "import sys, aigc_jax.evaluation.page, aigc_jax.evaluation.tables; "
    code += "print({'jax', 'PIL', 'flax'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
