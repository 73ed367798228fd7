"""Another package's entry points: every registry takes them, from a distribution that is installed as any other."""

import json
import os
import re

import pytest

from infoprune.allocation import solvers
from infoprune.budgets import budgets
from infoprune.data import datasets
from infoprune.importance import importances
from infoprune.layerwise import layerwise
from infoprune.models import models
from infoprune.surgery import edits, token_scores
from infoprune.wire.codec import codecs
from tests.fresh import python

REGISTRIES = (importances, layerwise, budgets, solvers, datasets, models, token_scores, codecs, edits)
LEGAL = r"\w+(\.\w+)*"  # what packaging's specification of entry points allows as a group

SHOP = '''
from dataclasses import dataclass
from typing import ClassVar

import torch

from infoprune.budgets import Counted
from infoprune.data import Facts, data_set
from infoprune.data.tensors import task_of
from infoprune.graph.counting import count_macs


@dataclass(frozen=True, kw_only=True)
class Joules(Counted):
    """Energy."""

    resource: ClassVar[str] = "joules"

    def cost(self, graph):
        return 1e-3 * graph.cost("macs")

    def measure(self, model, inputs):
        return 1e-3 * count_macs(model, inputs)


@data_set("stripes", Facts(classes=2, size=16))
def stripes(root=None, *, size=None, seed=0):
    """Stripes."""
    images, labels = torch.randn(32, 3, 16, 16), torch.arange(32) % 2
    return task_of(images, labels, images.clone(), labels.clone(), seed=seed)


def anything(*_, **__):
    """Something new."""
'''

TOLD = """
import json, sys
from importlib import import_module
names = {}
for told in json.loads(sys.argv[1]):
    module, name = told.split(":")
    registry = getattr(import_module(module), name)
    names[registry.kind] = [factory.__name__ for key, factory in registry.items() if key.startswith("shop_")]
print(json.dumps(names))
"""


@pytest.fixture(name="shop", scope="module")
def shop_installed(tmp_path_factory):
    """A folder for PYTHONPATH with the package and its metadata, as an installer leaves them."""
    root = tmp_path_factory.mktemp("site")
    (root / "shop.py").write_text(SHOP)
    about = root / "shop-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: shop\nVersion: 1.0\n")
    made = {"budget": "Joules", "data set": "stripes"}
    lines = [f"[{r.group}]\nshop_{i} = shop:{made.get(r.kind, 'anything')}\n" for i, r in enumerate(REGISTRIES)]
    (about / "entry_points.txt").write_text("\n".join(lines))
    return root


def spoken(root, *words):
    done = python(*words, cwd=root, env={"PYTHONPATH": f"{root}:{os.environ.get('PYTHONPATH', '')}"})
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_groups_are_names_that_packaging_allows():
    assert all(re.fullmatch(LEGAL, registry.group) for registry in REGISTRIES)
    assert datasets.group == "infoprune.data_set"


def test_every_registry_takes_a_newcomer_from_another_package(shop):
    homes = [
        "infoprune.importance:importances", "infoprune.layerwise:layerwise", "infoprune.budgets:budgets",
        "infoprune.allocation:solvers", "infoprune.data:datasets", "infoprune.models:models",
        "infoprune.surgery:token_scores", "infoprune.wire.codec:codecs", "infoprune.surgery:edits",
    ]  # fmt: skip
    found = json.loads(spoken(shop, "-c", TOLD, json.dumps(homes)))
    assert found.keys() == {registry.kind for registry in REGISTRIES}
    assert found.pop("budget") == ["Joules"]
    assert found.pop("data set") == ["stripes"]
    assert set(map(tuple, found.values())) == {("anything",)}


def test_a_recipe_names_anothers_data_and_budget(shop):
    place = {registry.kind: f"shop_{i}" for i, registry in enumerate(REGISTRIES)}
    (shop / "r.yaml").write_text(
        f"schema: 1\nmodel: {{name: resnet20_cifar}}\ndata: {{name: {place['data set']}}}\n"
        f"layer_importance: {{name: uniform}}\nbudget: {{{place['budget']}: 5000}}\n"
        "finetune: {epochs: 0, reestimate: 0}\nreport: {latency: false, baseline_epochs: 0}\n"
    )
    told = json.loads(spoken(shop, "-m", "infoprune", "run", "r.yaml", "--dry-run", "--json"))
    assert not told["read"]
    assert 1e-3 * told["macs_after"] <= 5000 < 1e-3 * told["macs"]
    report = json.loads(spoken(shop, "-m", "infoprune", "run", "r.yaml", "--out", "out", "--json"))
    assert report["after"]["macs"] == told["macs_after"]
    assert report["budgets"] == {f"{place['budget']} 5000": "met"}
