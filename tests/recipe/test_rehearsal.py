"""What is wrong in a recipe is told before anything is trained or written; a dry run prices what will run."""

import json
from itertools import islice, permutations

import pytest
import torch
import yaml
from tests.recipe.test_running import data_file

import infoprune as ip
from infoprune.cli import main
from infoprune.data import datasets, facts_of
from infoprune.errors import BadRecipe, Infeasible, NotACut, UnknownName
from infoprune.recipe import read_recipe, recipe_of, run, running
from infoprune.recipe.basis import Basis
from infoprune.recipe.cuts import cuts_of
from infoprune.recipe.cuts import depth as depth_cut
from infoprune.recipe.cuts import joint as joint_cut
from infoprune.recipe.networks import build_network
from infoprune.recipe.pricing import price
from infoprune.recipe.tasks import task_of

SHORT = {"epochs": 1, "reestimate": 0}
NO_TUNING = {"epochs": 0, "reestimate": 0}
QUIET = {"latency": False, "baseline_epochs": 0}


def told(root, **sections):
    given = {
        "schema": 1,
        "model": {"name": "resnet8_cifar", "train_epochs": 1},
        "data": {"name": "tensors", "root": str(data_file(root)), "batch": 16, "calibration": 32},
        "layer_importance": {"name": "uniform"},
        "budget": {"macs": 0.5},
        "finetune": SHORT,
        "report": QUIET,
        **sections,
    }
    return {name: section for name, section in given.items() if section is not None}


VIT = {"model": {"name": "test_vit"}, "budget": None}
SCENES = {"data": {"name": "scenes", "size": 32, "scenes": 2, "held_out": 2}, "model": {"name": "small_three_task"},
          "budget": None, "finetune": NO_TUNING}  # fmt: skip

# what is written, which error, and what it tells; the first ones are found as the recipe is read
WHEN_READ = {
    "batch": ({"budget": {"macs": 0.5, "batch": 8}}, BadRecipe, r"budget\.batch is 8; give it with a latency"),
    "utility": ({"budget": {"macs": 0.5, "utility": 0.5}}, BadRecipe, r"budget\.utility is 0\.5; give a power"),
    "beta": ({"layer_importance": {"name": "nhsic", "beta": -1}}, BadRecipe, r"layer_importance\.beta is -1"),
    "relevance": ({"layer_importance": {"name": "bottleneck", "relevance": -2}}, BadRecipe, "relevance is -2"),
    "trust": ({"layer_importance": {"name": "curves", "trust": 7}}, BadRecipe, r"layer_importance\.trust is 7"),
    "schedule": ({**VIT, "tokens": {"keep": 0.7, "schedule": {2: 0.5}}}, BadRecipe, "both keep and a schedule"),
    "no schedule": ({**VIT, "tokens": {"score": "paper"}}, BadRecipe, "neither keep nor a schedule"),
    "share of tokens": ({**VIT, "tokens": {"schedule": {2: 1.5}}}, BadRecipe, r"tokens\.schedule\.2 is 1\.5"),
    "score": ({**VIT, "tokens": {"keep": 0.7, "score": "capacitty"}}, BadRecipe, "did you mean 'capacity'"),
}
WHEN_READ |= {
    "probe": ({"budget": None, "depth": {"probe": 2}}, BadRecipe, r"depth\.probe is 2"),
    "tolerance": ({"budget": None, "depth": {"probe": 0.1, "tolerance": -1}}, BadRecipe, r"depth\.tolerance is -1"),
    "two ways": ({"budget": None, "depth": {"probe": 0.1, "keep_units": 2}}, BadRecipe, "needs one of keep_units"),
    "cells": ({**SCENES, "split": {"at": "backbone.neck", "share": 0.5, "cells": 0}}, BadRecipe, r"split\.cells is 0"),
}
JOINT = {"joint": True, "samples": 32}
WHEN_REHEARSED = {
    "stages": (
        {"budget": None, "depth": {"stages": 3, "probe": 0.1, "samples": 32}},
        Infeasible,
        "3 stages for the network's 3 units",
    ),
    "budget": ({"budget": {"macs": 1e-4}}, Infeasible, "cheapest reachable"),
    "budget after blocks": (
        {"budget": {"macs": 1e-4}, "depth": {"keep_units": 2, "samples": 32}},
        Infeasible,
        "cheapest reachable",
    ),
    "budget of tokens": ({**VIT, "tokens": {"keep": 0.001}}, Infeasible, "cheapest reachable"),
    "blocks and channels": ({"budget": {"macs": 1e-4}, "depth": JOINT}, Infeasible, "no depth"),
    "blocks": ({"budget": None, "depth": {"keep_units": 50}}, Infeasible, "50"),
    "layer": ({"budget": {"macs": 0.5, "ignored_layers": ["convv1"]}}, UnknownName, "did you mean"),
    "solver": ({"budget": {"macs": 0.5, "solver": "linear"}}, BadRecipe, "linear solver needs p = 1"),
    "task": (
        {"importance": {"name": "mutual_information", "task": "moon"}},
        UnknownName,
        "task 'moon' was not observed",
    ),
    "bits of nowhere": ({"budget": {"bits": 0.5}}, BadRecipe, "name it"),
    "classes": ({"model": {"name": "resnet8_cifar", "num_classes": 2}}, Infeasible, "2 classes and the data 4"),
    "block": ({**VIT, "tokens": {"schedule": {12: 0.5}}}, UnknownName, "a number from 0 to 5"),
    "split": ({**SCENES, "split": {"at": "nowhere", "share": 0.5}}, UnknownName, "no layer 'nowhere'"),
    "cut": ({**SCENES, "split": {"at": "backbone.body.2.reduce", "share": 0.5}}, NotACut, "is not a cut"),
}


