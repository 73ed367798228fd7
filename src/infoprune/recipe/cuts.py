"""The prunings of a recipe, one after the other: each plans from the model as it is then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from infoprune.budgets import budgets
from infoprune.data import First, Task
from infoprune.depth import DepthPath, Energy, plan_depth, removals, unit_energies
from infoprune.errors import Infeasible
from infoprune.finetune import Workers
from infoprune.importance import importances
from infoprune.layerwise import LayerImportance, layerwise
from infoprune.observe import Observations, observe
from infoprune.planning import Planned, plan, planned
from infoprune.recipe.sections import BudgetSection, DepthSection, Recipe
from infoprune.recipe.splitting import orders_of, pictures, plan_of
from infoprune.report.model import Allocation, Interval, SiteChange
from infoprune.surgery import Plan
from infoprune.tokens import plan as plan_tokens

Kind = Literal["depth", "width", "joint", "tokens", "features"]


@dataclass(frozen=True)
class Cut:
    """One pruning; `units` is the K of a depth stage."""

    name: str
    kind: Kind
    units: int | None = None


@dataclass(frozen=True)
class Decision:
    """A plan with what the report tells about it, and simpler plans that send as many features."""

    plan: Plan
    sites: tuple[SiteChange, ...] = ()
    allocation: Allocation | None = None
    simpler: Mapping[str, Plan] = field(default_factory=dict)


def cuts_of(recipe: Recipe, model: nn.Module, x: Tensor) -> list[Cut]:
    """What the recipe cuts, in order: blocks in stages, then channels, then tokens; last what travels at a split."""
    depth, found = recipe.depth, []
    if depth is not None and not depth.joint:
        found += [("depth", k) for k in _unit_counts(depth, len(removals(model, x)))]
    if recipe.budget is not None:
        found.append(("joint" if depth is not None and depth.joint else "width", None))
    if recipe.tokens is not None:
        found.append(("tokens", None))
    if recipe.split is not None:
        found.append(("features", None))
    return [Cut(f"cut-{i}", kind, units) for i, (kind, units) in enumerate(found, 1)]


def decide(cut: Cut, recipe: Recipe, model: nn.Module, x: Tensor, task: Task, *, progress: bool = False) -> Decision:
    """The plan for `model` as it is now."""
    if cut.kind == "tokens":
        assert recipe.tokens is not None
        return Decision(plan_tokens(model, budget=budgets["macs"](keep=recipe.tokens.keep), score=recipe.tokens.score))
    if cut.kind == "features":
        assert recipe.split is not None
        plans = {name: plan_of(recipe.split, order, x) for name, order in orders_of(recipe, model, task).items()}
        return Decision(plans.pop("ours"), simpler=plans)
    if cut.kind == "depth":
        assert recipe.depth is not None
        assert cut.units is not None
        seen = _energies(recipe, recipe.depth, model, x, task)
        strategy = recipe.depth.strategy
        made = plan_depth(model, x, seen, clusters=cut.units, strategy=strategy, seed=recipe.seed)
        return Decision(made, _block_changes(made, seen))
    assert recipe.budget is not None
    evidence = _Evidence(recipe, model, task, progress)
    if cut.kind == "joint":
        assert recipe.depth is not None
        path = DepthPath(
            _energies(recipe, recipe.depth, model, x, task), strategy=recipe.depth.strategy, seed=recipe.seed
        )
        options = {**options_of(recipe.budget), "budgets": [*recipe.budget.budgets.values()]}
        return Decision(plan(model, x, evidence.importance, layer_importance=evidence.layers, depth=path, **options))
    return _widths(recipe.budget, model, x, evidence)


def example(task: Task) -> Tensor:
    return torch.randn(1, *task.shape, generator=torch.Generator().manual_seed(0))


def _unit_counts(depth: DepthSection, units: int) -> list[int]:
    """K^t: as the recipe lists them, or falling evenly from all units to those that stay."""
    if depth.clusters:
        counts = list(depth.clusters)
    else:
        assert depth.keep_units is not None
        steps = np.linspace(units, depth.keep_units, depth.stages + 1)[1:]
        counts = sorted({round(k) for k in steps}, reverse=True)
    if not counts or counts[0] >= units:
        raise Infeasible(f"depth keeps {counts[:1]} of the network's {units} units; give fewer than {units}")
    return counts


def _energies(recipe: Recipe, depth: DepthSection, model: nn.Module, x: Tensor, task: Task) -> Mapping[str, Energy]:
    """All workers see all samples: energies are not merged."""
    loader = First(task.train, depth.samples, recipe.data.batch, recipe.seed)
    greedy = depth.strategy == "greedy"
    return unit_energies(model, loader, x, samples=depth.samples, correlations=greedy, seed=recipe.seed)


# ------------------------------------------------------------------------------------------------------ channels


class _Evidence:
    """The importance and the layer importance of a recipe, with what they have seen."""

    def __init__(self, recipe: Recipe, model: nn.Module, task: Task, progress: bool):
        self.recipe, self.model, self.task, self.progress = recipe, model, task, progress
        chosen = importances[recipe.importance.name]
        evidence = [self.seen] if chosen.about.needs_data else []
        self.importance = chosen(*evidence, **recipe.importance.options)

    @cached_property
    def seen(self) -> Observations:
        """One pass; workers share the batches and merge what they saw."""
        us = Workers.now()
        found = observe(self.model, self._batches(us.rank, us.world), progress=False)
        return found.all_reduce() if us.world > 1 else found

    @cached_property
    def layers(self) -> Any:
        """None where all layers count alike, or where rates leave nothing to weigh. Every worker measures curves."""
        section, budget = self.recipe.layer_importance, self.recipe.budget
        assert budget is not None
        if section.name == "uniform" or budget.rates is not None:
            return None
        if section.name != "curves":
            return layerwise[section.name](self.seen, **section.options)
        given = {
            "samples": self.recipe.data.calibration,
            "utility": budget.utility,
            "ignored_layers": budget.ignored_layers,
            "progress": self.progress,
        }
        return layerwise["curves"](self.model, self._batches(), self.importance, **{**given, **section.options})

    def _batches(self, rank: int = 0, world: int = 1) -> Any:
        """This worker's share of the calibration pictures, with their labels where these are classes."""
        data = self.recipe.data
        loader = First(self.task.train, data.calibration, data.batch, self.recipe.seed, rank, world)
        return loader if self.task.kind == "labels" else list(pictures(loader))


