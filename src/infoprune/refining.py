"""A budget whose price is a prediction: plan, build, measure, and plan again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from torch import nn

from infoprune.budgets import Budget, Comparison
from infoprune.errors import Infeasible
from infoprune.graph.arguments import Arguments
from infoprune.graph.verify import structural_copy
from infoprune.surgery.plan import Plan, carry_out

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
) -> tuple[Made, Comparison]:
    """What `make(budget)` gives, made again with a smaller limit while the built model is not measured to meet it.

    Returns the last one that could be made, with how it compared: its verdict is "met", "not met" or "cannot tell".
    """
    inputs, stricter = Arguments.of(example_inputs), budget
    artefact = make(budget)
    comparison = _compared(budget, model, inputs, plan_of(artefact))
    for _ in range(ROUNDS - 1):
        if comparison.verdict == "met":
            break
        stricter = _stricter(stricter, comparison)
        try:
            candidate = make(stricter)
        except Infeasible:
            break
        artefact, comparison = candidate, _compared(budget, model, inputs, plan_of(candidate))
    return artefact, comparison


def _compared(budget: Budget, model: nn.Module, inputs: Arguments, plan: Plan) -> Comparison:
    pruned = structural_copy(model)
    carry_out(pruned, plan.edits)
    return budget.compare(model, pruned, inputs)


def _stricter(budget: Budget, comparison: Comparison) -> Budget:
    """The limit lowered by how far what was measured may be beyond the promise."""
    factor = STRICTER * min(1.0, 1 / comparison.excess)
    if budget.keep is not None:
        return replace(budget, keep=budget.keep * factor)
    return replace(budget, at_most=(budget.at_most or 0) * factor)
