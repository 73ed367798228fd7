import sys

import numpy as np
import pytest
import torch
from torch import nn

import infoprune as ip
from infoprune.errors import MissingExtra
from infoprune.report import plots


@pytest.fixture(scope="module")
def planned():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 24, 3), nn.ReLU(), nn.Conv2d(24, 10, 3), nn.ReLU(),
        nn.Conv2d(10, 4, 1),
    )  # fmt: skip
    x = torch.randn(1, 3, 12, 12)
    budgets = [ip.budgets.macs(keep=0.5)]
    return ip.Graph.trace(model, x), ip.plan(model, x, ip.importance.IndependenceImportance(), budgets=budgets)


def heights(axes):
    return [[bar.get_height() for bar in container] for container in axes.containers]


def names(axes):
    return [label.get_text() for label in axes.get_xticklabels()]


def test_channels_are_drawn_dense_and_planned(planned, tmp_path):
    graph, plan = planned
    figure = plots.channels(graph, plan)
    dense, kept = heights(figure.axes[0])
    assert dense == [16, 24, 10]
    assert kept == [{edit.site.name: edit.keeps for edit in plan.edits}[site.name] for site in graph.sites]
    assert names(figure.axes[0]) == ["0", "2", "4"]
    figure.savefig(tmp_path / "channels.png")
    assert (tmp_path / "channels.png").stat().st_size > 1000


def test_importance_is_drawn_as_shares_with_its_errors():
    figure = plots.layer_importance({"a": 1.0, "b": 3.0}, {"a": 0.4, "b": float("nan")})
    bars = [c for c in figure.axes[0].containers if len(c) == 2 and hasattr(c[0], "get_height")]
    assert [bar.get_height() for bar in bars[0]] == [0.25, 0.75]
    [whisker] = figure.axes[0].collections
    assert whisker.get_segments()[0][:, 1] == pytest.approx([0.15, 0.35])


def test_losses_are_drawn_from_no_unit_to_all_of_them(tmp_path):
    figure = plots.losses({"first": [1.0, 0.25, 0.0], "last": [0.5, 0.0]})
    first, last = figure.axes[0].lines
    assert first.get_xdata().tolist() == [0, 0.5, 1]
    assert list(last.get_ydata()) == [0.5, 0.0]
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["first", "last"]
    figure.savefig(tmp_path / "losses.png")


def test_compute_shares_add_up_to_one(planned):
    graph, plan = planned
    for drawn in heights(plots.compute_shares(graph, plan).axes[0]):
        assert sum(drawn) == pytest.approx(1)


def test_a_site_s_share_is_what_its_width_moves(planned):
    graph, _ = planned
    counts = np.array([16, 24, 10])
    cost, step = graph.cost("macs"), 1e-6
    moved = [cost(counts * (1 + step * (np.arange(3) == g))) - cost(counts) for g in range(3)]
    np.testing.assert_allclose(plots.shares_of(graph, counts), np.array(moved) / np.sum(moved), rtol=1e-4)


def test_many_sites_are_named_as_far_as_they_fit():
    figure = plots.layer_importance({f"layer{i}": 1.0 for i in range(100)})
    assert len(names(figure.axes[0])) <= plots.LABELS
    assert figure.get_size_inches()[0] <= 14


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtra, match=r"infoprune\[report\]"):
        plots.layer_importance({"a": 1.0})
