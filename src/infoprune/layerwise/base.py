"""What a measured layer importance is: a callable graph -> {site: weight} that knows its standard errors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from infoprune.errors import UnknownName
from infoprune.estimators.moments import Estimate
from infoprune.graph import Graph
from infoprune.graph.member import stands_in
from infoprune.observe import Observations


class LayerImportance(ABC):
    """Weights of a graph's sites, estimated from evidence. A subclass says how; the evidence is its field."""

    @abstractmethod
    def estimate(self, graph: Graph) -> Estimate:
        """One weight a site, in the order of `graph.sites`, and the standard error of each."""

    def __call__(self, graph: Graph) -> dict[str, float]:
        """site -> weight, never negative."""
        return _by_name(graph, self.estimate(graph).value)

    def errors(self, graph: Graph) -> dict[str, float]:
        """site -> standard error of its weight; NaN where the evidence is a single block of samples."""
        return _by_name(graph, self.estimate(graph).standard_error)


def _by_name(graph: Graph, values: Tensor) -> dict[str, float]:
    return dict(zip((site.name for site in graph.sites), values.tolist(), strict=True))


@dataclass(frozen=True)
class Written:
    """The observed layers that write to a graph's sites: their rows, and how layers add up to sites."""

    rows: tuple[int, ...]
    adds: Tensor  # sites x rows

    def per_site(self, layer_weights: Tensor) -> Tensor:
        """*batch x layers -> *batch x sites: a site weighs the sum over the layers that write to it."""
        return layer_weights @ self.adds.to(layer_weights).T


def written(seen: Observations, graph: Graph) -> Written:
    """Which observed layers count for which site.

    Equation 10 sums over layers; layers that write to one site share its width, so their weights add. A
    layer whose module is never called (its code takes the weight and passes it to a function) counts as
    the mean of the site's other layers, or of all layers.
    """
    writers = {site.name: writers_of(graph, site.name) for site in graph.sites}
    bare = {m.name for s in graph.sites for m in graph.members(s.name) if stands_in(m.layer)}
    seen.require_current(graph.model, (n for names in writers.values() for n in names if n not in bare))
    layers = list(dict.fromkeys(name for names in writers.values() for name in names if name in seen.layers))
    if len(layers) < 2:
        raise UnknownName(f"{len(layers)} observed layer(s) write to the graph's sites; nHSIC compares at least two")
    adds = torch.stack([_shares(names, layers) for names in writers.values()])
    return Written(tuple(seen.row(name) for name in layers), adds)


def writers_of(graph: Graph, site: str) -> list[str]:
    """The modules that give out the site's channels."""
    names = list(dict.fromkeys(member.name for member in graph.members(site) if member.role == "out"))
    return names or [_owner(graph, site.split("#")[0])]


def _owner(graph: Graph, name: str) -> str:
    """A site without such a layer is called after one of its tensors, which belongs to a module."""
    modules: Mapping[str, object] = dict(graph.model.named_modules())
    return name if name in modules else name.rpartition(".")[0]


def _shares(names: list[str], layers: list[str]) -> Tensor:
    present = [layers.index(name) for name in names if name in layers]
    row = torch.zeros(len(layers), dtype=torch.float64)
    row[present or slice(None)] = len(names) / (len(present) or len(layers))
    return row
