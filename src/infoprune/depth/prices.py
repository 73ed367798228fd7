"""What a network costs with and without some of its units."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import nn

from infoprune.budgets import Budget, Counted
from infoprune.graph import Graph
from infoprune.graph.arguments import Arguments
from infoprune.graph.counting import count_macs
from infoprune.graph.verify import structural_copy
from infoprune.surgery.blocks import DropBlock
from infoprune.surgery.plan import Price, carry_out


def without(model: nn.Module, edits: Sequence[DropBlock]) -> nn.Module:
    """A copy without these units, sharing the tensors of the rest."""
    reduced = structural_copy(model)
    carry_out(reduced, edits)
    return reduced


def price_of(budget: Budget, model: nn.Module, inputs: Arguments) -> float:
    """What a whole model costs: counted, or else as the budget predicts it."""
    if isinstance(budget, Counted):
        return float(budget.measure(model, inputs))
    graph = Graph.trace(model, inputs, verify=False)
    return float(budget.cost(graph)(np.array([site.size for site in graph.sites])))


def params_of(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def reach(model: nn.Module, inputs: Arguments, edits: Sequence[DropBlock], keep: int) -> dict[str, tuple[int, int]]:
    """The least and the most that choices of `keep` units leave, in MACs and in parameters.

    Each end is the price of a choice: the units leave that save most, or least, on their own. Where savings add up, as
    behind sums, no choice lies outside. Concatenated units read each other, so that others may pass the ends a little.
    """

    def prices(gone: Sequence[DropBlock]) -> dict[str, int]:
        reduced = without(model, gone)
        return {"macs": count_macs(reduced, inputs), "params": params_of(reduced)}

    alone, leave = [prices([edit]) for edit in edits], len(edits) - keep
    found = {}
    for name in ("macs", "params"):
        order = sorted(range(len(edits)), key=lambda i: alone[i][name])  # the most saved first
        ends = [order[:leave], order[len(order) - leave :]]
        least, most = (prices([edits[i] for i in sorted(end)])[name] for end in ends)
        found[name] = (least, most)
    return found


def prices_of(model: nn.Module, inputs: Arguments, edits: Sequence[DropBlock]) -> dict[str, Price]:
    reduced = without(model, edits)
    return {
        "macs": Price(count_macs(model, inputs), count_macs(reduced, inputs)),
        "params": Price(params_of(model), params_of(reduced)),
    }
