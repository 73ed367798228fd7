"""Whole blocks leave, in stages with training between."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from infoprune.data import First
from infoprune.depth import Energy, plan_depth, removals, unit_energies
from infoprune.depth.prices import ends
from infoprune.errors import Infeasible
from infoprune.graph.arguments import Arguments
from infoprune.recipe.basis import Basis
from infoprune.recipe.cuts.base import Cut, Decision
from infoprune.recipe.cuts.tries import fewest_units
from infoprune.recipe.sections import DepthSection, Recipe, epochs
from infoprune.report.model import Interval, SiteChange
from infoprune.surgery import Plan


def depth_cuts(recipe: Recipe, model: nn.Module, x: Tensor) -> list[Cut]:
    section = recipe.depth
    if section is None or section.joint:
        return []
    units = len(removals(model, x))
    if section.probe:
        return list(_tried(recipe, section, units))
    return [Depth(recipe=recipe, section=section, units=(count, count)) for count in _unit_counts(section, units)]


@dataclass(frozen=True, kw_only=True)
class Depth(Cut):
    """One stage: as many blocks stay as the first and last of `units` say; where these differ, each number is tried."""

    kind: ClassVar[str] = "depth"

    section: DepthSection
    units: tuple[int, int]

    def decide(self, basis: Basis) -> Decision:
        seen, (fewest, most) = energies(basis, self.section), self.units
        if fewest == most or basis.rehearsal:
            plan = self._plan(basis, seen, most)
        else:
            counts = range(fewest, len(seen))
            plan = fewest_units(basis, {count: self._plan(basis, seen, count) for count in counts}, self.section)
        return Decision(plan, _block_changes(plan, seen))

    def words(self) -> str:
        fewest, most = self.units
        text = f"{most} units stay"
        if fewest != most:
            each = epochs(self.section.probe * self.recipe.finetune.epochs)
            text = f"each number of units from {fewest} to {most} is tried for {each}"
        return f"blocks: {text}, {self.afterwards}"

    def unsure(self) -> str:
        return "which blocks leave is known when it runs"

    def ends(self, basis: Basis) -> Sequence[nn.Module]:
        model, inputs, edits = basis.model, Arguments.of(basis.x), removals(basis.model, basis.x)
        return [left for count in dict.fromkeys(self.units) for left in ends(model, inputs, edits, count)]

    @property
    def trial_epochs(self) -> float:
        fewest, most = self.units
        tried = most - fewest + 1 if fewest != most else 0
        return tried * self.section.probe * self.recipe.finetune.epochs

    def _plan(self, basis: Basis, seen: Mapping[str, Energy], count: int) -> Plan:
        seed, strategy = basis.recipe.seed, self.section.strategy
        return plan_depth(basis.model, basis.x, seen, clusters=count, strategy=strategy, seed=seed)


def energies(basis: Basis, section: DepthSection) -> Mapping[str, Energy]:
    """What every block knows of the labels. All processes see all samples: energies are not merged."""
    data, seed = basis.recipe.data, basis.recipe.seed
    loader: Any = First(basis.task.train, section.samples, data.batch, seed)
    greedy = section.strategy == "greedy"
    how: Any = {"samples": section.samples, "correlations": greedy, "seed": seed, "progress": basis.progress}
    return unit_energies(basis.model, loader, basis.x, **how)


def _tried(recipe: Recipe, section: DepthSection, units: int) -> Iterator[Depth]:
    """Stages that leave each later one a unit to remove; the most units stay where every stage removes one."""
    if section.stages >= units:
        raise Infeasible(f"depth has {section.stages} stages for the network's {units} units; give fewer than {units}")
    for stage in range(1, section.stages + 1):
        yield Depth(recipe=recipe, section=section, units=(section.stages - stage + 1, units - stage))


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
