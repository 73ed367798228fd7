"""Every layer matters alike."""

from __future__ import annotations

from collections.abc import Callable

from infoprune.graph import Graph
from infoprune.registry import Registry

layerwise = Registry("layerwise")


@layerwise.register("uniform")
def uniform() -> Callable[[Graph], dict[str, float]]:
    """A site weighs as many as there are layers that give out its channels (at least 1).

    A residual stream that six convolutions write to weighs 6: where it narrows, all six lose.
    """
    return lambda graph: {
        site.name: float(max(1, sum(m.role == "out" for m in graph.members(site.name)))) for site in graph.sites
    }
