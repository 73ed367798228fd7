"""Networks and data of one's own in recipes: which code runs, and what comes out."""

import json

import pytest
import torch
import yaml
from tests.cli import own_project

import infoprune as ip
from infoprune.data import View
from infoprune.errors import BadOwnCode, BadRecipe, UnknownName
from infoprune.own_code import named_in
from infoprune.recipe import build_network, read_recipe, recipe_of, run, to_yaml
from infoprune.recipe.networks import view_of
from infoprune.recipe.sections import ModelSection

NET = f"""
from pathlib import Path
Path(__file__).with_name("ran").touch()
{own_project.NET}
Net.pretrained_cfg = {{"input_size": (3, 16, 16), "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}}
ready = Net()
def nothing(): return 3
"""
RECIPE = {
    "schema": 1,
    "model": {"file": "net.py", "name": "Net", "options": {"width": 6}},
    "data": {"file": "data.py", "name": "Mine", "noise": 0.1, "batch": 8, "calibration": 8},
    "layer_importance": {"name": "uniform"},
    "budget": {"macs": 0.5},
    "finetune": {"epochs": 1, "reestimate": 8},
    "report": {"latency": False, "baseline_epochs": 0},
}


@pytest.fixture
def project(tmp_path):
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "data.py").write_text(own_project.DATA)
    (tmp_path / "recipes").mkdir()
    return tmp_path


def recipe_in(folder, **changes):
    (folder / "r.yaml").write_text(yaml.safe_dump({**RECIPE, **changes}))
    return folder / "r.yaml"


def test_a_run_of_own_things_ends_with_an_artefact_that_asks_for_its_factory(project):
    recipe, out = read_recipe(recipe_in(project)), project / "out"
    report = run(recipe, out)
    assert "factory=" in report.load
    Net = named_in(project / "net.py", "Net")
    model = ip.load(out / "artefact", factory=lambda: Net(width=6, num_classes=3))
    assert model(torch.zeros(1, 3, 16, 16)).shape == (1, 3)
    assert report.after.macs <= 0.5 * report.before.macs
    assert run(read_recipe(project / "r.yaml"), out).to_json() == report.to_json()
    kept = yaml.safe_load((out / "recipe.yaml").read_text())
    assert kept["model"]["options"] == {"width": 6}
    assert recipe_of(kept) == recipe
    assert yaml.safe_load(to_yaml(recipe)) == kept


def test_reading_a_recipe_runs_no_code(project):
    read_recipe(recipe_in(project))
    assert not (project / "ran").exists()


def test_code_elsewhere_runs_only_if_it_is_named_on_the_command_line(project):
    model = {"file": "../net.py", "name": "Net"}
    path = recipe_in(project / "recipes", model=model, data={"name": "digits"})
    with pytest.raises(BadRecipe, match=r"is not beside or under the recipe.*--set model.file=../net.py"):
        read_recipe(path)
    named = read_recipe(path, [f"model.file={project / 'net.py'}"])
    assert named.model.file == str(project / "net.py")
    (project / "recipes" / "link.py").symlink_to(project / "net.py")
    with pytest.raises(BadRecipe, match="not beside or under"):
        read_recipe(recipe_in(project / "recipes", model={**model, "file": "link.py"}, data={"name": "digits"}))


@pytest.mark.parametrize("file", ["absent.py", "net.txt"])
def test_a_file_that_is_no_code_is_told(project, file):
    with pytest.raises(BadRecipe, match=r"model.file is .*; give the path of a Python file"):
        read_recipe(recipe_in(project, model={"file": file, "name": "Net"}))


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("Ne", {}, "has no 'Ne'; did you mean 'Net'"),
        ("Net", {"depth": 3}, "unexpected keyword argument 'depth'; it takes width, num_classes"),
        ("Net", {"width": -1}, r"net.py:Net failed \(RuntimeError"),
        ("ready", {}, "is a network that is made already"),
        ("nothing", {}, "makes a int; it must make a torch.nn.Module"),
        ("nothing", {"num_classes": 4}, "unexpected keyword argument 'num_classes'"),
    ],
)
def test_what_is_wrong_with_own_networks_is_one_sentence(project, name, options, told):
    with pytest.raises(BadOwnCode, match=told) as found:
        build_network(name, file=project / "net.py", options=options)
    assert "\n" not in str(found.value)


def test_own_networks_say_how_they_see_pictures(project):
    view = view_of(ModelSection("Net", file=str(project / "net.py")))
    assert (view.size, view.mean) == (16, (0.5, 0.5, 0.5))


@pytest.mark.parametrize(
    ("name", "size", "mean", "way"),
    [
        ("resnet20_cifar", 32, View().mean, "bilinear"),
        ("timm:inception_v3", 299, (0.5, 0.5, 0.5), "bicubic"),
        ("torchvision:inception_v3", 299, View().mean, "bilinear"),
        ("tf_efficientnet_lite0", 224, (0.5, 0.5, 0.5), "bicubic"),
    ],
)
def test_networks_see_pictures_as_they_were_made_to(name, size, mean, way):
    view = view_of(ModelSection(name))
    assert (view.size, view.mean, view.interpolation) == (size, mean, way)


def test_nothing_is_fetched_unless_asked(monkeypatch):
    def fetched(*_, **__):
        raise AssertionError("a download")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fetched)
    monkeypatch.setattr("torchvision._internally_replaced_utils.load_state_dict_from_url", fetched, raising=False)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fetched)
    assert build_network("torchvision:lraspp_mobilenet_v3_large", num_classes=3)
    assert build_network("torchvision:fcn_resnet50", num_classes=3)


def test_options_that_a_builder_does_not_take_are_told():
    with pytest.raises(UnknownName, match=r"resnet20_cifar can't be built with widht \("):
        build_network("resnet20_cifar", options={"widht": 3})


def test_folders_are_seen_at_the_size_of_the_network(tmp_path):
    from tests.recipe.tiny import folder

    from infoprune.recipe.tasks import task_of, task_of_noise

    folder(tmp_path, classes=2, each=2)
    told = {"schema": 1, "data": {"name": "folder", "root": str(tmp_path)}, "budget": {"macs": 0.5}}
    recipe = recipe_of({**told, "model": {"name": "resnet20_cifar", "num_classes": 2}})
    assert task_of(recipe).shape == task_of_noise(recipe).shape == (3, 32, 32)
    assert json.loads(json.dumps(recipe.data.options)) == {}


def test_floors_and_rates_may_be_told_layer_by_layer():
    told = {"schema": 1, "model": {"name": "resnet20_cifar"}, "data": {"name": "digits"}}
    recipe = recipe_of({**told, "budget": {"macs": 0.5, "floor": {"layer3.*": 0.5}}})
    assert recipe.budget.floor == {"layer3.*": 0.5}
    assert recipe_of(yaml.safe_load(to_yaml(recipe))) == recipe
    assert recipe_of({**told, "budget": {"rates": {"layer3": 0.5, "conv1": "0.25"}}}).budget.rates["conv1"] == 0.25
    for budget, need in (
        ({"macs": 0.5, "floor": {"layer3": 2}}, "budget.floor is 2.0; give the share of units"),
        ({"macs": 0.5, "floor": {"layer3": "x"}}, "budget.floor.layer3 is 'x'; give a number"),
        ({"rates": {"layer3": 1}}, "budget.rates is 1.0; give the share that leaves"),
        ({"macs": 0.5, "floor": "x"}, "budget.floor is 'x'; give a number"),
    ):
        with pytest.raises(BadRecipe, match=need):
            recipe_of({**told, "budget": budget})
