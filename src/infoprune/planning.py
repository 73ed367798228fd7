"""plan(): the one place where scores meet prices."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from infoprune.allocation import Allocation, Posynomial, Problem, allocate
from infoprune.budgets import Budget
from infoprune.errors import BadWeights, InfopruneError, UnknownName, Untraceable
from infoprune.graph import Graph
from infoprune.layerwise import uniform
from infoprune.refining import refined
from infoprune.registry import nearest
from infoprune.surgery.channels import KeepChannels, best
from infoprune.surgery.inputs import described
from infoprune.surgery.plan import Plan, Price

ScoreGroup = Callable[[Any], Any]
LayerImportance = Mapping[str, float] | Callable[[Graph], Mapping[str, float]]


@dataclass(frozen=True)
class Planned:
    """A plan with the evidence behind it: the graph, the scores of every unit, and the allocation (None for rates)."""

    plan: Plan
    graph: Graph
    scores: Mapping[str, np.ndarray]
    allocation: Allocation | None


class DepthPath(Protocol):
    """Something that shares budgets between whole blocks and channels."""

    def plan(self, model: nn.Module, example_inputs: Any, importance: ScoreGroup, **options: Any) -> Plan: ...


def plan(
    model: nn.Module,
    example_inputs: Any,
    importance: ScoreGroup,
    *,
    layer_importance: LayerImportance | None = None,
    budgets: Budget | Sequence[Budget] = (),
    rates: float | Mapping[str, float] | None = None,
    utility: float = -1.0,
    round_to: int = 1,
    floor: float | int = 0.1,
    depth: DepthPath | None = None,
    ignored_layers: Iterable[str | nn.Module | nn.Parameter] = (),
    num_heads: Mapping[nn.Module, int] | None = None,
    solver: Any = None,
) -> Plan:
    """Decide what stays: `importance` ranks the units of a site, `budgets` and the solver say how many of them stay.

    `importance` is any torch-pruning importance, ours or the host's. `budgets` (one or several) all hold at once;
    `rates` instead removes a share p of every site (or of the named ones), so that ceil((1 - p) n) of n units stay.
    `layer_importance` maps site names to weights (by default a site weighs as many as layers write to it) and
    `utility` is p in sum_g w_g (a_g^p - 1)/p over the kept fractions a_g. Channels are kept in multiples of `round_to`;
    every site keeps at least `floor`, a fraction of its units or, as an int, a number of them. Nothing is changed in
    the model. Classifier outputs always stay. `depth` (an infoprune.DepthPath) drops whole blocks as well, as many as
    leave the plan worth most.
    """
    if depth is not None:
        if rates is not None:
            raise ValueError("depth needs budgets to share between blocks and channels; give budgets=[...], not rates")
        return depth.plan(
            model, example_inputs, importance, budgets=budgets, layer_importance=layer_importance, utility=utility,
            round_to=round_to, floor=floor, ignored_layers=ignored_layers, num_heads=num_heads, solver=solver,
        )  # fmt: skip
    return planned(
        model, example_inputs, importance, layer_importance=layer_importance, budgets=budgets, rates=rates,
        utility=utility, round_to=round_to, floor=floor, ignored_layers=ignored_layers, num_heads=num_heads,
        solver=solver,
    ).plan  # fmt: skip


def planned(
    model: nn.Module,
    example_inputs: Any,
    importance: ScoreGroup,
    *,
    layer_importance: LayerImportance | None = None,
    budgets: Budget | Sequence[Budget] = (),
    rates: float | Mapping[str, float] | None = None,
    utility: float = -1.0,
    round_to: int = 1,
    floor: float | int = 0.1,
    ignored_layers: Iterable[str | nn.Module | nn.Parameter] = (),
    num_heads: Mapping[nn.Module, int] | None = None,
    solver: Any = None,
) -> Planned:
    """`plan` with its evidence."""
    wanted = _checked_budgets(budgets, rates)
    _check_options(importance, round_to, floor)
    _check_weights(model)
    graph = Graph.trace(model, example_inputs, ignored_layers=ignored_layers, num_heads=num_heads)
    if not graph.sites:
        raise Untraceable(f"the model has no site that can be pruned: {graph.why_fixed()}; prune another part or model")
    scores = score_sites(graph, importance)
    steps = [round_to // math.gcd(round_to, site.step) for site in graph.sites]
    options = {"utility": utility, "round_to": round_to, "floor": floor}
    notes = {**_notes(importance), **options}
    if rates is not None:
        shown = rates if isinstance(rates, float | int) else [f"{name}={rate}" for name, rate in rates.items()]
        counts = _at_rates(graph, scores, rates, steps)
        return Planned(_plan(graph, scores, counts, {**notes, "rates": shown}), graph, scores, None)
    weights = _site_weights(graph, layer_importance)

    def allocated(chosen: Sequence[Budget]) -> Planned:
        problem = _problem(graph, scores, weights, chosen, floor=floor, steps=steps, utility=utility)
        allocation = allocate(problem, solver)
        counts = dict(zip(scores, allocation.counts.tolist(), strict=True))
        told = {**notes, **_spent(chosen, allocation)}
        return Planned(_plan(graph, scores, counts, told), graph, scores, allocation)

    return _refined(model, example_inputs, wanted, allocated)


def _refined(
    model: nn.Module, inputs: Any, budgets: Sequence[Budget], allocated: Callable[[Sequence[Budget]], Planned]
) -> Planned:
    """The plan for these budgets, made again for those that are to be measured."""
    place = next((i for i, budget in enumerate(budgets) if budget.refine), None)
    if place is None:
        return allocated(budgets)
    made, measured = refined(
        model,
        inputs,
        budgets[place],
        make=lambda budget: allocated([*budgets[:place], budget, *budgets[place + 1 :]]),
        plan_of=lambda candidate: candidate.plan,
    )
    notes = {**made.plan.made_by, "latency": str(measured), "latency_verdict": measured.verdict}
    return replace(made, plan=replace(made.plan, made_by=notes))


def score_sites(graph: Graph, importance: ScoreGroup) -> dict[str, np.ndarray]:
    """site -> one score a unit: the mean over its channels. Sites that the importance can't score are left out."""
    found = {}
    for site in graph.sites:
        group, units = graph.group(site.name)
        scores = _called(importance, group, site.name)
        if scores is None:
            continue
        if not isinstance(scores, Tensor) or scores.shape != units.shape:
            raise InfopruneError(
                f"the importance gave {_shown(scores)} for the {len(units)} channels of {site.name}; it must return "
                "one number for each"
            )
        channels = scores.detach().double().cpu().numpy()
        if not np.isfinite(channels).all():
            raise BadWeights(f"the importance of {site.name} holds NaN or infinite values; check that layer's weights")
        found[site.name] = np.bincount(units, channels, site.size) / np.bincount(units, minlength=site.size)
    if not found:
        raise Untraceable(
            f"{type(importance).__name__} scores none of the {len(graph.sites)} sites; use another importance"
        )
    return found


