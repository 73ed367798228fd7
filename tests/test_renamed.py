"""Names of the last release work, tell their new names, and what was written with them is read."""

from dataclasses import dataclass
from typing import ClassVar

import pytest

import infoprune as ip
from infoprune import data, families, finetune, importance
from infoprune.allocation import Posynomial, Problem
from infoprune.budgets.base import Counted
from infoprune.data import coco
from infoprune.recipe import recipe_of
from infoprune.registry import Registry
from infoprune.surgery import KeepTokens
from tests.small_nets import Residual, image, make

STAYS = {"epochs": 0, "reestimate": 0}


def test_a_budget_that_names_its_unit_is_a_budget_of_that_resource():
    with pytest.deprecated_call(match="Joules.unit is called resource now"):

        @dataclass(frozen=True, kw_only=True)
        class Joules(Counted):
            unit: ClassVar[str] = "joules"

            def cost(self, graph: ip.Graph) -> Posynomial:
                return graph.cost("macs")

            def measure(self, model, inputs) -> float:
                return 1.0

    assert (Joules.resource, str(Joules(keep=0.5))) == ("joules", "joules keep=0.5")
    with pytest.deprecated_call(match="Joules.unit is called resource now"):
        assert Joules(keep=0.5).unit == "joules"


def test_units_of_a_problem_are_its_resources():
    price = Posynomial.quadratic([[0.0]], [1.0])
    with pytest.deprecated_call(match=r"Problem\(units=\) is called resources= now"):
        problem = Problem(weights=[1.0], sizes=[4], costs=[price], limits=[3.0], units=["MACs"])
    assert list(problem.resources) == ["MACs"]
    with pytest.deprecated_call(match="Problem.units is called resources now"):
        assert list(problem.units) == ["MACs"]


def test_arguments_that_were_participles_are_nouns():
    with pytest.deprecated_call(match=r"Budget\.parse\(told=\) is called limit= now"):
        assert ip.budgets.macs.parse(told="0.5") == ip.budgets.macs(keep=0.5)
    sections = {"schema": 1, "model": {"name": "resnet20_cifar"}, "data": {"name": "digits"}, "budget": {"macs": 0.5}}
    with pytest.deprecated_call(match=r"recipe_of\(told=\) is called sections= now"):
        assert recipe_of(told=sections) == recipe_of(sections)
    with pytest.deprecated_call(match=r"evaluate\(found=\) is called detections= now"):
        assert [score.ap for score in coco.evaluate(None, found=[]).values()] == [0.0, 0.0]


def test_what_a_graph_is_asked_to_price_is_a_resource():
    graph = ip.Graph.trace(make(Residual), image())
    sizes = [site.size for site in graph.sites]
    with pytest.deprecated_call(match=r"Graph\.cost\(unit=\) is called resource= now"):
        assert graph.cost(unit="params")(sizes) == graph.cost("params")(sizes)


def test_a_name_that_a_registry_files_otherwise_now_finds_the_same():
    made = Registry("test thing")
    made.register("new_name")(dict)
    made.rename("old+name", "new_name")
    with pytest.deprecated_call(match=r"test thing 'old\+name' is called 'new_name' now"):
        assert made["old+name"] is dict
    assert made.current("old+name") == made.current("new_name") == "new_name"
    assert list(made) == ["new_name"]


def test_old_words_of_a_recipe_are_read_as_the_new_ones():
    sections = {"schema": 1, "model": {"name": "deit_tiny_patch16_224"}, "data": {"name": "digits"}}
    for old, new in (("corrected", "excess"), ("plug-in", "value")):
        told = recipe_of({**sections, "split": {"at": "blocks", "share": 0.5, "estimate": old}, "finetune": STAYS})
        assert told.split.estimate == new
    told = recipe_of({**sections, "tokens": {"keep": 0.5, "score": "capacity+independence"}})
    assert told.tokens.score == "capacity_independence"


def test_a_plan_that_was_written_with_an_old_score_is_read_as_the_new_one():
    edit = KeepTokens("blocks.0", 16, 8, 1, "capacity_independence", 4)
    assert KeepTokens.from_json({**edit.to_json(), "score": "capacity+independence"}) == edit


def test_an_edit_by_an_old_score_is_by_the_new_one():
    with pytest.deprecated_call(match="called 'class_attention' now"):
        assert KeepTokens("blocks.0", 16, 8, 1, "class-attention", 4).score == "class_attention"


@pytest.mark.parametrize(
    ("package", "old", "new"),
    [
        (finetune, "Workers", finetune.Processes),
        (data, "told_by", data.named_by),
        (families, "record", families.dataflow_of),
        (importance, "register", importance.importances.register),
    ],
)
def test_old_names_of_a_package_are_the_new_things(package, old, new):
    with pytest.deprecated_call(match=f"{package.__name__}.{old} is called"):
        assert getattr(package, old) == new
    with pytest.raises(AttributeError, match="has no attribute 'nobody'"):
        _ = package.nobody
