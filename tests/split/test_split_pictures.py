"""The pictures of a split say what the points and the map hold."""

import pytest

import infoprune as ip
from infoprune.report import split as pictures
from infoprune.split import Point

METRICS = {"depth": ip.split.RMSE(), "classes": ip.split.MeanIoU(3)}
CURVES = {
    way: [Point(share, 1000 * share * cost, {"depth": 2 - share, "classes": share / cost}) for share in (1.0, 0.5)]
    for way, cost in (("information", 1.0), ("l1", 2.0))
}


def test_scores_are_drawn_against_features_a_panel_a_task_and_a_line_a_ranking():
    panels = pictures.accuracy_against_share(CURVES, METRICS).axes
    assert [axes.get_title() for axes in panels] == ["depth", "classes"]
    for axes, task in zip(panels, METRICS, strict=True):
        for line, points in zip(axes.lines, CURVES.values(), strict=True):
            assert line.get_xydata().tolist() == [[100 * p.share, p.scores[task]] for p in points]
        assert METRICS[task].better in axes.get_ylabel()
    assert [text.get_text() for text in panels[0].get_legend().get_texts()] == list(CURVES)


def test_hard_selections_are_crosses_beside_the_lines_of_bytes():
    hard = {"l1": Point(0.5, 700.0, {"depth": 1.0, "classes": 0.3})}
    first, second = pictures.accuracy_against_bytes(CURVES, METRICS, hard).axes
    *lines, cross = second.lines
    assert [line.get_xydata().tolist() for line in lines] == [
        [[p.bytes_per_image / 1000, p.scores["classes"]] for p in points] for points in CURVES.values()
    ]
    assert cross.get_marker() == "x"
    assert cross.get_xydata().tolist() == [[0.7, 0.3]]
    assert cross.get_color() == lines[1].get_color()
    assert len(first.lines) == 3


def test_the_triangle_is_coloured_by_who_wins():
    ours, theirs = {"a": 0.1, "b": 0.2, "c": 0.3}, {"a": 0.2, "b": 0.1, "c": 0.3}
    found = ip.split.winner_map(ours, theirs, steps=10)
    (axes,) = pictures.winners({"QP 20": found}, ("ours", "theirs")).axes
    assert axes.get_title() == f"QP 20: ours wins {found.share:.1%}"
    (grid,) = axes.collections
    colours = {
        tuple(colour) for colour, margin in zip(grid.get_facecolors(), found.margin.tolist(), strict=True) if margin > 0
    }
    assert len(colours) == 1
    assert len(grid.get_offsets()) == len(found.weights)
    corners = {text.get_text(): text.xy for text in axes.texts}
    assert corners["a"][1] == pytest.approx(0.75**0.5)
    assert (corners["b"], corners["c"]) == ((0.0, 0.0), (1.0, 0.0))
