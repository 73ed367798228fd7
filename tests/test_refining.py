"""A latency budget that is measured: planned again until met, and honest when it is not."""

from dataclasses import dataclass, field
from typing import ClassVar

import pytest
import torch_pruning as tp

import infoprune as ip
from infoprune.budgets import Budget
from infoprune.planning import planned
from infoprune.refining import refined
from infoprune.timing import LatencyComparison
from tests.small_nets import Residual, image, make

L2 = tp.importance.MagnitudeImportance(p=2)


@dataclass(frozen=True, kw_only=True)
class Slow(Budget):
    """Predicted by MACs, of which a thousand take a millisecond; measured, networks take `worse` times as long."""

    resource: ClassVar[str] = "macs"
    worse: float = 1.0
    found: list = field(default_factory=list, compare=False)  # each comparison that was made

    def cost(self, graph):
        return graph.cost("macs")

    def compare(self, dense, pruned, inputs):
        dense_ms = ip.measure(dense, inputs).macs / 1e3
        ratio = min(1.0, self.worse * ip.measure(pruned, inputs).macs / 1e3 / dense_ms)
        interval = (ratio * 0.99, ratio * 1.01)
        ms, at_most = dense_ms * ratio, None if self.at_most is None else self.at_most / 1e3
        self.found.append(
            LatencyComparison(dense_ms, ms, (0.99 * ms, 1.01 * ms), ratio, interval, 31, 1, "cpu", self.keep, at_most)
        )
        return self.found[-1]


def run(budget):
    model = make(Residual)
    return refined(
        model, image(), budget, make=lambda b: planned(model, image(), L2, budgets=[b]), plan_of=lambda m: m.plan
    )


def test_a_prediction_that_holds_is_kept():
    budget = Slow(keep=0.6, worse=0.9)
    made, found = run(budget)
    assert found.verdict == "met"
    assert len(budget.found) == 1
    assert made.plan.prices["macs"].keep > 0.55


def test_a_prediction_that_fails_is_planned_again_until_it_is_met():
    budget = Slow(keep=0.6, worse=1.3)
    made, found = run(budget)
    assert found.verdict == "met"
    assert len(budget.found) > 1
    assert made.plan.prices["macs"].keep * 1.3 <= 0.6


def test_an_absolute_promise_is_kept_alike():
    dense = ip.measure(make(Residual), image()).macs
    _, found = run(Slow(at_most=0.6 * dense, worse=1.3))
    assert found.at_most_ms == 0.6 * dense / 1e3
    assert found.verdict == "met"


def test_what_cannot_be_met_says_so_with_the_last_plan_that_could_be_made():
    made, found = run(Slow(keep=0.3, worse=50.0))
    assert found.verdict == "not met"
    assert made.plan.edits


@pytest.mark.slow  # the command tells it in tests/cli, for the same seconds of timing
def test_the_plan_tells_the_measured_verdict():
    model = make(Residual)
    plan = ip.plan(model, image(64), L2, budgets=[ip.budgets.latency(keep=0.95, refine=True, progress=False)])
    assert plan.made_by["latency_verdict"] in ("met", "not met", "cannot tell")
    assert "rounds" in plan.made_by["latency"]


def test_a_plan_is_refined_for_whatever_budget_is_measured():
    model, budget = make(Residual), Slow(keep=0.6, worse=1.3, refine=True)
    plan = ip.plan(model, image(), L2, budgets=[budget])
    assert plan.prices["macs"].keep * 1.3 <= 0.6
    assert len(budget.found) > 1
