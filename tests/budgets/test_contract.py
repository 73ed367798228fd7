"""Every budget, a newcomer among them: words, limits, prices that hold, verdicts; named in recipes and commands."""

import json
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from tests.budgets.conftest import small_llama
from tests.small_nets import Residual, image, make

import infoprune as ip
from infoprune.budgets import Counted, budgets
from infoprune.cli import main
from infoprune.errors import BadRecipe
from infoprune.graph.counting import count_macs
from infoprune.recipe import recipe_of, run

JOULES_A_MAC = 1e-3


@dataclass(frozen=True, kw_only=True)
class Joules(Counted):
    """Energy of one forward pass, at a millijoule a multiply-add."""

    resource: ClassVar[str] = "joules"

    def cost(self, graph):
        return JOULES_A_MAC * graph.cost("macs")

    def measure(self, model, inputs):
        return JOULES_A_MAC * count_macs(model, inputs)


@pytest.fixture(autouse=True)
def _joules():
    budgets.register("joules")(Joules)
    yield
    del budgets._factories["joules"]


OPTIONS = {"bits": {"at": "one"}}
NETS = {"kv_cache": (small_llama, lambda: torch.randint(0, 60, (2, 9)))}
NAMES = [*budgets, "joules"]
COUNTED = [name for name in NAMES if issubclass({**budgets, "joules": Joules}[name], Counted)]
L2 = ip.importance.IndependenceImportance()


def made(name, **limit):
    return budgets[name](**limit, **OPTIONS.get(name, {}))


@pytest.mark.parametrize("name", NAMES)
def test_a_budget_says_what_it_is(name):
    assert budgets[name].__doc__.strip()
    assert str(made(name, keep=0.5)) == f"{budgets[name].resource} keep=0.5"
    assert made(name, keep=0.25).limit(1001) == (250 if budgets[name].whole else 250.25)
    assert made(name, at_most=123.0).limit(1000) == 123
    for wrong in ({}, {"keep": 0.5, "at_most": 5.0}, {"keep": 2}, {"keep": 0}, {"at_most": float("inf")}):
        with pytest.raises(ValueError, match=r"give|fraction"):
            made(name, **wrong)


@pytest.mark.parametrize("name", NAMES)
def test_shares_are_read_and_nonsense_is_refused(name):
    assert budgets[name].parse(0.5) == budgets[name].parse("0.5") == budgets[name](keep=0.5)
    for wrong in ("fast", 0, -1, "-0.5", "nan", float("inf"), "1e999", ""):
        with pytest.raises(ValueError, match="give a share that remains, above 0 and at most 1, or a"):
            budgets[name].parse(wrong)


@pytest.mark.parametrize(
    ("name", "told", "at_most"),
    [
        ("macs", "2e6", 2e6),
        ("params", 5000, 5000),
        ("bytes", "500MB", 5e8),
        ("kv_cache", "1.5GiB", 1.5 * 2**30),
        ("kv_cache", 5000, 5000),
        ("latency", "8ms", 8000),
        ("joules", 12, 12),
        ("joules", "1.5", 1.5),
    ],
)
def test_amounts_are_read(name, told, at_most):
    assert budgets[name].parse(told).at_most == at_most


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("macs", 5),
        ("macs", "8ms"),
        ("bytes", 5),
        ("bytes", "5iB"),
        ("kv_cache", "2GX"),
        ("latency", 8),
        ("latency", "8 parsecs"),
    ],
)
def test_what_is_neither_a_share_nor_an_amount_is_refused(name, told):
    with pytest.raises(ValueError, match="give a share"):
        budgets[name].parse(told)


