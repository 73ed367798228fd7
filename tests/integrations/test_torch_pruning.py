"""The scripts that people copy, run as they stand: stock ones, ours, and what the page says of the two."""

import importlib.util
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch_pruning as tp

import infoprune as ip

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "integrations" / "torch_pruning"
SMALL = {
    "iterative": ["--steps", "2", "--batches", "1"],
    "vit": ["--model", "test_vit", "--size", "64"],
    "saving": ["--to", "pruned-{side}"],
}
NAMES = sorted(path.stem for path in FOLDER.glob("stock/*.py"))
pytestmark = pytest.mark.filterwarnings("ignore:Unwrapped parameters", "ignore:.*non-full backward hook")


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run a script with these arguments; returns its names."""
    monkeypatch.chdir(tmp_path)

    def script(path, *arguments):
        torch.manual_seed(0)
        monkeypatch.setattr(sys, "argv", [str(path), "--model", "test_resnet", "--size", "64", *arguments])
        return runpy.run_path(str(path), run_name="__main__")

    return script


def widths(names):
    return {name: tuple(p.shape) for name, p in names["model"].named_parameters()}


def ranks_layers_against_each_other(name):
    return name in ("global", "isomorphic")


@pytest.mark.parametrize("name", NAMES)
def test_stock_and_changed_scripts_run_and_prune_alike(run, name):
    given = SMALL.get(name, [])
    stock, changed = (
        run(FOLDER / side / f"{name}.py", *(a.format(side=side) for a in given)) for side in ("stock", "changed")
    )
    dense = sum(p.numel() for p in stock["timm"].create_model(stock["options"].model, num_classes=10).parameters())
    assert sum(p.numel() for p in changed["model"].parameters()) < 0.95 * dense
    if not ranks_layers_against_each_other(name):  # else the importance decides how many stay
        assert widths(changed) == widths(stock)


def test_every_usual_script_is_there_in_both_forms():
    usual = ["global", "interactive", "isomorphic", "iterative", "one_shot", "per_layer", "saving", "vit"]
    assert usual == NAMES == sorted(path.stem for path in FOLDER.glob("changed/*.py"))


def test_what_the_changed_script_saved_loads_by_name(run, tmp_path):
    names = run(FOLDER / "changed" / "saving.py", "--to", "pruned")
    x = names["example_inputs"]
    assert torch.equal(ip.load(tmp_path / "pruned")(x), names["model"](x))
    assert sorted(p.name for p in (tmp_path / "pruned").iterdir()) == ["config.json", "model.safetensors"]


@pytest.fixture(scope="module")
def differences():
    spec = importlib.util.spec_from_file_location("differences", FOLDER / "differences.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_shows_the_differences_of_the_scripts_that_were_run(differences):
    assert differences.PAGE.read_text() == differences.page(), "run python integrations/torch_pruning/differences.py"


@pytest.mark.parametrize("name", NAMES)
def test_an_import_and_at_most_two_lines_change(differences, name):
    lines = differences.difference(FOLDER / "stock" / f"{name}.py", FOLDER / "changed" / f"{name}.py")
    assert lines.count("+import infoprune as ip") == 1
    assert sum(line[0] == "+" for line in lines) - 1 == sum(line[0] == "-" for line in lines) <= 2


@pytest.mark.parametrize("model", ["test_resnet", "test_efficientnet"])
def test_planned_widths_are_reached_in_steps(run, capsys, model):
    names = run(FOLDER / "planned_widths.py", "--model", model, "--macs", "0.5", "--steps", "2")
    lines = capsys.readouterr().out.splitlines()
    macs = [int(line.split(": ")[1].split()[0].replace(",", "")) for line in lines[:2]]
    assert macs[0] > macs[1] == names["plan"].prices["macs"].after


@pytest.mark.parametrize("pruner", ["bn_scale", "group_norm"])
def test_regularised_training_drives_a_plan(run, pruner):
    names = run(FOLDER / "sparse_training.py", "--pruner", pruner, "--steps", "2", "--reg", "0.1")
    model, x = names["model"], names["example_inputs"]
    assert ip.measure(model, x).macs == names["plan"].prices["macs"].after <= 0.5 * names["plan"].prices["macs"].before
    state = names["optimizer"].state
    assert all(state[p]["momentum_buffer"].shape == p.shape for p in model.parameters())


def test_the_units_that_regularisation_shrinks_are_those_that_leave(run):
    """Scales that a strong pull has brought near zero rank last."""
    names = run(FOLDER / "sparse_training.py", "--steps", "1")
    ranked = names["importance"]
    assert type(ranked) is tp.importance.BNScaleImportance
    model = names["timm"].create_model("test_resnet", num_classes=10).eval()
    weak, size = [0, 3, 5], model.layer1[0].bn1.num_features
    with torch.no_grad():
        model.layer1[0].bn1.weight.uniform_(0.5, 1)
        model.layer1[0].bn1.weight[weak] = 1e-4
    plan = ip.plan(
        model, names["example_inputs"], ranked, rates={"layer1.0.conv1": 3 / model.layer1[0].bn1.num_features}
    )
    assert set(range(size)) - set(plan.edits[0].kept) == set(weak)


def test_what_a_stock_pruner_cut_is_made_up_for(run, tmp_path):
    names = run(FOLDER / "compensated.py", "--to", "compensated")
    done, model, x = names["done"], names["model"], names["example_inputs"]
    assert any(row.taken for row in done.rows)
    assert min(done.outputs.values()) < done.outputs["plain"]
    assert torch.equal(ip.load(tmp_path / "compensated")(x), model(x))
    assert ip.artifact.read_config(tmp_path / "compensated").compensations == (done,)


def test_scripts_that_look_importances_up_find_ours_once_registered(monkeypatch):
    """On a namespace of its own: scripts that ran before may have registered already."""
    ours = ip.importance.CapacityIndependenceImportance
    monkeypatch.setattr(tp, "importance", SimpleNamespace(RandomImportance=tp.importance.RandomImportance))
    ip.register()
    assert tp.importance.CapacityIndependenceImportance is ours
    assert set(vars(tp.importance)) > {"RandomImportance", "IndependenceImportance"}
