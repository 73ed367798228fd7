"""Blocks and channels share the budgets in one plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from infoprune.depth import DepthPath
from infoprune.planning import plan
from infoprune.recipe.basis import Basis
from infoprune.recipe.cuts.base import Cut, Decision
from infoprune.recipe.cuts.depth import energies
from infoprune.recipe.cuts.width import measured_layers, options_of
from infoprune.recipe.evidence import Evidence
from infoprune.recipe.sections import BudgetSection, DepthSection, Recipe


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
        evidence = Evidence(basis)
        seen, strategy = energies(basis, self.section), self.section.strategy
        made = plan(
            basis.model,
            basis.x,
            evidence.importance,
            layer_importance=evidence.layers,
            depth=DepthPath(seen, strategy=strategy, seed=basis.recipe.seed),
            budgets=[*self.budget.budgets.values()],
            **options_of(self.budget),
        )
        return Decision(made)

    def words(self) -> str:
        return f"blocks and channels ({', '.join(self.budget.budgets)}), {self.afterwards}"

    def unsure(self) -> str:
        return "; ".join(filter(None, ("which blocks leave is known when it runs", measured_layers(self.recipe))))
