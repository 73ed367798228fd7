"""Where scores meet prices: a model traced and scored once, and the plan for any budgets or rates."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import nn

from infoprune.allocation import Allocation, Posynomial, Problem, allocate
from infoprune.budgets import Budget
from infoprune.errors import BadWeights, UnknownName, Untraceable
from infoprune.graph import Graph
from infoprune.graph.site_scores import ScoreGroup, score_sites
from infoprune.graph.wrappers import has_no_values
from infoprune.layerwise import uniform
from infoprune.planning.shares import LEAST, Rounding, Shares, at_rate, check_floor, floors, per_site, shown
from infoprune.planning.ties import Tied, check_tied, ties_of
from infoprune.planning.untrained import tell_if_untrained
from infoprune.require import require_importance
from infoprune.surgery.channels import KeepChannels, best
from infoprune.surgery.inputs import described
from infoprune.surgery.plan import Plan, Price

LayerImportance = Mapping[str, float] | Callable[[Graph], Mapping[str, float]]


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What `plan` is asked for; the words are explained there."""

    layer_importance: LayerImportance | None = None
    budgets: Budget | Sequence[Budget] = ()
    rates: float | Mapping[str, float] | None = None
    utility: float = -1.0
    round_to: int = 1
    floor: Shares = LEAST
    ignored_layers: Iterable[str | nn.Module | nn.Parameter] = ()
    num_heads: Mapping[nn.Module, int] | None = None
    head_dims: Iterable[str | nn.Module] = ()
    also: Sequence[Any] = ()
    solver: Any = None
    rounding: Rounding = "up"
    tied: Tied = False
    shapes_alone: bool = False


FOLLOWED = ("ignored_layers", "num_heads", "head_dims", "also", "shapes_alone")


def _followed(terms: Terms) -> dict[str, Any]:
    """The terms that say how the model is to be traced."""
    return {name: getattr(terms, name) for name in FOLLOWED}


@dataclass(frozen=True)
class Planned:
    """A plan with the evidence behind it: the graph, the scores of every unit, and the allocation (None for rates).

    `token_utility` is what the tokens that leave cost the utility, 0 where all stay.
    """

    plan: Plan
    graph: Graph
    scores: Mapping[str, np.ndarray]
    allocation: Allocation | None
    token_utility: float = 0.0


