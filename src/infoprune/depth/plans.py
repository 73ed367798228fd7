"""Algorithm 1: decide which units leave, once or in stages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from infoprune.budgets import Budget, Counted
from infoprune.budgets.base import Counts
from infoprune.depth.prices import prices_of, without
from infoprune.depth.strategies import Energy, Strategy, chooser
from infoprune.depth.units import removals, removals_or_error
from infoprune.errors import Infeasible, StaleObservations
from infoprune.graph.arguments import Arguments
from infoprune.graph.wrappers import bare
from infoprune.planning.checks import listed
from infoprune.surgery.blocks import DropBlock
from infoprune.surgery.inputs import described
from infoprune.surgery.plan import Plan


def plan_depth(
    model: nn.Module,
    example_inputs: Any,
    seen: Mapping[str, Energy],
    *,
    clusters: int | None = None,
    keep_units: int | None = None,
    budgets: Budget | Sequence[Budget] = (),
    strategy: Strategy = "clusters",
    seed: int = 0,
) -> Plan:
    """Decide which skip units stay, by how much their branches depend on the labels; the others leave whole.

    Give one of `clusters`, `keep_units` and `budgets`. Nothing is changed in the model. Strategies:

    - "clusters": optimal k-means on the energies; in each cluster the unit with the largest stays, as the
      paper's text says.
    - "centroids": the unit nearest to each cluster's centre stays, as Algorithm 1 says.
    - "largest": the units with the largest energies stay.
    - "random": units drawn with `seed` stay.
    - "greedy": relevance to the labels less redundancy among the units, summed as in section 3.3 and
      maximised one unit at a time; both are distance correlations, from `unit_energies(...,
      correlations=True)`.

    Args:
        model: The network.
        example_inputs: What its forward takes.
        seen: Energies of units, or (energy, standard error): see `unit_energies`.
        clusters: K, the number of clusters, of each of which one unit stays.
        keep_units: How many units stay; the same number by another name.
        budgets: As many units stay as meet them all. For a latency budget reduced copies are timed in turn with the
            model, which takes some seconds each.
        strategy: Which units stay, as above.
        seed: Of "random".
    """
    model, inputs = bare(model), Arguments.of(example_inputs)
    wanted = listed(budgets)
    edits = removals_or_error(model, example_inputs)
    count = _checked_count(clusters, keep_units, wanted, len(edits))
    choose = chooser(strategy, [edit.unit.name for edit in edits], seen, seed)
    stay = choose(count) if count is not None else _within(model, inputs, edits, choose, wanted, strategy)
    gone = tuple(edit for edit in edits if edit.unit.name not in stay)
    notes = {
        "infoprune": version("infoprune"),
        "torch": torch.__version__,
        "strategy": strategy,
        "units": len(edits),
        "stay": [edit.unit.name for edit in edits if edit.unit.name in stay],
        "budgets": [str(budget) for budget in wanted],
        **({"seed": seed} if strategy == "random" else {}),
    }
    return Plan(gone, notes, prices_of(model, inputs, gone), described(inputs))


def stages(
    model: nn.Module,
    example_inputs: Any,
    see: Callable[[nn.Module], Mapping[str, Energy]],
    *,
    clusters: Sequence[int],
    strategy: Strategy = "clusters",
    seed: int = 0,
) -> Iterator[Plan]:
    """Algorithm 1, plan after plan: apply each with `prune_` and train before asking for the next.

    A number of units that the model has reached already is passed over, so the same call goes on with a model that was
    saved between two stages.

        for plan in stages(model, x, lambda model: unit_energies(model, loader, x), clusters=[20, 15, 10]):
            prune_(model, x, plan)  # then train

    Args:
        model: The network, which is pruned and trained between two plans.
        example_inputs: What its forward takes.
        see: Gives the energies of the model as it is then.
        clusters: K^t, the numbers of units that stay, falling.
        strategy: As in `plan_depth`.
        seed: As in `plan_depth`.
    """
    if any(later >= earlier for earlier, later in pairwise(clusters)):
        raise ValueError(f"clusters is {list(clusters)}; every stage must keep fewer units than the one before")
    for count in clusters:
        now = len(removals_or_error(model, example_inputs))
        if count < now:
            yield plan_depth(model, example_inputs, see(model), clusters=count, strategy=strategy, seed=seed)
            left = len(removals(model, example_inputs))
            if left != count:
                raise StaleObservations(
                    f"the stage keeps {count} units and the model has {left}; apply each plan by prune_()"
                )


def _checked_count(clusters: int | None, keep_units: int | None, budgets: list[Budget], units: int) -> int | None:
    choices = {"clusters": clusters, "keep_units": keep_units, "budgets": budgets or None}
    named = {name: value for name, value in choices.items() if value is not None}
    if len(named) != 1:
        raise ValueError(f"give one of clusters=, keep_units= and budgets=, not {' and '.join(named) or 'none'}")
    if budgets:
        return None
    ((name, count),) = named.items()
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= units:
        raise ValueError(f"{name} is {count!r}; the model has {units} skip units, so give a number from 1 to {units}")
    return count


def _within(
    model: nn.Module, inputs: Arguments, edits: Sequence[DropBlock], choose: Callable[[int], set[str]],
    budgets: Sequence[Budget], strategy: str,
) -> set[str]:  # fmt: skip
    """The most units that meet every budget. What is not counted takes long to measure, so it is searched by halves."""
    limits = {b: b.limit(b.measure(model, inputs)) for b in budgets if isinstance(b, Counted)}
    timed = [budget for budget in budgets if budget not in limits]

    def reduced_to(count: int) -> nn.Module:
        stay = choose(count)
        return without(model, [edit for edit in edits if edit.unit.name not in stay])

    def why_not(count: int) -> str:
        reduced = reduced_to(count)
        counts = [Counts(b.resource, b.measure(reduced, inputs), limit) for b, limit in limits.items()]
        over = ", ".join(str(count) for count in counts if count.verdict != "met")
        return over or next((reason for b in timed if (reason := _unmet(b, model, reduced, inputs))), "")

    most = _most_by_halves(len(edits), why_not) if timed else _most(len(edits), why_not)
    if most is None:
        reason = f"with one unit left ({strategy}) the model costs {why_not(1)}"
        raise Infeasible(f"{reason}; raise the budget or prune channels too")
    return choose(most)


def _most(units: int, why_not: Callable[[int], str]) -> int | None:
    return next((count for count in range(units, 0, -1) if not why_not(count)), None)


def _most_by_halves(units: int, why_not: Callable[[int], str]) -> int | None:
    """The same if fewer units never cost more, in about log2(units) questions."""
    good, bad = 0, units + 1
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if not why_not(middle) else (good, middle)
    return good or None


def _unmet(budget: Budget, model: nn.Module, reduced: nn.Module, inputs: Arguments) -> str:
    """What was measured, unless all of it is surely within the budget."""
    comparison = budget.compare(model, reduced, inputs)
    return "" if comparison.verdict == "met" else str(comparison)
