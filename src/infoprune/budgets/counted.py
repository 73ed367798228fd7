"""Budgets that are counted exactly from shapes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from infoprune.allocation import Posynomial
from infoprune.budgets.base import Amounts, Counted, budgets, numbers
from infoprune.graph import Graph
from infoprune.graph.counting import count_macs


@budgets.register("macs")
@dataclass(frozen=True, kw_only=True)
class Macs(Counted):
    """Multiply-adds for the example inputs: one multiply-add is one MAC (papers that say FLOPs mean these)."""

    resource: ClassVar[str] = "macs"
    amounts: ClassVar[Amounts] = numbers(1000)
    whole: ClassVar[bool] = True

    def cost(self, graph: Graph) -> Posynomial:
        return graph.cost("macs")

    def measure(self, model: nn.Module, inputs: Any) -> float:
        return count_macs(model, inputs)


@budgets.register("params")
@dataclass(frozen=True, kw_only=True)
class Params(Counted):
    """Elements of all parameters."""

    resource: ClassVar[str] = "params"
    amounts: ClassVar[Amounts] = numbers(1000)
    whole: ClassVar[bool] = True

    def cost(self, graph: Graph) -> Posynomial:
        return graph.cost("params")

    def measure(self, model: nn.Module, inputs: Any) -> float:
        return sum(p.numel() for p in model.parameters())
