"""Wrong recipes: one clear error each with the key's path, exit code 2, and nothing written."""

import datetime

import pytest

from infoprune.cli import main
from infoprune.errors import BadRecipe
from infoprune.recipe import read_recipe, recipe_of, to_yaml
from infoprune.recipe.yaml_text import parsed

GOOD = """
schema: 1
model:
  name: resnet20_cifar
data:
  name: digits
importance:
  name: capacity_independence
  sigma: 0.5
budget:
  macs: 0.5
finetune:
  lr: 5e-2
  epochs: 3
seed: 1
"""

# what is replaced in GOOD, by what, and what the error tells
MUTATIONS = {
    "no schema": ("schema: 1\n", "", "schema is missing"),
    "another schema": ("schema: 1", "schema: 2", "schema is 2; give 1"),
    "schema as truth": ("schema: 1", "schema: true", "schema is True"),
    "no model": ("model:\n  name: resnet20_cifar\n", "", "model is missing"),
    "no data": ("data:\n  name: digits\n", "", "data is missing"),
    "nothing to prune": ("budget:\n  macs: 0.5\n", "", "add a section budget:, depth:, tokens: or split:"),
    "no name of a model": ("  name: resnet20_cifar", "  num_classes: 10", "model.name is missing"),
    "no name of data": ("  name: digits", "  batch: 10", "data.name is missing"),
    "typo in a section": ("finetune:", "finetun:", "did you mean 'finetune'?"),
    "typo in a key": ("  lr:", "  learning_rat:", "finetune.learning_rat is not known"),
    "typo in a near key": ("  epochs:", "  epoch:", "did you mean 'epochs'?"),
    "typo in an option": ("  sigma:", "  sigm:", "did you mean 'sigma'?"),
    "typo in a budget": ("  macs:", "  mac:", "did you mean 'macs'?"),
    "unknown model": ("resnet20_cifar", "resnet21_cifar", "did you mean 'resnet20_cifar'?"),
    "unknown data set": ("digits", "digitz", "did you mean 'digits'?"),
    "unknown importance": ("capacity_independence", "capacity_indep", "did you mean 'capacity_independence'?"),
    "unknown layer importance": ("seed: 1", "layer_importance: {name: nhsc}", "did you mean 'nhsic'?"),
    "unknown solver": ("  macs: 0.5", "  macs: 0.5\n  solver: simplexx", "budget.solver"),
    "unknown optimizer": ("  epochs: 3", "  optimizer: sdg", "did you mean 'sgd'?"),
    "a word for a number": ("5e-2", "fast", "finetune.lr is 'fast'; give a number"),
    "not a number": ("5e-2", ".nan", "finetune.lr is nan"),
    "infinite": ("5e-2", "1e999", "finetune.lr is '1e999'; give a number"),
    "a list for a number": ("5e-2", "[1, 2]", "finetune.lr is [1, 2]; give a number"),
    "truth for a number": ("  epochs: 3", "  epochs: true", "finetune.epochs is True"),
    "half a picture": ("  name: digits", "  name: digits\n  batch: 12.5", "data.batch is 12.5; give a whole number"),
    "a number for a word": ("name: digits", "name: 7", "data.name is 7; give a word"),
    "a number for truth": ("  epochs: 3", "  compile: 1", "finetune.compile is 1; give true or false"),
    "a word for a section": ("data:\n  name: digits", "data: digits", "data is 'digits'; give a section"),
    "a list for a section": ("budget:\n  macs: 0.5", "budget: [1]", "budget is [1]; give a section"),
    "negative epochs": ("  epochs: 3", "  epochs: -3", "finetune.epochs is -3"),
    "sigma above one": ("sigma: 0.5", "sigma: 1.5", "importance.sigma is 1.5"),
    "negative seed": ("seed: 1", "seed: -1", "seed is -1"),
    "more than all": ("macs: 0.5", "macs: 1.5", "budget.macs is 1.5; give a share"),
    "nothing left": ("macs: 0.5", "macs: 0", "budget.macs is 0.0; give a share"),
    "a negative budget": ("macs: 0.5", "macs: -0.5", "budget.macs is -0.5; give a share"),
    "a duration in parsecs": ("macs: 0.5", "latency: 8 parsecs", "budget.latency is '8 parsecs'"),
    "a budget and rates": ("macs: 0.5", "macs: 0.5\n  rates: 0.5", "budget has both a limit and rates"),
    "a rounding without rates": ("macs: 0.5", "macs: 0.5\n  rounding: down", "budget.rounding is 'down'; give it with"),
    "rates of everything": ("macs: 0.5", "rates: 1", "budget.rates is 1.0"),
    "depth without a goal": ("seed: 1", "depth: {stages: 3}", "depth needs one of keep_units"),
    "rising clusters": ("seed: 1", "depth: {clusters: [3, 5]}", "depth.clusters is [3, 5]; give falling"),
    "weights that are not there": ("resnet20_cifar", "resnet20_cifar\n  weights: /nowhere.pt", "there is no such file"),
    "a key twice": ("  epochs: 3", "  epochs: 3\n  epochs: 4", "the key 'epochs' twice"),
    "bad YAML": ("  lr: 5e-2", "  lr: [5e-2", "line "),
    "tabs": ("  lr: 5e-2", "\tlr: 5e-2", "line "),
    "a tag": ("seed: 1", "seed: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
    "a cyclic alias": ("seed: 1", "report: &a {latency: *a}", "an alias (*)"),
    "a huge alias expansion": (
        "seed: 1",
        "a: &a [x, x, x]\nb: &b [*a, *a, *a]\nc: &c [*b, *b, *b]\nseed: *c",
        "an alias (*)",
    ),
    "deeper than any section": ("seed: 1", "seed: " + "[" * 5000 + "]" * 5000, "nested deeper"),
    "no mapping": (GOOD.strip(), "- a\n- b", "holds list, not sections"),
    "no text": (GOOD.strip(), "\udcff", "not text in UTF-8"),
}


def test_the_recipe_that_is_mutated_is_fine():
    recipe = recipe_of(parsed(GOOD, "good"))
    assert (recipe.finetune.lr, recipe.seed, recipe.budget.limits) == (0.05, 1, {"macs": 0.5})
    assert recipe_of(parsed(to_yaml(recipe), "again")) == recipe


@pytest.mark.parametrize("name", MUTATIONS)
def test_wrong_recipes_are_one_clear_error(name, tmp_path, monkeypatch, capsys):
    old, new, told = MUTATIONS[name]
    assert GOOD.count(old) == 1
    path = tmp_path / "recipe.yaml"
    path.write_bytes(GOOD.replace(old, new).encode(errors="surrogateescape"))
    monkeypatch.chdir(tmp_path)
    code = main(["run", "recipe.yaml", "--out", "out"])
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert told in err
    assert err.startswith("infoprune: error: ")
    assert err.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["recipe.yaml"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("finetune.lr=fast", "finetune.lr is 'fast'"),
        ("finetune.lr", "is not of the form section.key=value"),
        ("a.b.c=1", "is not of the form section.key=value"),
        ("finetun.lr=1", "did you mean 'finetune'?"),
        ("finetune.lr=[1", "--set finetune.lr, line 1"),
        ("seed.x=1", "seed is 1; give a section"),
    ],
)
def test_wrong_changes_are_named(tmp_path, change, told):
    (tmp_path / "recipe.yaml").write_text(GOOD)
    with pytest.raises(BadRecipe) as found:
        read_recipe(tmp_path / "recipe.yaml", [change])
    assert told in str(found.value)


