"""The page of a sensitivity measurement: how far the output moves as one layer keeps a share of its units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from infoprune.report import svg
from infoprune.report.html import document, table

SHOWN = 8  # layers with lines of their own: more can't be told apart


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
    shares = sorted({share for one in moved for share, _ in one.points})
    x = svg.spanning([*shares, 1.0], svg.LEFT, svg.WIDTH - svg.RIGHT)
    y = svg.spanning([one.worst for one in moved], svg.HEIGHT - svg.BOTTOM, svg.TOP, zero=True)
    lines = [svg.line([(x(a), y(d)) for a, d in (*one.points, (1.0, 0.0))], "curve") for one in most[:SHOWN]]
    dots = [
        svg.dot(x(a), y(d), "after", f"{one.site}: {d:.4g} at {a:.0%} of {one.units}", 3)
        for one in most[:SHOWN]
        for a, d in one.points
    ]
    axes = svg.axes(x, y, x_name="share of the layer's units that stays", y_name=measure, x_text=svg.percent)
    told = f"the {min(SHOWN, len(most))} layers that move the output most"
    picture = svg.chart(axes + "".join(lines + dots), title=told, described=f"{told}: {most[0].site} first")
    head = ["layer", "units", *(f"{measure} at about {level}" for level in levels_of(moved))]
    rows = [[escape(o.site), str(o.units), *(f"{d:.4g}" for _, d in o.points)] for o in most]
    return document(title, f"<h1>{escape(title)}</h1>{picture}<h2>Every layer</h2>{table(head, rows)}")


def levels_of(moved: Sequence[Moved]) -> list[str]:
    """The shares of the largest layer, which are nearest to those that were asked for."""
    largest = max(moved, key=lambda one: one.units)
    return [f"{share:.0%}" for share, _ in largest.points]
