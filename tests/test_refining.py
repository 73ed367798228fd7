"""A latency budget that is measured: planned again until met, and honest when it is not."""

import dataclasses

import torch_pruning as tp

import infoprune as ip
from infoprune.planning import planned
from infoprune.refining import refined
from infoprune.timing import LatencyComparison
from small_nets import Residual, image, make

L2 = tp.importance.MagnitudeImportance(p=2)


class Machine:
    """Takes `worse` times what its MACs say; each comparison is kept."""

    def __init__(self, worse: float):
        self.worse, self.found = worse, []

    def __call__(self, dense, pruned, inputs, *, keep=None, at_most=None):
        dense_ms = ip.measure(dense, inputs).macs / 1e3
        ratio = min(1.0, self.worse * ip.measure(pruned, inputs).macs / 1e3 / dense_ms)
        interval = (ratio * 0.99, ratio * 1.01)
        ms = dense_ms * ratio
        self.found.append(
            LatencyComparison(dense_ms, ms, (0.99 * ms, 1.01 * ms), ratio, interval, 31, 1, "cpu", keep, at_most)
        )
        return self.found[-1]


def run(machine, budget):
    model = make(Residual)
    return refined(
        model, image(), budget, make=lambda b: planned(model, image(), L2, budgets=[b]), plan_of=lambda m: m.plan,
        compare=machine,
    )  # fmt: skip


def test_a_prediction_that_holds_is_kept():
    machine = Machine(0.9)
    made, found = run(machine, ip.budgets.macs(keep=0.6))
    assert found.verdict == "met"
    assert len(machine.found) == 1
    assert made.plan.prices["macs"].keep > 0.55


def test_a_prediction_that_fails_is_planned_again_until_it_is_met():
    machine = Machine(1.3)
    made, found = run(machine, ip.budgets.macs(keep=0.6))
    assert found.verdict == "met"
    assert len(machine.found) > 1
    assert made.plan.prices["macs"].keep * 1.3 <= 0.6


def test_an_absolute_promise_is_kept_alike():
    machine = Machine(1.3)
    dense = ip.measure(make(Residual), image()).macs
    _, found = run(machine, dataclasses.replace(ip.budgets.macs(at_most=0.6 * dense), refine=True))
    assert found.at_most_ms == 0.6 * dense / 1e3
    assert found.verdict == "met"


def test_what_cannot_be_met_says_so_with_the_last_plan_that_could_be_made():
    made, found = run(Machine(50.0), ip.budgets.macs(keep=0.3))
    assert found.verdict == "not met"
    assert made.plan.edits


def test_the_plan_tells_the_measured_verdict():
    model = make(Residual)
    plan = ip.plan(model, image(64), L2, budgets=[ip.budgets.latency(keep=0.95, refine=True, progress=False)])
    assert plan.made_by["latency_verdict"] in ("met", "not met", "cannot tell")
    assert "rounds" in plan.made_by["latency"]
