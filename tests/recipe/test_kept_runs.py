"""What release 0.1 wrote is still read, and unfinished runs go on to the same report."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from tests.recipe.test_running import data_file

import infoprune as ip
from infoprune.finetune.checkpoints import save_tensors
from infoprune.recipe import build_network, read_recipe, run, to_yaml
from infoprune.recipe.yaml_text import parsed

KEPT = Path(__file__).parent / "kept"
NEW_WORDS = {"split": {"estimate": "excess"}}  # "corrected" when they were kept
RUNS = sorted(path.name for path in KEPT.iterdir())
MODELS = {"widths": ("resnet20_cifar", 4, 16), "joint": ("resnet20_cifar", 4, 16), "split": ("small_three_task", 8, 32)}


def unpacked(name, root):
    """The run as it was written, in another place."""
    data_file(root)
    out = shutil.copytree(KEPT / name, root / name)
    for path in (out / "recipe.yaml", out / "report.json"):
        path.write_text(path.read_text().replace("ROOT", str(root)))
    return out


def filled(name, out):
    """Tensors of the right shapes, which are too many to be kept here."""
    source, classes, side = MODELS[name]
    model = build_network(source, num_classes=classes)
    save_tensors(out / "dense.safetensors", model.state_dict())
    x = torch.zeros(1, 3, side, side if name != "split" else 2 * side)
    for cut in sorted(path.parent for path in out.glob("cut-?/plan.json")):
        model = ip.prune_(model, x, ip.Plan.from_json((cut / "plan.json").read_text()), certify=False)
        save_tensors(cut / "weights.safetensors", model.state_dict())


@pytest.mark.parametrize("name", RUNS)
def test_a_recipe_is_read_as_it_was_written(name, tmp_path):
    path = unpacked(name, tmp_path) / "recipe.yaml"
    before, now = (parsed(text, name) for text in (path.read_text(), to_yaml(read_recipe(path))))
    for section, told in before.items():
        same = {key: now[section][key] for key in told} if isinstance(told, dict) else now[section]
        assert same == (told | NEW_WORDS.get(section, {}) if isinstance(told, dict) else told)  # keys may be added


@pytest.mark.parametrize("path", sorted(KEPT.rglob("plan.json")), ids=lambda path: path.parent.name)
def test_a_plan_is_read_as_it_was_written(path):
    again = ip.Plan.from_json(path.read_text()).to_json()
    assert json.loads(again) == json.loads(path.read_text())  # in whatever order keys are written


def test_an_artefact_loads_and_computes_what_it_computed():
    assert ip.load(KEPT / "widths" / "artefact")(torch.zeros(1, 3, 16, 16)).shape == (1, 4)  # load probes its logits


@pytest.mark.parametrize("name", RUNS)
def test_a_run_that_lacks_its_report_goes_on_to_the_same_one(name, tmp_path):
    out = unpacked(name, tmp_path)
    filled(name, out)
    before = json.loads((out / "report.json").read_text())
    (out / "report.json").unlink()
    run(read_recipe(out / "recipe.yaml"), out)
    after = json.loads((out / "report.json").read_text())
    for report in (before, after):
        for key in ("seconds", "environment"):
            report.pop(key)
    assert (after.pop("recoveries"), after.pop("norms"), after.pop("sweep")) == ([], "", None)  # there were none then
    ours = after.pop("ours")  # was not told then
    compared = dict.fromkeys(b["task"] or "accuracy" for b in before["baselines"])
    assert [score["name"] for score in ours] == [*compared]
    if name == "widths":
        assert after["budgets"].pop("activations 0.9") == "met"  # had no verdict then
        before["tuning"] = before["tuning"].replace("1 epochs", "1 epoch")
    assert after == before
