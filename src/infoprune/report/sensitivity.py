"""The page of a sensitivity measurement: how far the output moves as one layer keeps a share of its units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from infoprune.report import svg
from infoprune.report.html import document, table

SHOWN = len(svg.COLOURS)  # layers with lines of their own: more can't be told apart


@dataclass(frozen=True)
class Moved:
    """One site: how many units it has, and (share kept, divergence) at each level."""

    site: str
    units: int
    points: tuple[tuple[float, float], ...]

    @property
    def worst(self) -> float:
        """At the smallest share."""
        return max(divergence for _, divergence in self.points)


def page(title: str, measure: str, moved: Sequence[Moved]) -> str:
    """The most sensitive layers as lines, all of them as a table."""
    most = sorted(moved, key=lambda one: -one.worst)
    curves = {one.site: [*((100 * share, d) for share, d in one.points), (100.0, 0.0)] for one in most[:SHOWN]}
    caption = f"the {len(curves)} layers that move the output most"
    picture = svg.lines(curves, title=caption, x_name="units of the layer that stay, %", y_name=measure)
    head = ["layer", "units", *(f"{measure} at about {level}" for level in levels_of(moved))]
    rows = [[escape(o.site), str(o.units), *(f"{d:.4g}" for _, d in o.points)] for o in most]
    return document(title, f"<h1>{escape(title)}</h1>{picture}<h2>Every layer</h2>{table(head, rows)}")


def levels_of(moved: Sequence[Moved]) -> list[str]:
    """The shares of the largest layer, which are nearest to those that were asked for."""
    largest = max(moved, key=lambda one: one.units)
    return [f"{share:.0%}" for share, _ in largest.points]
