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


def prices_of(model: nn.Module, inputs: Arguments, edits: Sequence[DropBlock]) -> dict[str, Price]:
    reduced = without(model, edits)
    return {
        "macs": Price(count_macs(model, inputs), count_macs(reduced, inputs)),
        "params": Price(params_of(model), params_of(reduced)),
    }