@pytest.mark.parametrize(
    "name", [name for name in NAMES if issubclass(budgets[name] if name != "joules" else Joules, Counted)]
)
def test_a_counted_price_is_what_is_counted_on_the_network_that_is_built(name):
    build, shown = NETS.get(name, (lambda: make(Residual), image))
    model, x, budget = build(), shown(), made(name, keep=0.6)
    graph = ip.Graph.trace(model, x)
    cost, dense = budget.cost(graph), budget.measure(model, (x,))
    assert cost([site.size for site in graph.sites]) == pytest.approx(dense, rel=1e-12)
    plan = ip.plan(model, x, L2, budgets=[budget])
    pruned = ip.prune_(build(), x, plan)
    after = budget.measure(pruned, (x,))
    counts = [plan.widths.get(site.name, site.size) for site in graph.sites]
    assert cost(np.array(counts)) == pytest.approx(after, rel=1e-12)
    assert 0.4 * dense < after <= budget.limit(dense)
    assert budget.compare(model, pruned, (x,)).verdict == "met"
    assert budget.compare(model, model, (x,)).verdict == "not met"


def test_a_newcomer_can_be_named_on_the_command_line(capsys):
    words = ["plan", "resnet20_cifar", "--input", "1x3x32x32", "--num-classes", "5", "--json"]

    def planned(*budget):
        assert main([*words, *budget]) == 0
        return json.loads(capsys.readouterr().out)

    half = planned("--budget", "joules=0.5")
    assert half["edits"] == planned("--macs", "0.5")["edits"] == planned("--budget", "macs=0.5")["edits"]
    dense = half["prices"]["macs"][0]
    fixed = planned("--budget", f"joules={JOULES_A_MAC * dense / 4}", "--budget", "params=0.9")
    assert fixed["prices"]["macs"][1] <= dense / 4
    assert fixed["made_by"]["budgets"][0].startswith("joules at_most=")


@pytest.mark.parametrize(
    ("budget", "told"),
    [
        ("joule=0.5", "did you mean 'joules'"),
        ("joules=-3", "--budget joules is -3.0; give a share"),
        ("latency=8", "--latency is 8.0; give a share that remains, above 0 and at most 1, or a duration such as 8ms"),
    ],
)
def test_a_wrong_budget_on_the_command_line_is_wrong_usage(budget, told, capsys):
    assert main(["plan", "mobilenetv2_035", "--budget", budget]) == 2
    assert told in " ".join(capsys.readouterr().err.split())


def test_a_budget_without_a_limit_is_told_how_to_write_one(capsys):
    with pytest.raises(SystemExit) as found:
        main(["plan", "mobilenetv2_035", "--budget", "joules"])
    assert found.value.code == 2
    assert "NAME=LIMIT" in capsys.readouterr().err


def recipe(**budget):
    return {
        "schema": 1,
        "model": {"name": "resnet20_cifar"},
        "data": {"name": "digits", "batch": 32},
        "layer_importance": {"name": "uniform"},
        "budget": budget,
        "finetune": {"epochs": 0, "reestimate": 0},
        "report": {"latency": False, "baseline_epochs": 0},
    }


def test_an_amount_of_a_newcomer_is_no_share():
    assert recipe_of(recipe(joules=12)).budget.budgets == {"joules 12": Joules(at_most=12.0)}
    assert recipe_of(recipe(joules=0.5)).budget.budgets == {"joules 0.5": Joules(keep=0.5)}
    with pytest.raises(BadRecipe, match=r"budget\.joules is -1\.0; give a share"):
        recipe_of(recipe(joules=-1))


@pytest.mark.usefixtures("few_digits")
def test_every_budget_of_a_recipe_has_its_verdict(tmp_path):
    report = run(recipe_of(recipe(joules=5000, activations=0.9, macs=0.6)), tmp_path / "out")
    assert JOULES_A_MAC * report.before.macs > 5000 >= JOULES_A_MAC * report.after.macs
    assert report.budgets == {"joules 5000": "met", "activations 0.9": "met", "macs 0.6": "met"}


def test_what_is_not_met_is_told():
    budget, x = ip.budgets.activations(keep=0.01), image()
    found = budget.compare(make(Residual), make(Residual), (x,))
    assert found.verdict == "not met"
    assert "activations of" in str(found)
