"""Features that no wanted task needs leave the network for good: fewer bits, and fewer MACs before and behind them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from typing import Any

from torch import nn

from infoprune.graph import Graph
from infoprune.graph.outputs import Output, output_of
from infoprune.planning.scored import prices_of
from infoprune.surgery.channels import KeepChannels
from infoprune.surgery.inputs import described
from infoprune.surgery.plan import Plan


def plan_without(model: nn.Module, example_inputs: Any, *, at: str, unneeded: Collection[int]) -> Plan:
    """A plan that takes features of one layer out of the network, through sums and concatenations.

    Whatever makes these features, and only they, leaves: filters, norms, and the weights behind the cut that read them.
    Where features are a sum (a residual stream), the channel leaves every layer that adds to it, which hard selection
    at the cut would not do: the certificate of `prune_` speaks of the whole channel. Features that can't leave stay.
    `made_by["features"]` lists those that stay, in the order in which the pruned layer gives them out.

    Args:
        model: The network.
        example_inputs: What its forward takes.
        at: Name of the layer that gives the features.
        unneeded: Indices of the features that leave.
    """
    graph = Graph.trace(model, example_inputs)
    output = output_of(graph, at)
    unneeded = _checked(unneeded, len(output.owners))
    leaving = _leaving(output, unneeded)
    kept = {site: _kept(graph.site(site).size, units) for site, units in leaving.items()}
    edits = tuple(KeepChannels.of(graph.couplings[site], units) for site, units in kept.items())
    stay = [i for i, owner in enumerate(output.owners) if owner is None or owner[1] in kept.get(owner[0], (owner[1],))]
    made_by = {"at": at, "unneeded": len(unneeded), "features": stay}
    prices = prices_of(graph, {site: len(units) for site, units in kept.items()})
    return Plan(edits, made_by, prices, described(graph.inputs))


def _checked(unneeded: Collection[int], count: int) -> frozenset[int]:
    places = frozenset(int(i) for i in unneeded)
    if places and not (min(places) >= 0 and max(places) < count):
        raise ValueError(f"unneeded names feature {max(places)}; the layer gives out {count}, from 0 to {count - 1}")
    if len(places) == count:
        raise ValueError(f"all {count} features are unneeded, so that nothing would cross; keep at least one")
    return places


def _leaving(output: Output, unneeded: Collection[int]) -> dict[str, set[int]]:
    """site -> the units all of whose features are unneeded."""
    features: dict[tuple[str, int], list[int]] = defaultdict(list)
    for feature, owner in enumerate(output.owners):
        if owner is not None:
            features[owner].append(feature)
    units: dict[str, set[int]] = defaultdict(set)
    for (site, unit), owned in features.items():
        if set(owned) <= set(unneeded):
            units[site].add(unit)
    return units


def _kept(size: int, leaving: set[int]) -> tuple[int, ...]:
    """The units that stay: at least one, since a layer of none is no layer."""
    return tuple(unit for unit in range(size) if unit not in leaving) or (0,)