def _called(importance: ScoreGroup, group: Any, site: str) -> Any:
    try:
        return importance(group)
    except InfopruneError:
        raise
    except Exception as error:
        raise InfopruneError(
            f"{type(importance).__name__} failed on {site} ({type(error).__name__}: {error}); put it in "
            "ignored_layers or use another importance"
        ) from error


def _shown(scores: Any) -> str:
    return f"a tensor of shape {tuple(scores.shape)}" if isinstance(scores, Tensor) else type(scores).__name__


# -------------------------------------------------------------------------------------------------- how many stay


def _problem(
    graph: Graph, scores: Mapping[str, np.ndarray], weights: Mapping[str, float], budgets: Sequence[Budget],
    *, floor: float | int, steps: Sequence[int], utility: float,
) -> Problem:  # fmt: skip
    sizes = np.array([site.size for site in graph.sites])
    step = np.minimum(steps, sizes)
    scored = np.array([site.name in scores for site in graph.sites])
    lowest = np.maximum(1, np.ceil(floor * sizes - 1e-9) if isinstance(floor, float) else np.minimum(floor, sizes))
    lowest = np.minimum(-(-lowest // step) * step, sizes)
    prices = [budget.cost(graph) for budget in budgets]
    return Problem(
        weights=np.array([weights[site.name] for site in graph.sites])[scored],
        sizes=sizes[scored],
        costs=[_at_full_size(price, sizes, scored) for price in prices],
        limits=[budget.limit(price(sizes)) for budget, price in zip(budgets, prices, strict=True)],
        floor=lowest[scored].astype(int),
        step=step[scored],
        utility=utility,
        names=[site.name for site in graph.sites if site.name in scores],
        units=[budget.unit for budget in budgets],
    )


def _at_full_size(price: Posynomial, sizes: np.ndarray, free: np.ndarray) -> Posynomial:
    """The price as a function of the free sites' counts alone, the others being whole."""
    if free.all():
        return price
    exponents = price.exponents.toarray()
    whole = np.prod(np.where(free, 1, sizes).astype(float) ** exponents, axis=1)
    return Posynomial(price.coefficients * whole, exponents[:, free])


def _at_rates(
    graph: Graph, scores: Mapping[str, np.ndarray], rates: float | Mapping[str, float], steps: Sequence[int]
) -> dict[str, int]:
    """ceil((1 - p) n) units stay, rounded up to the step."""
    named = rates if isinstance(rates, Mapping) else dict.fromkeys(scores, rates)
    for name, rate in named.items():
        if name not in scores:
            raise UnknownName(f"rates names {name!r}, which is not a site; {nearest(name, list(scores))}")
        if not 0 <= rate < 1:
            raise ValueError(f"the rate of {name} is {rate}; it is the share to remove, from 0 to below 1")
    counts = {}
    for site, step in zip(graph.sites, steps, strict=True):
        if site.name in scores:
            kept = math.ceil((1 - named.get(site.name, 0)) * site.size - 1e-9)
            counts[site.name] = min(site.size, -(-max(1, kept) // step) * step)
    return counts


def _site_weights(graph: Graph, layer_importance: LayerImportance | None) -> Mapping[str, float]:
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
    sizes = np.array([site.size for site in graph.sites])
    kept = np.array([counts.get(site.name, site.size) for site in graph.sites])
    costs = {unit: graph.cost(unit) for unit in ("macs", "params")}
    prices = {unit: Price(round(cost(sizes)), round(cost(kept))) for unit, cost in costs.items()}
    if graph.quarantined:
        notes["quarantined"] = [f"{name}: {why}" for name, why in list(graph.quarantined.items())[:1000]]
    return Plan(edits, notes, prices, described(graph.inputs))


def _notes(importance: ScoreGroup) -> dict[str, Any]:
    return {"infoprune": version("infoprune"), "torch": torch.__version__, "importance": _described(importance)}


def _spent(budgets: Sequence[Budget], allocation: Allocation) -> dict[str, Any]:
    shown = [f"{b.unit} {'keep' if b.keep else 'at_most'}={b.keep or b.at_most}" for b in budgets]
    return {
        "budgets": shown,
        "solver": allocation.solver,
        "value": float(allocation.value),
        "bound": float(allocation.bound),
    }


def _described(importance: ScoreGroup) -> str:
    shown = repr(importance)
    return type(importance).__name__ if " object at 0x" in shown else shown[:500]


# ------------------------------------------------------------------------------------------------- at the door


def _checked_budgets(budgets: Budget | Sequence[Budget], rates: Any) -> list[Budget]:
    wanted = [budgets] if isinstance(budgets, Budget) else list(budgets)
    odd = next((b for b in wanted if not isinstance(b, Budget)), None)
    if odd is not None:
        raise TypeError(f"budgets holds {odd!r}; make budgets with infoprune.budgets.macs(keep=0.5) and the like")
    if bool(wanted) == (rates is not None):
        raise ValueError("give either budgets=[...] or rates=, not both" if wanted else "give budgets=[...] or rates=")
    return wanted


def _check_options(importance: Any, round_to: int, floor: float | int) -> None:
    if not callable(importance):
        raise TypeError(f"importance is {importance!r}; pass an object like infoprune.importance.CapacityImportance()")
    if not isinstance(round_to, int) or round_to < 1:
        raise ValueError(f"round_to is {round_to!r}; give a whole number of channels, at least 1")
    if not (0 < floor <= 1 if isinstance(floor, float) else isinstance(floor, int) and floor >= 1):
        raise ValueError(f"floor is {floor!r}; give the fraction of units that always stays, or their number as an int")


def _check_weights(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if (
            parameter.is_floating_point()
            and not bool(parameter.detach().sum().isfinite())
            and not bool(parameter.isfinite().all())
        ):
            raise BadWeights(f"{name} holds NaN or infinite values; repair or reload the model before planning")
