"""Channels leave, as many as the budgets or rates say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from infoprune.graph import Graph
from infoprune.layerwise import LayerImportance
from infoprune.observe import kept_randomness
from infoprune.planning import Planned, Scored, Terms, decided, nested
from infoprune.recipe.basis import Basis
from infoprune.recipe.cuts.base import BASELINES, Cut, Decision
from infoprune.recipe.evidence import Evidence
from infoprune.recipe.sections import BudgetSection, Recipe
from infoprune.report.model import Allocation, Interval, SiteChange
from infoprune.surgery import Plan


def width_cuts(recipe: Recipe, model: nn.Module, x: Tensor) -> list[Cut]:
    shared = recipe.depth is not None and recipe.depth.joint
    return [] if recipe.budget is None or shared else [Width(recipe=recipe, budget=recipe.budget)]


@dataclass(frozen=True, kw_only=True)
class Width(Cut):
    """Channels leave within `budget`."""

    kind: ClassVar[str] = "width"

    budget: BudgetSection

    def decide(self, basis: Basis) -> Decision:
        scored = self._scored(basis)
        return self._decision(basis, scored, decided(scored))

    def decide_family(self, basis: Basis, sizes: Sequence[BudgetSection]) -> list[Decision]:
        """A decision for each of these budgets, each network inside the one before."""
        scored, wanted = self._scored(basis), [[*section.budgets.values()] for section in sizes]
        own = [replace(scored, terms=replace(scored.terms, budgets=budgets)) for budgets in wanted]
        return [self._decision(basis, *one) for one in zip(own, nested(scored, wanted), strict=True)]

    def _scored(self, basis: Basis) -> Scored:
        evidence = Evidence(basis)
        terms = Terms(layer_importance=evidence.layers, **options_of(self.budget), **_wanted(self.budget))
        return Scored.of(basis.model, basis.x, evidence.importance, terms)

    def _decision(self, basis: Basis, scored: Scored, planned: Planned) -> Decision:
        if basis.rehearsal:
            return Decision(planned.plan)
        sites = _changes(planned, scored.terms.layer_importance)
        rivals = {
            name: self._at_the_same_widths(BASELINES[name](), basis, planned.graph, sites) for name in self.rivals
        }
        return Decision(planned.plan, sites, _allocation(planned, scored), rivals)

    def words(self) -> str:
        rates = self.budget.rates
        left = "a share of each site" if isinstance(rates, Mapping) else f"{rates or 0:.0%} of every site"
        limits = self.budget.budgets or [left]
        return f"channels ({', '.join(limits)}), {self.afterwards}"

    def unsure(self) -> str:
        return "" if self.budget.rates is not None else measured_layers(self.recipe)

    @property
    def rivals(self) -> tuple[str, ...]:
        return tuple(BASELINES) if self.epochs else ()

    @property
    def epochs(self) -> float:
        return self.recipe.report.baseline_epochs

    def _at_the_same_widths(self, importance: Any, basis: Basis, graph: Graph, sites: Sequence[SiteChange]) -> Plan:
        """Rates take any importance to the widths of `sites`."""
        rates = {site.name: 1 - site.keeps / site.size for site in sites if site.keeps < site.size}
        with kept_randomness():
            torch.manual_seed(basis.recipe.seed)
            scored = Scored.on(graph, importance, Terms(rates=rates, ignored_layers=self.budget.ignored_layers))
            return decided(scored).plan


def options_of(section: BudgetSection) -> dict[str, Any]:
    """The options of planning that a budget section holds."""
    names = ("round_to", "floor", "utility", "solver", "ignored_layers", "tied")
    return {name: getattr(section, name) for name in names}


def measured_layers(recipe: Recipe) -> str:
    """What is to be said where layers weigh by what the data show."""
    name = recipe.layer_importance.name
    return "" if name == "uniform" else f"layers weigh alike here; what {name} measures is known when it runs"


def _wanted(section: BudgetSection) -> dict[str, Any]:
    if section.rates is None:
        return {"budgets": [*section.budgets.values()]}
    return {"rates": section.rates, "rounding": section.rounding}


def _allocation(planned: Planned, scored: Scored) -> Allocation | None:
    """How near the widths are to the best, and how far from those of layers that weigh alike."""
    if planned.allocation is None:
        return None
    gap, moved = float(planned.allocation.bound - planned.allocation.value), None
    if scored.terms.layer_importance is not None:
        moved = _moved(planned, decided(replace(scored, terms=replace(scored.terms, layer_importance=None))))
    return Allocation(gap / max(abs(float(planned.allocation.value)), 1e-12), moved)


def _moved(planned: Planned, even: Planned) -> float:
    """Share of all units by which the widths differ from those of even weights."""
    sizes = {site.name: site.size for site in planned.graph.sites}
    ours, theirs = sizes | planned.plan.widths, sizes | even.plan.widths
    return sum(abs(ours[name] - theirs[name]) for name in sizes) / sum(sizes.values())


def _changes(planned: Planned, layers: Any) -> tuple[SiteChange, ...]:
    sites = planned.graph.sites
    sizes = np.array([site.size for site in sites], float)
    keeps = np.array([planned.plan.widths.get(site.name, site.size) for site in sites], float)
    cost = planned.graph.cost("macs")
    before, after = _shares(cost, sizes), _shares(cost, keeps)
    weights: list[Interval | None] = [None] * len(sites)
    if isinstance(layers, LayerImportance):
        errors = layers.errors(planned.graph)
        weights = [Interval.of_error(value, errors[name]) for name, value in layers(planned.graph).items()]
    return tuple(
        SiteChange(site.name, site.kind, site.size, int(kept), float(was), float(now), weight)
        for site, kept, was, now, weight in zip(sites, keeps, before, after, weights, strict=True)
    )


def _shares(cost: Any, counts: np.ndarray) -> np.ndarray:
    """What each site has of the price: a term's price is split between its sites by their exponents."""
    exponents = cost.exponents.toarray() if hasattr(cost.exponents, "toarray") else np.asarray(cost.exponents)
    terms = np.asarray(cost.coefficients) * np.prod(counts**exponents, axis=1)
    degrees = np.maximum(exponents.sum(1, keepdims=True), 1e-12)
    return (terms[:, None] * exponents / degrees).sum(0) / max(terms.sum(), 1e-12)
