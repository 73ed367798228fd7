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


def ends(model: nn.Module, inputs: Arguments, edits: Sequence[DropBlock], keep: int) -> list[nn.Module]:
    """What is left where the units leave that save most, and least, on their own: in MACs, then in parameters.

    `keep` units stay. Where savings add up, as behind sums, no choice costs less or more than these. Concatenated units
    read each other, so that others may pass the ends a little.
    """
    leave, networks = len(edits) - keep, []
    for alone in alone_without(model, inputs, edits).values():
        order = sorted(range(len(edits)), key=lambda i: alone[i])  # the most saved first
        for gone in (order[:leave], order[len(order) - leave :]):
            networks.append(without(model, [edits[i] for i in sorted(gone)]))
    return networks


def alone_without(model: nn.Module, inputs: Arguments, edits: Sequence[DropBlock]) -> dict[str, list[int]]:
    """What the model costs in MACs and in parameters without each of its units alone."""
    reduced = [without(model, [edit]) for edit in edits]
    return {
        "macs": [count_macs(one, inputs) for one in reduced], "params": [params_of(one) for one in reduced],
    }  # fmt: skip


def prices_of(model: nn.Module, inputs: Arguments, edits: Sequence[DropBlock]) -> dict[str, Price]:
    reduced = without(model, edits)
    return {
        "macs": Price(count_macs(model, inputs), count_macs(reduced, inputs)),
        "params": Price(params_of(model), params_of(reduced)),
    }
