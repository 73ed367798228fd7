"""The page of a family: a curve and a table of what each size costs and reaches."""

import re

import pytest
import torch
import torch_pruning as tp
from tests.small_nets import Residual, image, make

import infoprune as ip
from infoprune.report import family as page
from infoprune.report.model import Interval


@pytest.fixture(scope="module")
def made():
    dense, generator = make(Residual), torch.Generator().manual_seed(1)
    loader = [torch.randn(16, *image().shape[1:], generator=generator) for _ in range(2)]
    l2 = tp.importance.MagnitudeImportance(p=2)
    return dense, ip.family(dense, image(), None, keeps=[0.7, 0.4], importance=l2, loader=loader, progress=False)


def cells(html):
    rows = [re.findall(r"<t[hd]>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL)]
    return [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]


def test_each_size_has_a_row_and_a_point(made):
    dense, family = made
    reached = {id(dense): 0.9, id(family[0.7].model): 0.8, id(family[0.4].model): 0.6}
    curve = page.curve_of(
        family,
        dense,
        image(),
        accuracy=lambda model: Interval.of_share(int(100 * reached[id(model)]), 100),
        latency=False,
    )
    html = page.page(curve)
    rows = cells(html)
    assert [(row["member"], row["accuracy"]) for row in rows] == [
        ("dense", "90.00%"),
        ("0.7", "80.00%"),
        ("0.4", "60.00%"),
    ]
    assert rows[0]["MACs kept"] == "100.0%"
    assert "latency kept" not in rows[0]
    assert html.count("<circle") == 3
    assert "Accuracy against MACs" in html


def test_without_labels_the_error_of_the_outputs_is_drawn(made):
    dense, family = made
    curve = page.curve_of(family, dense, image(), latency=False)
    html = page.page(curve)
    assert "Error of the outputs against MACs" in html
    told = [row["outputs off by"] for row in cells(html)]
    expected = [min(member.compensations[-1].outputs.values()) for member in family]
    assert told == ["0", *(f"{value:.3g}" for value in expected)]


def test_latencies_are_shares_of_the_dense_networks(made):
    dense, family = made
    curve = page.curve_of(family, dense, image())
    assert curve.sizes[0].latency == Interval(1.0, 1.0, 1.0)
    for size in curve.sizes[1:]:
        assert size.latency.low <= size.latency.value <= size.latency.high
    assert "latency kept" in cells(page.page(curve))[0]


def test_it_is_written_as_one_file_and_names_are_escaped(made, tmp_path):
    dense, family = made
    curve = page.curve_of(family, dense, image(), latency=False, title="<b>a & b")
    path = page.write(curve, tmp_path / "new")
    assert path == tmp_path / "new" / "report.html"
    assert "<b>a" not in path.read_text()
    assert "http" not in path.read_text().replace("http://www.w3.org", "")
