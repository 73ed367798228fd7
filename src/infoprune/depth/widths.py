"""Depth and width together: blocks leave along one path, channels share what the budgets leave each depth."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import nn

from infoprune.allocation import utility_of
from infoprune.budgets import Budget
from infoprune.depth.prices import params_of, price_of, without
from infoprune.depth.remaining_sites import carried, carried_layers, same_sites
from infoprune.depth.strategies import Energy, Strategy, nested_path
from infoprune.depth.units import removals_or_error
from infoprune.errors import Infeasible
from infoprune.graph import Graph
from infoprune.graph.arguments import Arguments
from infoprune.graph.counting import count_macs
from infoprune.graph.wrappers import bare
from infoprune.planning import LayerImportance, Planned, ScoreGroup, planned, site_weights
from infoprune.planning.checks import listed
from infoprune.planning.shares import LEAST, Share, Shares, by_name, check_floor, floors_by_site, shown, usual
from infoprune.surgery.blocks import DropBlock
from infoprune.surgery.plan import Plan, Price, carry_out


@dataclass(frozen=True)
class Depth:
    """One number of units that stay, with the widths that the budgets leave it, and what that is worth.

    `width` is the share of channels that stay in the units that do, summed over all sites.
    """

    units: int
    worth: float
    plan: Plan
    width: float


@dataclass(frozen=True)
class DepthAndWidth:
    """The depths that were tried and the plan worth most. `unreachable`: depth -> why it was left out."""

    plan: Plan
    depths: tuple[Depth, ...]
    measure: str
    unreachable: Mapping[int, str]

    def __str__(self) -> str:
        units = list(self.plan.prices)
        lines = [f"{'units':>5}  {'channels':>8}  {self.measure:>12}  " + "  ".join(f"{unit:>15}" for unit in units)]
        for depth in self.depths:
            prices = "  ".join(f"{depth.plan.prices[unit].after:>15,}" for unit in units)
            chosen = "  <- chosen" if depth.plan is self.plan else ""
            lines.append(f"{depth.units:>5}  {depth.width:>8.1%}  {depth.worth:>12.4f}  {prices}{chosen}")
        return "\n".join([*lines, *(f"{n:>5}  {why}" for n, why in self.unreachable.items())])


@dataclass(frozen=True)
class DepthPath:
    """`ip.plan(..., depth=DepthPath(seen), budgets=[...])`: blocks leave along one path, channels share the rest.

    `plan_depth_and_width` also tells what each depth was worth.

    Args:
        seen: The energy of every skip unit, from `unit_energies`; says which blocks leave first.
        depths: Numbers of units that stay; by default up to five, evenly from all to half of them.
        probe: What a pruned model is worth, as in `plan_depth_and_width`.
        strategy: How the path takes away one unit at a time, as in `plan_depth_and_width`.
        seed: Of the strategy.
    """

    seen: Mapping[str, Energy]
    depths: Sequence[int] | None = None
    probe: Callable[[nn.Module], float] | None = None
    strategy: Strategy = "clusters"
    seed: int = 0

    def plan(self, model: nn.Module, example_inputs: Any, importance: ScoreGroup, **options: Any) -> Plan:
        """The plan of blocks and channels that is worth most under the budgets; `plan(depth=...)` asks for it.

        Args:
            model: The network.
            example_inputs: What its forward takes.
            importance: Ranks the channels of a site.
            **options: Further arguments of `plan_depth_and_width`.
        """
        choice = {"depths": self.depths, "probe": self.probe, "strategy": self.strategy, "seed": self.seed}
        return plan_depth_and_width(model, example_inputs, importance, self.seen, **choice, **options).plan


def plan_depth_and_width(
    model: nn.Module,
    example_inputs: Any,
    importance: ScoreGroup,
    seen: Mapping[str, Energy],
    *,
    budgets: Budget | Sequence[Budget],
    depths: Sequence[int] | None = None,
    probe: Callable[[nn.Module], float] | None = None,
    seed: int = 0,
    strategy: Strategy = "clusters",
    layer_importance: LayerImportance | None = None,
    utility: float = -1.0,
    floor: Shares = LEAST,
    **options: Any,
) -> DepthAndWidth:
    """Drop blocks along one nested path, give each depth the widths that the budgets leave it; keep the best.

    Args:
        model: The network.
        example_inputs: What its forward takes.
        importance: Any torch-pruning importance, ours or the host's; ranks the channels of a site.
        seen: The energy of every skip unit, from `unit_energies`; says which blocks leave first.
        budgets: One or several, all of which every depth meets; prices are those of the dense and the planned model.
        depths: Numbers of units that stay; by default up to five, evenly from all to half of them.
        probe: What the pruned model is worth, say its accuracy once its norms are estimated again. It gets a copy,
            which it may train. Without it depths are compared by the utility of all sites of the dense model, where a
            site that left with its block counts as one kept at `floor`.
        seed: Of the strategy.
        strategy: How the path takes away one unit at a time; "clusters": the one that K = |S| - 1 clusters of the
            remaining energies merge.
        layer_importance: Weights of sites by name; asked once, about the dense model.
        utility: As in `plan`.
        floor: As in `plan`.
        **options: Further arguments of `plan`.
    """
    model, inputs = bare(model), Arguments.of(example_inputs)
    check_floor(floor := by_name(model, floor, "floor"))
    options = {name: tuple(v) if name in ("ignored_layers", "head_dims") else v for name, v in options.items()}
    wanted = listed(budgets)
    edits = removals_or_error(model, example_inputs)
    counts = _checked_depths(depths, len(edits))
    path = nested_path(strategy, [edit.unit.name for edit in edits], seen, seed)
    limits = [replace(b, keep=None, at_most=b.limit(price_of(b, model, inputs))) for b in wanted]
    dense = Graph.trace(model, inputs, **_followed(options))
    weights = site_weights(dense, layer_importance)
    own_floors = floors_by_site(dense, floor)
    floor_of = {site.name: own_floors.get(site.name, usual(floor)) for site in dense.sites}
    shared = {"budgets": limits, "utility": utility, "floor": _carrying(own_floors, dense) if own_floors else floor}
    shared["layer_importance"] = None if layer_importance is None else _carrying(weights, dense)
    candidates, unreachable = [], dict[int, str]()
    for count in counts:
        gone = [edit for edit in edits if edit.unit.name not in path[count]]
        try:
            rest = without(model, gone)
            widths = planned(rest, example_inputs, importance, **shared, **carried_layers(options, model, rest))
        except Infeasible as error:
            unreachable[count] = str(error)
            continue
        plan = _joined(model, inputs, gone, widths.plan, {"depth": strategy, "floor": shown(floor)})
        worth = _probed(model, plan, probe) if probe else _utility(dense, weights, widths, utility, floor_of)
        candidates.append(Depth(count, worth, plan, _width(widths)))
    return _best_of(candidates, unreachable, "utility" if probe is None else "probe")


def _best_of(candidates: Sequence[Depth], unreachable: dict[int, str], measure: str) -> DepthAndWidth:
    """The depth that is worth most; Infeasible where none is within reach."""
    if not candidates:
        fewest, most = min(unreachable), max(unreachable)
        raise Infeasible(f"no depth from {fewest} to {most} units meets the budgets: {unreachable[fewest]}")
    best = max(candidates, key=lambda depth: depth.worth)
    return DepthAndWidth(best.plan, tuple(candidates), measure, unreachable)


def _carrying(values: Mapping[str, Any], dense: Graph) -> Callable[[Graph], Any]:
    """What was told of the dense network's sites, for the network without some of its blocks."""
    return lambda graph: carried(values, dense, graph)


