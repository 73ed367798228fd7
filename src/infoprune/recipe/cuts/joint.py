"""Blocks and channels share the budgets in one plan."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from infoprune.depth import DepthPath, removals
from infoprune.depth.prices import alone_without
from infoprune.graph.arguments import Arguments
from infoprune.planning import plan
from infoprune.recipe.basis import Basis
from infoprune.recipe.cuts.base import Cut, Decision
from infoprune.recipe.cuts.depth import energies
from infoprune.recipe.cuts.width import measured_layers, options_of
from infoprune.recipe.evidence import Evidence
from infoprune.recipe.sections import BudgetSection, DepthSection, Recipe
from infoprune.surgery import Plan, prune_


def joint_cuts(recipe: Recipe, model: nn.Module, x: Tensor) -> list[Cut]:
    depth, budget = recipe.depth, recipe.budget
    if depth is None or budget is None or not depth.joint:
        return []
    return [Joint(recipe=recipe, section=depth, budget=budget)]


@dataclass(frozen=True, kw_only=True)
class Joint(Cut):
    """Blocks leave along one path, channels share what the budgets leave each depth."""

    kind: ClassVar[str] = "joint"

    section: DepthSection
    budget: BudgetSection

    def decide(self, basis: Basis) -> Decision:
        seen, strategy = energies(basis, self.section), self.section.strategy
        return Decision(self._along(basis, DepthPath(seen, strategy=strategy, seed=basis.recipe.seed)))

    def ends(self, basis: Basis) -> Sequence[nn.Module]:
        """Along the paths on which the blocks that save most, and least, on their own leave first."""
        edits = removals(basis.model, basis.x)
        names, alone = [edit.unit.name for edit in edits], alone_without(basis.model, Arguments.of(basis.x), edits)
        orders = [
            dict(zip(names, (sign * n for n in left), strict=True)) for left in alone.values() for sign in (1, -1)
        ]
        plans = [self._along(basis, DepthPath(order, strategy="largest")) for order in orders]
        return [prune_(copy.deepcopy(basis.model), basis.x, one, certify=False) for one in plans]

    def _along(self, basis: Basis, path: DepthPath) -> Plan:
        evidence = Evidence(basis)
        return plan(
            basis.model,
            basis.x,
            evidence.importance,
            layer_importance=evidence.layers,
            depth=path,
            budgets=[*self.budget.budgets.values()],
            **options_of(self.budget),
        )

    def words(self) -> str:
        return f"blocks and channels ({', '.join(self.budget.budgets)}), {self.afterwards}"

    def unsure(self) -> str:
        return "; ".join(filter(None, ("which blocks leave is known when it runs", measured_layers(self.recipe))))