@pytest.fixture
def untrained(monkeypatch):
    def train(*_, **__):
        raise AssertionError("something was trained")

    monkeypatch.setattr(running, "train", train)


@pytest.mark.parametrize("name", WHEN_READ)
def test_what_is_wrong_alone_is_told_when_the_recipe_is_read(name, tmp_path):
    sections, error, match = WHEN_READ[name]
    with pytest.raises(error, match=match):
        recipe_of(told(tmp_path, **sections))


@pytest.mark.parametrize("name", WHEN_REHEARSED)
@pytest.mark.usefixtures("untrained")
def test_what_is_wrong_with_this_network_is_told_before_anything_is_trained(name, tmp_path):
    sections, error, match = WHEN_REHEARSED[name]
    recipe = recipe_of(told(tmp_path, **sections))
    with pytest.raises(error, match=match):
        run(recipe, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(error, match=match):
        price(recipe)


def test_a_rehearsal_leaves_no_trace(tmp_path):
    from infoprune.observe import kept_randomness

    recipe = recipe_of(told(tmp_path, model={"name": "resnet8_cifar"}, finetune=NO_TUNING))
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    with kept_randomness():
        run(recipe, tmp_path / "out")
    assert torch.equal(torch.rand(3), expected)


def test_channels_are_ranked_by_mutual_information(tmp_path):
    recipe = recipe_of(told(tmp_path, model={"name": "resnet8_cifar"}, importance={"name": "mutual_information"},
                            finetune=NO_TUNING))  # fmt: skip
    report = run(recipe, tmp_path / "out")
    assert report.after.macs <= 0.5 * report.before.macs
    other = recipe_of(told(tmp_path, model={"name": "resnet8_cifar"}, finetune=NO_TUNING))
    run(other, tmp_path / "other")
    plans = [ip.Plan.from_json((tmp_path / out / "cut-1" / "plan.json").read_text()) for out in ("out", "other")]
    assert plans[0].widths == plans[1].widths
    assert plans[0].edits != plans[1].edits


def test_evidence_that_no_recipe_has_is_refused_when_it_is_read(tmp_path):
    from infoprune.importance import importances

    def needs_more(seen, moon):
        """A criterion of the tides."""

    importances.register("tidal")(needs_more)
    try:
        with pytest.raises(BadRecipe, match=r"importance\.name is 'tidal', which needs 'moon'"):
            recipe_of(told(tmp_path, importance={"name": "tidal"}))
    finally:
        del importances._factories["tidal"]


# ------------------------------------------------------------------------------------------------------- dry runs


def priced_and_run(recipe, out):
    found = price(recipe)
    report = run(recipe, out)
    assert (found.params, found.macs) == (report.before.params, report.before.macs)
    return found, report


@pytest.mark.parametrize(
    "sections",
    [
        {"budget": {"macs": 0.5}},
        pytest.param({"budget": {"rates": 0.4}}, marks=pytest.mark.slow),
        {"budget": {"params": 0.6, "floor": 0.3, "round_to": 4, "ignored_layers": ["conv1"]}},
    ],
)
def test_what_a_dry_run_is_certain_of_is_what_runs(sections, tmp_path):
    recipe = recipe_of(told(tmp_path, model={"name": "resnet8_cifar"}, finetune=NO_TUNING, **sections))
    found, report = priced_and_run(recipe, tmp_path / "out")
    assert found.unsure == ()
    assert (found.params_after, found.macs_after) == (report.after.params, report.after.macs)


def test_a_dry_run_prices_tokens_for_the_classes_of_the_data(tmp_path):
    from tests.recipe.tiny import folder

    folder(tmp_path / "data", classes=3, each=3)
    data = {"name": "folder", "root": str(tmp_path / "data"), "size": 160, "batch": 2, "calibration": 8}
    sections = {"model": {"name": "test_vit"}, "data": data, "budget": None, "tokens": {"keep": 0.7}}
    found, report = priced_and_run(recipe_of(told(tmp_path, finetune=NO_TUNING, **sections)), tmp_path / "out")
    assert found.read
    assert (found.params_after, found.macs_after) == (report.after.params, report.after.macs)
    assert found.macs_after <= 0.7 * found.macs
    assert found.cuts == ("tokens (macs 0.7), then readers refitted from 512 pictures, then 0 epochs",)


def test_a_schedule_of_tokens_is_that_of_the_recipe(tmp_path):
    from tests.recipe.tiny import folder

    folder(tmp_path / "data", classes=3, each=3)
    data = {"name": "folder", "root": str(tmp_path / "data"), "size": 160, "batch": 2, "calibration": 8}
    tokens = {"schedule": {2: 0.5, "blocks.4": 0.8}, "score": "paper"}
    found = price(recipe_of(told(tmp_path, model={"name": "test_vit"}, data=data, budget=None, tokens=tokens)))
    network = build_network("test_vit", classes=3)
    planned = ip.tokens.plan(network, schedule={2: 0.5, 4: 0.8}, score="paper")
    assert found.macs_after == planned.prices["macs"].after < found.macs
    assert found.cuts[0].startswith("tokens (0.5 before block 2, 0.8 before block blocks.4)")


def test_a_dry_run_says_what_only_the_data_can_tell(tmp_path, capsys):
    sections = {"depth": {"keep_units": 2, "samples": 32}, "layer_importance": {"name": "nhsic"}}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(told(tmp_path, **sections)))
    assert main(["run", str(tmp_path / "r.yaml"), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "not certain  which blocks leave is known when it runs" in out
    assert "not certain  layers weigh alike here; what nhsic measures is known when it runs" in out
    assert "choices      " in out, "channels leave after the blocks, of whichever stay"
    assert main(["run", str(tmp_path / "r.yaml"), "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["macs_after"] > 0
    assert read_recipe(tmp_path / "r.yaml").depth.keep_units == 2


def test_a_dry_run_says_how_far_choices_of_blocks_reach(tmp_path):
    found = price(recipe_of(told(tmp_path, budget=None, depth={"keep_units": 2, "samples": 32})))
    (cheap, dear), (few, many) = found.reach["macs"], found.reach["params"]
    assert cheap <= found.macs_after <= dear < found.macs
    assert few <= found.params_after <= many < found.params
    assert f"choices      about {few:,} to {many:,} parameters, {cheap:,} to {dear:,} MACs" in str(found)


@pytest.mark.parametrize("name", ["digits", "scenes"])
def test_facts_are_those_of_the_data(name):
    options = {"scenes": {"scenes": 2, "held_out": 2}}.get(name, {})
    for size in (None, 32):
        task, facts = datasets[name](size=size, **options), facts_of(name)
        assert (task.classes, task.shape, task.kind) == (facts.classes, facts.shape(size), facts.kind)
        assert task.train.batch(0, [0])[0].shape[1:] == task.shape


def test_a_latency_is_that_of_as_many_pictures_as_the_recipe_says(tmp_path):
    budget = recipe_of(told(tmp_path, budget={"latency": "8ms", "macs": 0.5, "batch": 4})).budget
    assert budget.budgets["latency 8ms"] == ip.budgets.latency(at_most="8ms", batch=4, progress=False)
    assert budget.budgets["macs 0.5"] == ip.budgets.macs(keep=0.5)


# ------------------------------------------------------------------------------------------------- choices of blocks


def left_by(made):
    """What the cuts of a recipe leave."""
    task = task_of(made)
    model, x = build_network("resnet8_cifar", num_classes=task.classes), torch.zeros(1, *task.shape)
    for cut in cuts_of(made, model, x):
        ip.prune_(model, x, cut.decide(Basis(made, model, x, task, rehearsal=True)).plan)
    return ip.measure(model, x)


DEPTHS = {
    "blocks": {"budget": None, "depth": {"keep_units": 2, "samples": 32}},
    "blocks, then channels": {"budget": {"macs": 0.5}, "depth": {"keep_units": 2, "samples": 32}},
    "together": {"depth": JOINT, "budget": {"macs": 0.25, "floor": 0.7}},
}


@pytest.mark.parametrize("sections", DEPTHS.values(), ids=DEPTHS)
def test_choices_of_blocks_lie_between_the_prices_that_a_dry_run_tells(tmp_path, sections, monkeypatch):
    """Each of the three units leaves first once; channels that fill up a budget move prices a little."""
    made, found = recipe_of(told(tmp_path, **sections)), []
    reach = price(made).reach
    for energies in islice(permutations([1.0, 2.0, 3.0]), 0, None, 2):
        seen = {f"layer{i}.0": energy for i, energy in enumerate(energies, 1)}
        for module in (depth_cut, joint_cut):
            monkeypatch.setattr(module, "energies", lambda *_, seen=seen: seen)
        found.append(left_by(made))
    slack = 0.0 if sections["budget"] is None else 0.01
    for name in ("macs", "params"):
        low, high = reach[name]
        assert low < high
        assert all((1 - slack) * low <= getattr(one, name) <= (1 + slack) * high for one in found)


def test_a_dry_run_of_tries_tells_how_many_and_what_they_cost(tmp_path):
    found = price(recipe_of(told(tmp_path, budget=None, depth={"stages": 1, "probe": 0.25, "samples": 32})))
    assert found.epochs == 1 + 2 * 0.25 + 1  # the dense network, one and two units of three tried, what is chosen
    assert "each number of units from 1 to 2 is tried for 0.25 epochs" in found.cuts[0]
    low, high = found.reach["params"]
    assert low < found.params_after <= high