def _width(widths: Planned) -> float:
    sizes = {site.name: site.size for site in widths.graph.sites}
    return sum((sizes | widths.plan.widths).values()) / sum(sizes.values())


def _checked_depths(depths: Sequence[int] | None, units: int) -> list[int]:
    chosen = np.linspace(units, max(1, units // 2), min(5, units)).round() if depths is None else depths
    counts = sorted({int(n) for n in chosen}, reverse=True)
    if not counts or not 1 <= counts[-1] <= counts[0] <= units:
        raise ValueError(
            f"depths is {list(depths or ())}; the model has {units} skip units, so give 1 to {units} of them"
        )
    return counts


def _joined(model: nn.Module, inputs: Arguments, gone: Sequence[DropBlock], widths: Plan, notes: dict) -> Plan:
    """Blocks and channels as one plan for the dense model."""
    macs, params = count_macs(model, inputs), params_of(model)
    prices = {"macs": Price(macs, widths.prices["macs"].after), "params": Price(params, widths.prices["params"].after)}
    notes = {**widths.made_by, **notes, "dropped": [edit.unit.name for edit in gone]}
    return Plan((*gone, *widths.edits), notes, prices, widths.inputs)


def _followed(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: options[name] for name in ("ignored_layers", "num_heads", "head_dims", "also") if name in options}


def _probed(model: nn.Module, plan: Plan, probe: Callable[[nn.Module], float]) -> float:
    pruned = copy.deepcopy(model)
    carry_out(pruned, plan.edits)
    return float(probe(pruned))


def _utility(
    dense: Graph, weights: Mapping[str, float], widths: Planned, power: float, floor: Mapping[str, Share]
) -> float:
    """sum_g w_g (a_g^p - 1) / p over the dense model's sites."""
    now = {dense_name: name for name, dense_name in same_sites(widths.graph, dense).items()}
    kept = {site.name: site.size for site in widths.graph.sites} | widths.plan.widths
    total = 0.0
    for site in dense.sites:
        least = bound if isinstance(bound := floor[site.name], float) else min(1.0, bound / site.size)
        share = kept[now[site.name]] / site.size if site.name in now else least
        total += weights[site.name] * utility_of(share, power)
    return float(total) + widths.token_utility
