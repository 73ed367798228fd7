"""Pictures of split inference: scores against features and bytes, and who wins for which task weights.

Each function draws one figure and returns it; save it with `figure.savefig`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from infoprune.report.figures import empty, open_axes
from infoprune.report.svg import AFTER, BEFORE, coloured
from infoprune.split import Metric, Point, WinnerMap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def accuracy_against_share(curves: Mapping[str, Sequence[Point]], metrics: Mapping[str, Metric]) -> Figure:
    """Each task's score against the share of features sent, a line a ranking (fig. 5)."""
    figure, panels = _panels(metrics)
    for task, axes in panels.items():
        for place, (name, points) in enumerate(curves.items()):
            shares, scores = [100 * p.share for p in points], [p.scores[task] for p in points]
            axes.plot(shares, scores, marker="o", markersize=4, color=coloured(place), label=name)
        axes.set_xlabel("features sent, %")
        axes.invert_xaxis()
    _legend(panels)
    return figure


def accuracy_against_bytes(
    curves: Mapping[str, Sequence[Point]], metrics: Mapping[str, Metric], hard: Mapping[str, Point] | None = None
) -> Figure:
    """Each task's score against the mean bytes of an image, a line a ranking; hard selections are crosses (fig. 7)."""
    figure, panels = _panels(metrics)
    for task, axes in panels.items():
        for place, (name, points) in enumerate(curves.items()):
            kilobytes, scores = [p.bytes_per_image / 1000 for p in points], [p.scores[task] for p in points]
            axes.plot(kilobytes, scores, marker="o", markersize=4, color=coloured(place), label=name)
            if hard and name in hard:
                axes.plot(hard[name].bytes_per_image / 1000, hard[name].scores[task], "x", color=coloured(place))
        axes.set_xlabel("kB an image")
    _legend(panels)
    return figure


def winners(maps: Mapping[str, WinnerMap], names: tuple[str, str]) -> Figure:
    """The triangle of task weights, coloured by who has the lower total distortion, a panel a map (fig. 8)."""
    figure = empty(3.6 * len(maps), 3.6)
    for number, (title, contest) in enumerate(maps.items()):
        axes = figure.add_subplot(1, len(maps), number + 1)
        _triangle(axes, contest)
        axes.set_title(f"{title}: {names[0]} wins {contest.share:.1%}", fontsize="medium")
    return figure


def _triangle(axes: Axes, contest: WinnerMap) -> None:
    corners = ((0.5, math.sqrt(0.75)), (0.0, 0.0), (1.0, 0.0))
    x = sum(contest.weights[:, i] * corners[i][0] for i in range(3))
    y = sum(contest.weights[:, i] * corners[i][1] for i in range(3))
    colours = [AFTER if margin > 0 else BEFORE for margin in contest.margin.tolist()]
    axes.scatter(x, y, c=colours, s=6, linewidths=0)
    for i, ((left, up), task) in enumerate(zip(corners, contest.tasks, strict=True)):
        axes.annotate(task, (left, up), (0, 6 if i == 0 else -12), textcoords="offset points", ha="center", fontsize=8)
    axes.set_aspect("equal")
    axes.set_axis_off()


def _panels(metrics: Mapping[str, Metric]) -> tuple[Figure, dict[str, Axes]]:
    figure = empty(3.7 * len(metrics), 3.6)
    panels = {}
    for number, (task, metric) in enumerate(metrics.items()):
        axes = open_axes(figure.add_subplot(1, len(metrics), number + 1))
        axes.set_title(task, fontsize="medium")
        axes.set_ylabel(f"{metric.unit} ({metric.better} is better)")
        panels[task] = axes
    return figure, panels


def _legend(panels: Mapping[str, Axes]) -> None:
    next(iter(panels.values())).legend(frameon=False, fontsize="small")
