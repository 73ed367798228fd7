"""A latency budget that is predicted first and then measured: plan, build, time, and plan again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from torch import nn

from infoprune.budgets import Budget
from infoprune.errors import Infeasible
from infoprune.graph.verify import structural_copy
from infoprune.surgery.plan import Plan, carry_out
from infoprune.timing import LatencyComparison, compare_latency

ROUNDS = 4
STRICTER = 0.98  # aim a little below what would just do, since the interval has to fit as well

Made = TypeVar("Made")


def refined(
    model: nn.Module,
    example_inputs: Any,
    budget: Budget,
    *,
    make: Callable[[Budget], Made],
    plan_of: Callable[[Made], Plan],
    compare: Callable[..., LatencyComparison] = compare_latency,
) -> tuple[Made, LatencyComparison]:
    """What `make(budget)` gives, made again with a smaller limit while the built model is not measured to meet it.

    Returns the last one that could be made, with how it compared: its verdict is "met", "not met" or "cannot tell".
    """
    promised = {"keep": budget.keep} if budget.keep else {"at_most": (budget.at_most or 0) / 1e3}
    made = make(budget)
    found = _measured(model, example_inputs, plan_of(made), promised, compare)
    for _ in range(ROUNDS - 1):
        if found.verdict == "met":
            break
        budget = _stricter(budget, found)
        try:
            candidate = make(budget)
        except Infeasible:
            break
        made, found = candidate, _measured(model, example_inputs, plan_of(candidate), promised, compare)
    return made, found


def _measured(
    model: nn.Module, inputs: Any, plan: Plan, promised: dict, compare: Callable[..., LatencyComparison]
) -> LatencyComparison:
    pruned = structural_copy(model)
    carry_out(pruned, plan.edits)
    return compare(model, pruned, inputs, **promised)


def _stricter(budget: Budget, found: LatencyComparison) -> Budget:
    """The limit lowered by how far the upper end of the measured interval was beyond the promise."""
    if budget.keep is not None:
        return replace(budget, keep=budget.keep * STRICTER * min(1.0, (found.keep or 1.0) / found.ratio_interval[1]))
    promised, measured = found.at_most_ms or 1.0, found.pruned_interval_ms[1]
    return replace(budget, at_most=(budget.at_most or 0) * STRICTER * min(1.0, promised / measured))
