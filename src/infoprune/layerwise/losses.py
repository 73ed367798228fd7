"""Weights from what readers lose with units whose part the others take over: curves that cost no forward pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from infoprune.graph import Graph
from infoprune.layerwise.curves import LEVELS, check_trust, counted, fitted, weighed
from infoprune.layerwise.uniform import layerwise


@runtime_checkable
class Losing(Protocol):
    """An importance that knows what the readers of a site lose at every width, such as ConditionalImportance."""

    def losses_of(self, graph: Graph) -> Mapping[str, np.ndarray]:
        """site -> what its readers lose when k units stay, for k from none to all."""
        ...


@layerwise.register("losses")
def losses(importance: Losing, *, utility: float = -1.0, trust: float = 0.5) -> Callable[[Graph], dict[str, float]]:
    """Weights from what a site's readers lose, D_g(a) = c_g (1 - a^p)/p, as it keeps a share a and the rest makes up.

    `importance` is a `ConditionalImportance`: the one order in which its units leave tells the loss at every width, in
    shares of output variance over all readers, so that nothing is measured anew. They are what `compensate_` leaves
    unexplained, and speak of readers, where `curves` measures the network's output and lets nothing make up for what
    left. `utility` is p and should be the one that the plan maximises; c_g is fitted at the shares that `curves`
    measures, and `trust` tells its part of a weight as there. A site without losses counts as the mean of the others.
    """
    if not isinstance(importance, Losing):
        raise TypeError(
            f"{type(importance).__name__} does not tell what readers lose; rank units by ConditionalImportance(seen), "
            "in recipes and commands by importance 'conditional'"
        )
    check_trust(trust)
    return Losses(importance, utility, trust)


@dataclass(frozen=True)
class Losses:
    """`losses` with its evidence."""

    importance: Losing = field(repr=False)
    utility: float = -1.0
    trust: float = 0.5

    def __call__(self, graph: Graph) -> dict[str, float]:
        """site -> weight, never negative."""
        lost = self.importance.losses_of(graph)
        known = {site.name: self._slope(lost[site.name]) for site in graph.sites if site.name in lost}
        mean = float(np.mean([*known.values()]))
        slopes = torch.tensor([known.get(site.name, mean) for site in graph.sites], dtype=torch.float64)
        return dict(zip((s.name for s in graph.sites), weighed(graph, slopes, self.trust).tolist(), strict=True))

    def _slope(self, lost: np.ndarray) -> float:
        size = len(lost) - 1
        kept = torch.tensor([counted(level, size) for level in LEVELS])
        return float(fitted(torch.from_numpy(lost)[kept], kept.double() / size, self.utility))