def options_of(section: BudgetSection) -> dict[str, Any]:
    return {
        "round_to": section.round_to,
        "floor": section.floor,
        "utility": section.utility,
        "solver": section.solver,
        "ignored_layers": section.ignored_layers,
    }


def _widths(section: BudgetSection, model: nn.Module, x: Tensor, evidence: _Evidence) -> Decision:
    wanted = {"rates": section.rates} if section.rates is not None else {"budgets": [*section.budgets.values()]}
    options = {**options_of(section), **wanted}
    made = planned(model, x, evidence.importance, layer_importance=evidence.layers, **options)
    allocation = None
    if made.allocation is not None:
        moved = None
        if evidence.layers is not None:
            moved = _moved(made, planned(model, x, evidence.importance, **options))
        gap = made.allocation.bound - made.allocation.value
        allocation = Allocation(float(gap) / max(abs(float(made.allocation.value)), 1e-12), moved)
    return Decision(made.plan, _changes(made, evidence.layers), allocation)


def _moved(made: Planned, even: Planned) -> float:
    """Share of all units by which the widths differ from those of even weights."""
    sizes = {site.name: site.size for site in made.graph.sites}
    ours, theirs = sizes | made.plan.widths, sizes | even.plan.widths
    return sum(abs(ours[name] - theirs[name]) for name in sizes) / sum(sizes.values())


def _changes(made: Planned, layers: Any) -> tuple[SiteChange, ...]:
    sites = made.graph.sites
    sizes = np.array([site.size for site in sites], float)
    keeps = np.array([made.plan.widths.get(site.name, site.size) for site in sites], float)
    cost = made.graph.cost("macs")
    before, after = _shares(cost, sizes), _shares(cost, keeps)
    weights: list[Interval | None] = [None] * len(sites)
    if isinstance(layers, LayerImportance):
        errors = layers.errors(made.graph)
        weights = [_interval(value, errors[name]) for name, value in layers(made.graph).items()]
    return tuple(
        SiteChange(site.name, site.kind, site.size, int(kept), float(was), float(now), weight)
        for site, kept, was, now, weight in zip(sites, keeps, before, after, weights, strict=True)
    )


def _block_changes(plan: Plan, seen: Mapping[str, Energy]) -> tuple[SiteChange, ...]:
    """Every block with what it knows of the labels."""
    gone = {edit.site.name for edit in plan.edits}
    pairs = {name: value if isinstance(value, tuple) else (value, 0.0) for name, value in seen.items()}
    return tuple(
        SiteChange(name, "block", 1, int(name not in gone), weight=_interval(*pair)) for name, pair in pairs.items()
    )


def _interval(value: float, error: float) -> Interval:
    spread = 1.96 * error if np.isfinite(error) else 0.0
    return Interval(value, value - spread, value + spread)


def _shares(cost: Any, counts: np.ndarray) -> np.ndarray:
    """What each site has of the price: a term's price is split between its sites by their exponents."""
    exponents = cost.exponents.toarray() if hasattr(cost.exponents, "toarray") else np.asarray(cost.exponents)
    terms = np.asarray(cost.coefficients) * np.prod(counts**exponents, axis=1)
    degrees = np.maximum(exponents.sum(1, keepdims=True), 1e-12)
    return (terms[:, None] * exponents / degrees).sum(0) / max(terms.sum(), 1e-12)


def baseline_rates(plan: Plan, sites: Sequence[SiteChange]) -> dict[str, float]:
    """Rates that take any importance to the widths of `plan`."""
    return {site.name: 1 - site.keeps / site.size for site in sites if site.keeps < site.size}
