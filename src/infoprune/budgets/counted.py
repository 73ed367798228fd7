"""Budgets that are counted exactly from shapes."""

from __future__ import annotations

from infoprune.budgets.base import Budget, budgets
from infoprune.graph import Graph


@budgets.register("macs")
def macs(*, keep: float | None = None, at_most: float | None = None) -> Budget:
    """Multiply-adds for the example inputs: one multiply-add is one MAC (papers that say FLOPs mean these)."""
    return Budget("macs", lambda graph: Graph.cost(graph, "macs"), keep, at_most)


@budgets.register("params")
def params(*, keep: float | None = None, at_most: float | None = None) -> Budget:
    """Elements of all parameters."""
    return Budget("params", lambda graph: Graph.cost(graph, "params"), keep, at_most)
