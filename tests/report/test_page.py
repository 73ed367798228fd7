"""The page says what the report holds, needs nothing else, and fits a phone."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from importlib.resources import files
from xml.etree import ElementTree

import pytest
from tests.report.report_example import DEPTH, EXAMPLE, SPLIT, TOKENS

from infoprune.errors import UnusableData
from infoprune.report import svg
from infoprune.report.compare import comparison, rows_of
from infoprune.report.model import Interval, Report, Score
from infoprune.report.page import page, sentence, write
from infoprune.report.sensitivity import Moved
from infoprune.report.sensitivity import page as sensitivity
from infoprune.report.svg import Scale, number, pareto

BARE = Report("bare", "resnet18", "no data", EXAMPLE.before, replace(EXAMPLE.after, accuracy=None, latency_ms=None))
HOSTILE = replace(
    EXAMPLE, name="<script>alert(1)</script>", load="</pre><img src=x onerror=alert(1)>", certificate="a & b < c",
    sites=(replace(EXAMPLE.sites[0], name='"><svg onload=alert(1)>'), *EXAMPLE.sites[1:]),
)  # fmt: skip
RUNS = [
    EXAMPLE,
    replace(EXAMPLE, name="poor", after=replace(EXAMPLE.after, accuracy=Interval(0.9, 0.88, 0.92))),
    replace(EXAMPLE, name="small", after=replace(EXAMPLE.after, macs=10**7, accuracy=Interval(0.91, 0.89, 0.93))),
]


class Balanced(HTMLParser):
    """Fails at the first tag that closes another one; keeps what is inside svg for an XML parser."""

    VOID = ("meta", "img", "br")

    def __init__(self):
        super().__init__()
        self.open, self.sources = [], []

    def handle_starttag(self, tag, attrs):
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        pass


KINDS = {"run": EXAMPLE, "depth": DEPTH, "tokens": TOKENS, "split": SPLIT}


@pytest.mark.parametrize("text", [*map(page, KINDS.values()), page(BARE), page(HOSTILE), comparison(RUNS)])
def test_pages_are_balanced_and_need_nothing_else(text):
    parser = Balanced()
    parser.feed(text)
    assert parser.open == []
    assert parser.sources == []
    assert "<script" not in text
    assert "http" not in text
    for drawn in text.split("<svg")[1:]:
        ElementTree.fromstring("<svg" + drawn.split("</svg>")[0] + "</svg>")


def test_names_from_outside_are_text():
    text = page(HOSTILE)
    assert escape(HOSTILE.name) in text
    assert "<img" not in text
    assert "<svg onload" not in text


def test_what_was_measured_is_on_the_page():
    text = page(EXAMPLE)
    for told in ("50.0%", "1.61×", "1.52 to 1.69", "97.50%", "-0.60 points", "layer3.2", "99.79%", "6.71e-08"):
        assert told in text, told


def test_blocks_and_tokens_and_features_are_told():
    assert "18 of 27 blocks stay" in page(DEPTH)
    assert page(DEPTH).count('class="gone"') == 9
    assert "blocks.3: 196 before, 138 after" in page(TOKENS)
    assert "32 of the 64 features of backbone.neck travel" in page(SPLIT)


def test_scores_come_with_units_and_say_which_way_is_better():
    text = page(SPLIT)
    for told in (
        "mIoU, was 0.703",
        "(lower is better)",
        "+1.8 PSNR, dB",
        "3.87k",
        "Better than random in segmentation, disparity and",
    ):
        assert told in text, told


def test_every_kind_survives_json():
    assert all(Report.from_json(report.to_json()) == report for report in KINDS.values())


def test_no_difference_is_called_none():
    same = replace(EXAMPLE, latency_ratio=Interval(1.02, 0.97, 1.08))
    assert "no difference shown" in page(same)
    assert "There is no evidence of a gain over l2." in sentence(EXAMPLE)
    assert "Better than random." in sentence(EXAMPLE)


def test_both_files_are_written(tmp_path):
    path = write(EXAMPLE, tmp_path / "run")
    assert path.read_text() == page(EXAMPLE)
    assert Report.of_run(tmp_path / "run") == EXAMPLE


def test_a_run_is_beaten_only_beyond_both_intervals():
    beaten = {row["run"]: row["beaten by"] for row in rows_of(RUNS)}
    assert beaten == {"quickstart": None, "poor": "quickstart", "small": None}


def test_nothing_to_compare_is_told():
    with pytest.raises(UnusableData, match="finished runs"):
        comparison([])


def test_the_front_is_what_no_point_beats():
    assert pareto([(3, 1), (1, 2), (2, 2), (4, 5), (4, 3)]) == [(1, 2), (4, 5)]


def test_ticks_are_round_and_inside():
    ticks = Scale(0.13, 9.7, 0, 100).ticks()
    assert ticks == [2, 4, 6, 8]
    assert [number(v) for v in (0.25, 1500, 40_813_184, 2e9)] == ["0.25", "1.5k", "40.81M", "2G"]


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
PROBE = """<!doctype html><html><body><iframe style="width:{width}px;height:900px;border:0" srcdoc="{page}"></iframe>
<pre id=found></pre><script>onload = () => {{
  const inner = document.querySelector("iframe").contentDocument, wide = inner.documentElement.clientWidth;
  inner.querySelectorAll("details").forEach(d => d.open = true);
  const over = [...inner.querySelectorAll("body *")].filter(e => !e.closest(".scroll, pre, svg")
    && e.getBoundingClientRect().right > wide + 1).map(e => e.tagName + ": " + e.textContent.slice(0, 40));
  const cut = [...inner.querySelectorAll("svg")].flatMap(s => [...s.querySelectorAll("text")].filter(t => {{
    const a = t.getBoundingClientRect(), b = s.getBoundingClientRect();
    return a.left < b.left - 1 || a.right > b.right + 1 || a.bottom > b.bottom + 1; }}).map(t => t.textContent));
  document.getElementById("found").textContent = JSON.stringify(
    {{wide: inner.documentElement.scrollWidth, room: wide, over: over, cut: cut}}); }}</script></body></html>"""


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
@pytest.mark.parametrize("width", [340, pytest.param(1100, marks=pytest.mark.slow)])
@pytest.mark.parametrize("text", [*map(page, KINDS.values()), comparison(RUNS)], ids=[*KINDS, "comparison"])
def test_nothing_runs_over_in_a_browser(tmp_path, text, width):
    probe = tmp_path / "probe.html"
    probe.write_text(PROBE.format(width=width, page=escape(text, quote=True)))
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'user'}", "--window-size=1300,1000", "--dump-dom"]
    shown = subprocess.run([*command, f"file://{probe}"], capture_output=True, text=True, timeout=60).stdout
    found = json.loads(shown.split('<pre id="found">')[1].split("</pre>")[0].replace("&gt;", ">"))
    assert found == {"wide": found["room"], "room": found["room"], "over": [], "cut": []}


# --------------------------------------------------------------------------------------------------- axes and words


def boxes(picture):
    """(left, right) of every number at the left, and the right edge of the axis' turned name."""
    numbers = re.findall(r'<text x="([\d.]+)" y="[\d.]+" text-anchor="end">([^<]+)</text>', picture)
    return [float(x) - svg.LETTER * len(told) for x, told in numbers]