def test_changes_are_typed_like_the_file(tmp_path):
    (tmp_path / "recipe.yaml").write_text(GOOD)
    changes = ["finetune.lr=1e-3", "data.size=32", "depth.clusters=[7, 5]", "report.latency=false", "seed=7"]
    recipe = read_recipe(tmp_path / "recipe.yaml", changes)
    assert (recipe.finetune.lr, recipe.data.size, recipe.depth.clusters) == (0.001, 32, (7, 5))
    assert (recipe.report.latency, recipe.seed) == (False, 7)


def test_a_missing_file_names_its_neighbours(tmp_path):
    (tmp_path / "right.yaml").write_text(GOOD)
    with pytest.raises(BadRecipe, match=r"holds right\.yaml"):
        read_recipe(tmp_path / "wrong.yaml")


@pytest.mark.parametrize("amount", [float("inf"), datetime.date(2024, 1, 1), {"keep": 0.5}])
def test_a_budget_that_is_neither_a_number_nor_a_word_is_told_that_it_may_be_both(amount):
    sections = {"model": {"name": "resnet20_cifar"}, "data": {"name": "digits"}, "budget": {"macs": amount}}
    with pytest.raises(BadRecipe, match=r"budget\.macs is .*; give a number or a word"):
        recipe_of({"schema": 1, **sections})