@dataclass(frozen=True)
class Scored:
    """A traced model and the scores of its units: all that is left to decide is how many stay.

    `ceiling` says how many units of sites may stay at most, by a site's name; all of them unless told.
    """

    graph: Graph
    scores: Mapping[str, np.ndarray]
    terms: Terms
    notes: Mapping[str, Any]
    ceiling: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, model: nn.Module, example_inputs: Any, importance: ScoreGroup, terms: Terms) -> Scored:
        """The sites of the model with their scores.

        Args:
            model: The network.
            example_inputs: What its forward takes.
            importance: Ranks the units of a site.
            terms: The further arguments of `plan`.
        """
        terms = replace(terms, ignored_layers=tuple(terms.ignored_layers), head_dims=tuple(terms.head_dims))
        _check_options(importance, terms.round_to)
        check_floor(terms.floor)
        check_tied(terms.tied, terms.rates)
        if not (terms.shapes_alone or has_no_values(model)):  # weights that are mapped are read where they are ranked
            _check_weights(model)
            tell_if_untrained(model)
        graph = Graph.trace(model, example_inputs, **_followed(terms))
        if not graph.sites:
            why = graph.why_fixed()
            raise Untraceable(f"the model has no site that can be pruned: {why}; prune another part or model")
        return cls.on(graph, importance, terms)

    @classmethod
    def on(cls, graph: Graph, importance: ScoreGroup, terms: Terms) -> Scored:
        """The units of a model that was traced under these terms before."""
        options: dict[str, Any] = {"utility": terms.utility, "round_to": terms.round_to, "floor": shown(terms.floor)}
        if terms.tied:
            globs = () if terms.tied is True else terms.tied
            options["tied"] = [one if isinstance(one, str) else ", ".join(one) for one in globs] or True
        checked = {"checked": "by shapes alone"} if graph.by_shapes else {}
        return cls(graph, score_sites(graph, importance), terms, {**_notes(importance), **options, **checked})

    def retraced(self) -> Scored:
        """The same sites and scores with the prices that the model has now; nothing is tried again."""
        followed = {**_followed(self.terms), "streams": self.graph.streams}
        graph = Graph.trace(self.graph.model, self.graph.inputs, verify=False, **followed)
        return replace(self, graph=graph.keeping(self.graph.couplings))

    @property
    def weights(self) -> Mapping[str, float]:
        return site_weights(self.graph, self.terms.layer_importance)

    @property
    def ties(self) -> list[list[int]]:
        """The places of sites, among those that have scores, that keep one share of their units."""
        return ties_of(self.graph, self.terms.tied, list(self.scores))

    @property
    def free(self) -> np.ndarray:
        """Which of the graph's sites have scores."""
        return np.array([site.name in self.scores for site in self.graph.sites])

    def price(self, budget: Budget) -> Posynomial:
        """In the counts of the sites that have scores, the others being whole."""
        sizes = np.array([site.size for site in self.graph.sites])
        return _at_full_size(budget.cost(self.graph), sizes, self.free)

    def problem(self, budgets: Sequence[Budget]) -> Problem:
        """How many units of each site to keep under these budgets."""
        return _problem(
            self.graph, self.scores, self.weights, budgets, floor=floors(self.graph, self.terms.floor),
            ceiling=self.ceiling, steps=self._steps, utility=self.terms.utility,
        )  # fmt: skip

    def within(self, budgets: Sequence[Budget]) -> Planned:
        allocation = allocate(self.problem(budgets), self.terms.solver, ties=self.ties)
        counts = dict(zip(self.scores, allocation.counts.tolist(), strict=True))
        notes = {**self.notes, **spent(budgets, allocation)}
        return Planned(_plan(self.graph, self.scores, counts, notes), self.graph, self.scores, allocation)

    def at_rates(self, rates: float | Mapping[str, float]) -> Planned:
        counts = _at_rates(self.graph, self.scores, rates, self._steps, self.terms.rounding)
        down = {} if self.terms.rounding == "up" else {"rounding": self.terms.rounding}
        plan = _plan(self.graph, self.scores, counts, {**self.notes, "rates": shown(rates), **down})
        return Planned(plan, self.graph, self.scores, None)

    @property
    def _steps(self) -> list[int]:
        round_to = self.terms.round_to
        return [round_to // math.gcd(round_to, site.step) for site in self.graph.sites]


# -------------------------------------------------------------------------------------------------- how many stay


def _problem(
    graph: Graph, scores: Mapping[str, np.ndarray], weights: Mapping[str, float], budgets: Sequence[Budget],
    *, floor: Mapping[str, int], ceiling: Mapping[str, int], steps: Sequence[int], utility: float,
) -> Problem:  # fmt: skip
    sizes = np.array([site.size for site in graph.sites])
    step = np.minimum(steps, sizes)
    scored = np.array([site.name in scores for site in graph.sites])
    lowest = np.array([floor[site.name] for site in graph.sites])
    lowest = np.minimum(-(-lowest // step) * step, sizes)
    prices = [budget.cost(graph) for budget in budgets]
    return Problem(
        weights=np.array([weights[site.name] for site in graph.sites])[scored],
        sizes=sizes[scored],
        costs=[_at_full_size(price, sizes, scored) for price in prices],
        limits=[budget.limit(price(sizes)) for budget, price in zip(budgets, prices, strict=True)],
        floor=lowest[scored].astype(int),
        ceiling=np.array([ceiling.get(site.name, site.size) for site in graph.sites])[scored],
        step=step[scored],
        utility=utility,
        names=[site.name for site in graph.sites if site.name in scores],
        resources=[budget.resource for budget in budgets],
    )


def _at_full_size(price: Posynomial, sizes: np.ndarray, free: np.ndarray) -> Posynomial:
    """The price as a function of the free sites' counts alone, the others being whole."""
    if free.all():
        return price
    exponents = price.exponents.toarray()
    whole = np.prod(np.where(free, 1, sizes).astype(float) ** exponents, axis=1)
    return Posynomial(price.coefficients * whole, exponents[:, free])


def _at_rates(
    graph: Graph, scores: Mapping[str, np.ndarray], rates: float | Mapping[str, float], steps: Sequence[int],
    rounding: Rounding,
) -> dict[str, int]:  # fmt: skip
    """How many units of each site stay."""
    named = (
        per_site(graph, rates, "rates", among=scores) if isinstance(rates, Mapping) else dict.fromkeys(scores, rates)
    )
    for name, rate in named.items():
        if not isinstance(rate, Real) or not 0 <= rate < 1:
            raise ValueError(f"the rate of {name} is {rate!r:.60}; it is the share to remove, from 0 to below 1")
    return {
        site.name: at_rate(named.get(site.name, 0), site.size, step, rounding)
        for site, step in zip(graph.sites, steps, strict=True)
        if site.name in scores
    }


def site_weights(graph: Graph, layer_importance: LayerImportance | None) -> Mapping[str, float]:
    """What every site weighs; by default as much as there are layers that write to it."""
    names = [site.name for site in graph.sites]
    chosen = uniform() if layer_importance is None else layer_importance
    weights = chosen(graph) if callable(chosen) else chosen
    missing = [name for name in names if name not in weights]
    if missing:
        raise UnknownName(
            f"layer_importance has no weight for {missing[:3]} ({len(missing)} of {len(names)} sites); add them"
        )
    return weights


# ------------------------------------------------------------------------------------------------------- the plan


def _plan(graph: Graph, scores: Mapping[str, np.ndarray], counts: Mapping[str, int], notes: dict[str, Any]) -> Plan:
    edits = tuple(
        KeepChannels.of(graph.couplings[name], best(scores[name], count).tolist())
        for name, count in counts.items()
        if count < graph.couplings[name].site.size
    )
    prices = prices_of(graph, counts)
    assert prices["macs"].before == graph.counted, "the price of the whole model is not what was counted"
    if graph.quarantined:
        notes["quarantined"] = [f"{name}: {why}" for name, why in list(graph.quarantined.items())[:1000]]
    return Plan(edits, notes, prices, described(graph.inputs))


def prices_of(graph: Graph, counts: Mapping[str, int]) -> dict[str, Price]:
    """What the network costs, and what it costs with `counts` of units at these sites and all at the others."""
    sizes = np.array([site.size for site in graph.sites])
    kept = np.array([counts.get(site.name, site.size) for site in graph.sites])
    costs = {resource: graph.cost(resource) for resource in ("macs", "params")}
    return {resource: Price(round(cost(sizes)), round(cost(kept))) for resource, cost in costs.items()}


def _notes(importance: ScoreGroup) -> dict[str, Any]:
    return {"infoprune": version("infoprune"), "torch": torch.__version__, "importance": _described(importance)}


def spent(budgets: Sequence[Budget], allocation: Allocation) -> dict[str, Any]:
    return {
        "budgets": [str(budget) for budget in budgets],
        "solver": allocation.solver,
        "value": float(allocation.value),
        "bound": float(allocation.bound),
    }


def _described(importance: ScoreGroup) -> str:
    shown = repr(importance)
    return type(importance).__name__ if " object at 0x" in shown else shown[:500]


# ------------------------------------------------------------------------------------------------- at the door


def _check_options(importance: Any, round_to: int) -> None:
    require_importance(importance)
    if not isinstance(round_to, int) or round_to < 1:
        raise ValueError(f"round_to is {round_to!r}; give a whole number of channels, at least 1")


def _check_weights(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if (
            parameter.is_floating_point()
            and not bool(parameter.detach().sum().isfinite())
            and not bool(parameter.isfinite().all())
        ):
            raise BadWeights(f"{name} holds NaN or infinite values; repair or reload the model before planning")
