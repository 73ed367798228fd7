"""Pictures of a plan: widths, the importance behind them, and where the compute goes.

Each function draws one figure and returns it; save it with `figure.savefig`. Nothing global is changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from infoprune.deprecated import renamed_keyword
from infoprune.graph import Graph
from infoprune.report.figures import empty, open_axes
from infoprune.report.svg import AFTER, BEFORE, shortened
from infoprune.surgery.plan import Plan

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABELS = 40  # more site names than this do not fit beside each other
LINES = 16  # a plot of lines is as wide as bars of so many sites
LETTERS = 22  # nor longer ones below the bars


def channels(graph: Graph, plan: Plan) -> Figure:
    """Units per site, dense against planned (fig. 2 of the pruning paper)."""
    names, dense, kept = _counts(graph, plan)
    figure, axes = _wide(len(names))
    _before_and_after(axes, dense, kept)
    _name_sites(axes, names)
    axes.set_ylabel("channels")
    axes.set_title(f"{kept.sum():,} of {dense.sum():,} channels stay", loc="left", fontsize="medium")
    return figure


def layer_importance(weights: Mapping[str, float], errors: Mapping[str, float] | None = None) -> Figure:
    """Each site's share of the total weight, with one standard error where there is one."""
    names, values = list(weights), np.array(list(weights.values()), dtype=float)
    total = values.sum()
    figure, axes = _wide(len(names))
    positions = np.arange(len(names))
    axes.bar(positions, values / total, color=AFTER, width=0.7)
    if errors is not None:
        spread = np.array([errors[name] for name in names]) / total
        known = np.isfinite(spread)
        below = np.minimum(spread, values / total)[known]
        heights, whiskers = values[known] / total, (below, spread[known])
        axes.errorbar(positions[known], heights, whiskers, fmt="none", ecolor="black", elinewidth=1, capsize=2)
    axes.axhline(1 / len(names), color="black", linewidth=0.8, linestyle=":", label="all sites alike")
    axes.set_ylim(0, 1.18 * axes.get_ylim()[1])
    axes.legend(frameon=False, loc="upper right")
    _name_sites(axes, names)
    _percent(axes)
    axes.set_ylabel("share of the weight")
    return figure


def losses(curves: Mapping[str, Sequence[float]]) -> Figure:
    """What readers lose against the share of units that stay, a line a site: see `ConditionalImportance.losses`."""
    figure, axes = _wide(LINES)
    for place, (name, lost) in enumerate(curves.items()):
        shade = 0.25 + 0.65 * place / max(1, len(curves) - 1)
        ends = name if place in (0, len(curves) - 1) else None
        axes.plot(np.linspace(0, 1, len(lost)), lost, color=AFTER, alpha=shade, linewidth=1, label=ends)
    axes.set_yscale("log")
    axes.set_xlim(0, 1)
    axes.legend(frameon=False, loc="lower left")
    axes.set_xlabel("share of the units that stay")
    axes.set_ylabel("share of the readers' output variance lost")
    return figure


@renamed_keyword("unit", "resource")
def compute_shares(graph: Graph, plan: Plan, resource: str = "macs") -> Figure:
    """Each site's share of the compute before and after.

    A site's share is its elasticity k_g dT/dk_g over the sum of all: the products of two widths count for
    both. At the optimum for p = 0 these shares equal the shares of the weights.
    """
    names, dense, kept = _counts(graph, plan)
    figure, axes = _wide(len(names))
    _before_and_after(axes, shares_of(graph, dense, resource), shares_of(graph, kept, resource))
    _name_sites(axes, names)
    _percent(axes)
    axes.set_ylabel(f"share of the {'MACs' if resource == 'macs' else resource}")
    return figure


def shares_of(graph: Graph, counts: np.ndarray, resource: str = "macs") -> np.ndarray:
    """k_g dT/dk_g of every site, divided by their sum."""
    elastic = counts * graph.cost(resource).gradient(counts)  # type: ignore[arg-type]
    return elastic / elastic.sum()


# --- inside ---


def _counts(graph: Graph, plan: Plan) -> tuple[list[str], np.ndarray, np.ndarray]:
    keeps = {edit.site.name: edit.keeps for edit in plan.edits}
    names = [site.name for site in graph.sites]
    dense = np.array([site.size for site in graph.sites])
    return names, dense, np.array([keeps.get(site.name, site.size) for site in graph.sites])


def _wide(sites: int) -> tuple[Figure, Axes]:
    """A figure as wide as its sites need."""
    figure = empty(min(14.0, max(5.0, 2.0 + 0.26 * sites)), 3.8)
    axes = open_axes(figure.add_subplot())
    axes.set_xlim(-0.7, sites - 0.3)
    axes.margins(x=0)
    return figure, axes


def _before_and_after(axes: Axes, before: np.ndarray, after: np.ndarray) -> None:
    positions = np.arange(len(before))
    axes.bar(positions, before, color=BEFORE, width=0.86, label="dense")
    axes.bar(positions, after, color=AFTER, width=0.5, label="planned")
    axes.legend(frameon=False, loc="upper left", ncols=2)
    axes.set_ylim(0, 1.18 * max(before.max(), after.max()))


def _name_sites(axes: Axes, names: Sequence[str]) -> None:
    """Every name where there is room, else every n-th; long ones shortened."""
    step = -(-len(names) // LABELS)
    shown = [shortened(name, LETTERS) for name in names[::step]]
    upright = 0 if max(map(len, shown)) <= 3 else 90
    axes.set_xticks(range(0, len(names), step), shown, rotation=upright, fontsize="x-small")
    axes.set_xlabel("site")
    axes.tick_params(axis="x", length=0)


def _percent(axes: Axes) -> None:
    from matplotlib.ticker import PercentFormatter

    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