@pytest.mark.parametrize(("low", "high"), [(0.9933, 0.9950), (-0.000251, -0.00025), (1.2e9, 1.3e9)])
def test_numbers_of_an_axis_are_clear_of_its_name(low, high):
    shown = svg.percent if 0 < low < 1 else svg.number
    picture = svg.curve([(0.0, low), (1.0, high)], [], title="t", x_name="images", y_name="accuracy", shown=shown)
    assert min(boxes(picture)) > 12 + 7  # the name is turned around x = 12, and a letter is 11 high


def test_one_picture_does_not_fill_an_axis():
    """597 pictures: one of them is 0.17 points, the interval of their share 1.4."""
    right, points = Interval.of_share(594, 597), [(0.0, 593 / 597), (1.0, 594 / 597)]
    picture = svg.curve(points, [], title="t", x_name="images", y_name="accuracy", within=right)
    heights = [float(p.split(",")[1]) for p in re.search(r'class="curve" points="([^"]+)"', picture)[1].split()]
    assert max(heights) - min(heights) < 0.15 * svg.HEIGHT


def test_figures_on_paper_have_the_page_s_colours():
    style = files("infoprune.report").joinpath("style.css").read_text()
    light = style.partition("@media")[0]
    assert f"--before: {svg.BEFORE};" in light
    assert f"--after: {svg.AFTER};" in light


def test_layers_that_move_the_output_are_told_apart_by_name():
    moved = [Moved(f"stages.{i}.blocks.0.depthwise.convolution", 64, ((0.5, 0.1 + i),)) for i in range(3)]
    picture = sensitivity("curves", "KL divergence", moved).partition("<h2>")[0]
    named = re.findall(r'<text x="[\d.]+" y="[\d.]+" text-anchor="start">([^<]+)</text>', picture)
    assert named == [f"stages.{i}.bloc…e.convolution" for i in (2, 1, 0)]
    assert [picture.count(f"<title>stages.{i}.blocks.0.depthwise.convolution: 50, ") for i in range(3)] == [1, 1, 1]


def test_ours_stands_among_the_simpler_choices():
    told = page(replace(EXAMPLE, ours=(Score("accuracy", "", "higher", Interval(0.9755, 0.954, 0.987)),)))
    table = told[told.index("Against simpler choices") :]
    assert table.index("<td>ours</td><td>97.55%</td><td>95.4% to 98.7%</td>") < table.index("<td>random</td>")


def test_one_epoch_is_an_epoch():
    from infoprune.recipe.sections import epochs

    assert [epochs(n) for n in (0.5, 1, 1.0, 3)] == ["0.5 epochs", "1 epoch", "1 epoch", "3 epochs"]
