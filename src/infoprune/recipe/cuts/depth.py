"""Whole blocks leave, in stages with training between."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from infoprune.data import First
from infoprune.depth import Energy, plan_depth, removals, unit_energies
from infoprune.depth.prices import reach
from infoprune.errors import Infeasible
from infoprune.graph.arguments import Arguments
from infoprune.recipe.basis import Basis
from infoprune.recipe.cuts.base import Cut, Decision
from infoprune.recipe.sections import DepthSection, Recipe
from infoprune.report.model import Interval, SiteChange
from infoprune.surgery import Plan


def depth_cuts(recipe: Recipe, model: nn.Module, x: Tensor) -> list[Cut]:
    section = recipe.depth
    if section is None or section.joint:
        return []
    counts = _unit_counts(section, len(removals(model, x)))
    return [Depth(recipe=recipe, section=section, units=count) for count in counts]


@dataclass(frozen=True, kw_only=True)
class Depth(Cut):
    """One stage: `units` blocks stay."""

    kind: ClassVar[str] = "depth"

    section: DepthSection
    units: int

    def decide(self, basis: Basis) -> Decision:
        seen, seed = energies(basis, self.section), basis.recipe.seed
        made = plan_depth(basis.model, basis.x, seen, clusters=self.units, strategy=self.section.strategy, seed=seed)
        return Decision(made, _block_changes(made, seen))

    def words(self) -> str:
        return f"blocks: {self.units} units stay, {self.afterwards}"

    def unsure(self) -> str:
        return "which blocks leave is known when it runs"

    def reach(self, model: nn.Module, x: Tensor) -> Mapping[str, tuple[int, int]]:
        return reach(model, Arguments.of(x), removals(model, x), self.units)


def energies(basis: Basis, section: DepthSection) -> Mapping[str, Energy]:
    """What every block knows of the labels. All processes see all samples: energies are not merged."""
    data, seed = basis.recipe.data, basis.recipe.seed
    loader: Any = First(basis.task.train, section.samples, data.batch, seed)
    greedy = section.strategy == "greedy"
    how: Any = {"samples": section.samples, "correlations": greedy, "seed": seed, "progress": basis.progress}
    return unit_energies(basis.model, loader, basis.x, **how)


def _unit_counts(depth: DepthSection, units: int) -> list[int]:
    """K^t: as the recipe lists them, or falling evenly from all units to those that stay."""
    counts = list(depth.clusters)
    if depth.keep_units is not None:
        steps = np.linspace(units, depth.keep_units, depth.stages + 1)[1:]
        counts = sorted({round(k) for k in steps}, reverse=True)
    if not counts or counts[0] >= units:
        raise Infeasible(f"depth keeps {counts[:1]} of the network's {units} units; give fewer than {units}")
    return counts


def _block_changes(plan: Plan, seen: Mapping[str, Energy]) -> tuple[SiteChange, ...]:
    """Every block with what it knows of the labels."""
    gone = {edit.site.name for edit in plan.edits}
    pairs = {name: value if isinstance(value, tuple) else (value, 0.0) for name, value in seen.items()}
    return tuple(
        SiteChange(name, "block", 1, int(name not in gone), weight=Interval.of_error(*pair))
        for name, pair in pairs.items()
    )
