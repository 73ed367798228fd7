"""Pictures of depth: what each block knows and which of them stay, and what a depth leaves the channels.

Each function draws one figure and returns it; save it with `figure.savefig`. Nothing global is changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch

from infoprune.deprecated import renamed_keyword
from infoprune.depth import DepthAndWidth, Energy
from infoprune.estimators.kmeans import kmeans_1d
from infoprune.report.figures import empty, open_axes
from infoprune.report.svg import AFTER, COLOURS, coloured
from infoprune.surgery.plan import Plan

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def energies(seen: Mapping[str, Energy], plan: Plan, clusters: int) -> Figure:
    """The energies of all units in the order in which they run, and their clusters on the line; what stays is filled.

    `plan` is what `plan_depth(model, x, seen, clusters=clusters)` gave; bars are 95 % intervals where `seen`
    holds standard errors.
    """
    pairs = np.array([value if isinstance(value, tuple) else (value, 0.0) for value in seen.values()])
    values, errors = pairs.T
    labels = kmeans_1d(torch.from_numpy(values.copy()), clusters)[0].numpy()
    stays = np.array([unit in plan.made_by["stay"] for unit in seen])
    figure = empty(11, 4.2)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[3, 1])
    place = np.arange(len(values))
    left.errorbar(place, values, 1.96 * errors, fmt="none", ecolor="0.6", capsize=2, zorder=1)
    _points(left, place, values, labels, stays)
    left.set_xlabel("skip unit, in the order in which they run (filled: stays; bars: 95 %)")
    left.set_ylabel("energy dependence on the label")
    margin = 0.005 * np.ptp(values)
    for k in range(clusters):
        own = values[labels == k]
        right.axhspan(own.min() - margin, own.max() + margin, color=coloured(k), alpha=0.2)
    _points(right, np.zeros(len(values)), values, labels, stays)
    right.set_xticks([])
    right.set_xlabel(f"{clusters} clusters on the line")
    return figure


@renamed_keyword("found", "choice")
def trade_off(choice: DepthAndWidth) -> Figure:
    """What each number of blocks is worth, and how many channels the budgets leave it; the chosen one is ringed.

    Depths that no width brings within the budgets are crosses on the axis.
    """
    figure = empty(9, 3.6)
    left, right = figure.subplots(1, 2)
    units = [depth.units for depth in choice.depths]
    _path(left, choice, units, [depth.worth for depth in choice.depths])
    left.set_ylabel("worth: " + ("utility of the widths" if choice.measure == "utility" else "what the probe measured"))
    _path(right, choice, units, [100 * depth.width for depth in choice.depths])
    right.set_ylabel("channels that stay in them, %")
    for axes in (left, right):
        axes.set_xlabel("skip units that stay")
        axes.invert_xaxis()
        open_axes(axes)
    return figure


# --- inside ---


def _points(axes: Axes, x: np.ndarray, y: np.ndarray, labels: np.ndarray, stays: np.ndarray) -> None:
    colours = np.array([coloured(k) for k in labels])
    axes.scatter(x[~stays], y[~stays], s=40, facecolors="white", edgecolors=colours[~stays].tolist(), zorder=2)
    axes.scatter(x[stays], y[stays], s=60, c=colours[stays], zorder=2)


def _path(axes: Axes, choice: DepthAndWidth, units: list[int], values: list[float]) -> None:
    axes.plot(units, values, marker="o", color=COLOURS[5], zorder=1)
    chosen = next(i for i, depth in enumerate(choice.depths) if depth.plan is choice.plan)
    axes.scatter(
        units[chosen],
        values[chosen],
        s=150,
        facecolors="none",
        edgecolors=AFTER,
        linewidths=2,
        zorder=3,
        label="chosen",
    )
    axes.legend(frameon=False)
    axes.margins(x=0.08, y=0.15)
    for count in choice.unreachable:
        axes.plot(count, 0, marker="x", color="black", transform=axes.get_xaxis_transform(), clip_on=False)
