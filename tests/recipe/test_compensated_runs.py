"""Recipes refit what reads removed units, tell what that gave, and go on where they stopped."""

import copy
import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.recipe.conftest import resnet8_cifar
from tests.recipe.test_running import data_file, task_of, weights

import infoprune as ip
from infoprune.artifact import read_config
from infoprune.cli import main
from infoprune.compensation.norms import tracking_norms
from infoprune.data import First
from infoprune.errors import BadRecipe
from infoprune.finetune import Training, hits, train
from infoprune.finetune.checkpoints import save_tensors
from infoprune.models import models
from infoprune.recipe import build_network, read_recipe, recipe_of, run, running, to_yaml
from infoprune.report.model import Report
from infoprune.report.page import page

X = torch.zeros(1, 3, 16, 16)
NO_TUNING = {"epochs": 0, "reestimate": 0}


def recipe(root, **sections):
    told = {
        "schema": 1,
        "model": {"name": "resnet8_cifar", "train_epochs": 4, "train_lr": 0.05},
        "data": {"name": "tensors", "root": str(data_file(root)), "batch": 16, "calibration": 32},
        "layer_importance": {"name": "uniform"},
        "budget": {"macs": 0.5},
        "finetune": NO_TUNING,
        "report": {"latency": False, "baseline_epochs": 0},
    }
    return recipe_of({name: value for name, value in {**told, **sections}.items() if value is not None})


def dense_of(out):
    model = build_network("resnet8_cifar", num_classes=4)
    model.load_state_dict(load_file(out / "dense.safetensors"))
    return model.eval()


def accuracy(model, task):
    found = hits(model, task.held_out)
    return sum(found) / len(found)


def test_a_run_without_tuning_is_what_compensate_gives_by_hand(tmp_path):
    made = recipe(tmp_path, compensate={"samples": 40})
    report = run(made, tmp_path / "out")
    dense, task = dense_of(tmp_path / "out"), task_of(made)
    plain = ip.prune_(copy.deepcopy(dense), X, ip.Plan.from_json((tmp_path / "out/cut-1/plan.json").read_text()))
    told = ip.prune_(copy.deepcopy(dense), X, ip.Plan.from_json((tmp_path / "out/cut-1/plan.json").read_text()))
    done = ip.compensate_(told, dense, First(task.train, 40, 16, 0), samples=40, progress=False)
    ours = ip.load(tmp_path / "out" / "artefact").state_dict()
    assert all(torch.equal(t, ours[name]) for name, t in told.state_dict().items())
    [way] = report.recoveries
    assert [moment.name for moment in way.moments] == ["after surgery", "after compensation", "after tuning"]
    assert way.moments[0].accuracy.value == pytest.approx(accuracy(plain, task))
    assert way.moments[1].accuracy.value == way.moments[2].accuracy.value == pytest.approx(accuracy(told, task))
    assert way.compensation == done == read_config(tmp_path / "out" / "artefact").compensations[0]
    assert (done.fitted_on, done.held_out) == (35, 5)


def test_the_page_and_the_summary_show_the_way_back(tmp_path, capsys):
    (tmp_path / "r.yaml").write_text(to_yaml(recipe(tmp_path)))
    assert main(["run", str(tmp_path / "r.yaml"), "--out", str(tmp_path / "out")]) == 0
    summary = capsys.readouterr().out
    report = Report.of_run(tmp_path / "out")
    drawn = page(report)
    reached = [f"{moment.accuracy.value:.2%}" for moment in report.recoveries[0].moments]
    assert f"cut-1: {reached[0]} after surgery, {reached[1]} after compensation, {reached[2]} after tuning" in summary
    assert all(text in drawn for text in ("The way back", *reached))
    assert all(row.reader in drawn for row in report.recoveries[0].compensation.rows)
    assert main(["show", str(tmp_path / "out" / "artefact")]) == 0
    shown = capsys.readouterr().out
    assert str(report.recoveries[0].compensation) in shown
    assert shown.index("macs") < shown.index("after surgery")


WILD = {"epochs": 1, "lr": 50.0, "reestimate": 0, "clip_norm": None}


def test_tuning_that_makes_the_network_worse_is_undone(tmp_path, capsys):
    (tmp_path / "r.yaml").write_text(to_yaml(recipe(tmp_path, finetune=WILD)))
    assert main(["run", str(tmp_path / "r.yaml"), "--out", str(tmp_path / "out")]) == 0
    told = capsys.readouterr().out
    artefact, report = ip.load(tmp_path / "out" / "artefact"), Report.of_run(tmp_path / "out")
    compensated = load_file(tmp_path / "out/cut-1/compensated.safetensors")
    assert all(torch.equal(tensor, compensated[name]) for name, tensor in artefact.state_dict().items())
    [way] = report.recoveries
    _, before, after = (moment.accuracy for moment in way.moments)
    assert way.undone
    assert after.value < before.value == report.after.accuracy.value
    assert before.value == pytest.approx(accuracy(artefact, task_of(read_recipe(tmp_path / "r.yaml"))))
    sentence = "tuning made the network worse and was undone; a lower finetune.lr, or finetune.probe"
    assert sentence in told
    assert sentence in page(report)


def test_tuning_that_is_no_worse_beyond_doubt_stands(tmp_path):
    report = run(recipe(tmp_path, finetune={"epochs": 1, "lr": 0.01, "reestimate": 0}), tmp_path / "out")
    artefact = ip.load(tmp_path / "out" / "artefact").state_dict()
    compensated = load_file(tmp_path / "out/cut-1/compensated.safetensors")
    assert not report.recoveries[0].undone
    assert any(not torch.equal(tensor, compensated[name]) for name, tensor in artefact.items())


def test_rivals_try_rates_for_as_long_as_the_tuning_does(tmp_path, monkeypatch, capsys):
    trained, real = [], running.train

    def noted(model, examples, training, **others):
        trained.append((training.epochs, training.probe))
        return real(model, examples, training, **others)

    monkeypatch.setattr(running, "train", noted)
    made = recipe(
        tmp_path, finetune={"epochs": 4, "probe": 0.1}, report={"latency": False, "baseline_epochs": 2}, compensate=None
    )
    run(made, tmp_path / "out")
    assert trained == [(4, 0.0), (2, 0.2), (2, 0.2), (2, 0.2), (4, 0.1)]  # dense, ours, random, l2, the cut itself
    (tmp_path / "r.yaml").write_text(to_yaml(made))
    assert main(["run", str(tmp_path / "r.yaml"), "--dry-run"]) == 0
    assert f"{4 + 3 * 2 * 1.6 + 4 * 1.3:g} epochs in all" in capsys.readouterr().out


def test_false_leaves_it_out(tmp_path):
    report = run(recipe(tmp_path, compensate=False), tmp_path / "out")
    assert report.recoveries == ()
    plain = ip.prune_(dense_of(tmp_path / "out"), X, ip.Plan.from_json((tmp_path / "out/cut-1/plan.json").read_text()))
    ours = ip.load(tmp_path / "out" / "artefact").state_dict()
    assert all(torch.equal(t, ours[name]) for name, t in plain.state_dict().items())
    assert "compensations" not in json.loads((tmp_path / "out/artefact/config.json").read_text())["infoprune"]


def test_rivals_and_blocks_are_compensated_too(tmp_path):
    depth = {"stages": 1, "keep_units": 2, "samples": 32}
    report = run(recipe(tmp_path, depth=depth, report={"latency": False, "baseline_epochs": 1}), tmp_path / "out")
    assert [way.cut for way in report.recoveries] == ["cut-1", "cut-2"]
    assert report.blocks_removed
    kept = {path.parent.name for path in (tmp_path / "out").glob("*/compensation.json")}
    assert kept == {"cut-1", "cut-2", "cut-2-random", "cut-2-l2"}


@pytest.fixture(scope="module")
def never_stopped(tmp_path_factory):
    root = tmp_path_factory.mktemp("never stopped")
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(models._factories, "resnet8_cifar", resnet8_cifar)
        made = recipe(root, finetune={"epochs": 1, "save_seconds": 0, "probe": 0.0})
        run(made, root / "whole")
    return made, root / "whole"


@pytest.mark.parametrize("at", [pytest.param(at, marks=() if at == 3 else pytest.mark.slow) for at in range(1, 5)])
def test_a_run_stopped_around_its_compensation_ends_with_the_same_artefact(tmp_path, monkeypatch, never_stopped, at):
    """At each of its files: what surgery leaves is judged, weights, what was refitted, what that gave."""
    made, whole = never_stopped
    written, files = running.Folder.write, []

    def dies(self, name, text):
        if name.startswith("cut-1") and not name.endswith(("told.json", "plan.json")):
            files.append(name)
            if len(files) == at:
                raise KeyboardInterrupt
        written(self, name, text)

    with monkeypatch.context() as patched:
        patched.setattr(running.Folder, "write", dies)
        with pytest.raises(KeyboardInterrupt):
            run(made, tmp_path / "out")
    run(made, tmp_path / "out")
    assert weights(tmp_path / "out") == weights(whole)


def elsewhere(root):
    """Weights of a network that was trained on other pictures: its norms expect another contrast."""
    model, task = build_network("resnet8_cifar", num_classes=4), task_of(recipe(root))
    train(model, task.train, Training(epochs=8, lr=0.05, distill=0, reestimate=0), batch=16)
    with torch.no_grad():
        for norm in tracking_norms(model).values():
            norm.running_mean += torch.linspace(-2, 2, norm.num_features)
            norm.running_var *= 30
    save_tensors(root / "elsewhere.safetensors", model.state_dict())
    return {"name": "resnet8_cifar", "num_classes": 4, "weights": str(root / "elsewhere.safetensors")}


@pytest.mark.parametrize("compensate", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_norms_of_another_domain_stay_as_the_cut_moved_them(tmp_path, compensate):
    tuning = {"epochs": 2, "lr": 0.01, "reestimate": 32}
    made = recipe(tmp_path, model=elsewhere(tmp_path), finetune=tuning, compensate=compensate)
    report = run(made, tmp_path / "out")
    untuned = run(replace(made, finetune=replace(made.finetune, epochs=0)), tmp_path / "untuned")
    before, after = (ip.load(tmp_path / out / "artefact").state_dict() for out in ("untuned", "out"))
    norms = [name for name in after if "running" in name]
    assert norms
    assert all(torch.equal(after[name], before[name]) for name in norms)
    assert any(not torch.equal(after[name], before[name]) for name in after if name.endswith("conv1.weight"))
    assert report.norms.startswith("norms keep their statistics")
    assert report.norms == untuned.norms
    assert json.loads((tmp_path / "out/dense/domain.json").read_text())["agreement"] < 0.9


def test_pictures_that_the_network_was_trained_on_need_no_asking(tmp_path):
    report = run(recipe(tmp_path, finetune={"epochs": 1}), tmp_path / "out")
    assert report.norms == ""
    assert not (tmp_path / "out/dense/domain.json").exists()


def test_units_may_be_ranked_by_what_the_others_can_make_up_for(tmp_path):
    made = recipe(tmp_path, importance={"name": "conditional"})
    run(made, tmp_path / "out")
    dense, task = dense_of(tmp_path / "out"), task_of(made)
    seen = ip.observe(dense, First(task.train, 32, 16, 0), moments=True, progress=False)
    budgets = [ip.budgets.macs(keep=0.5)]
    by_hand = ip.plan(dense, X, ip.importance.ConditionalImportance(seen), budgets=budgets)
    plan = ip.Plan.from_json((tmp_path / "out/cut-1/plan.json").read_text())
    assert [e.to_json() for e in plan.edits] == [e.to_json() for e in by_hand.edits]


WRONG = {
    "a word": ("yes please", r"compensate is 'yes please'; give true, false, or a section such as \{samples: 256\}"),
    "few": ({"samples": 3}, r"compensate\.samples is 3; give a number of pictures, at least 8"),
    "key": ({"sample": 100}, "compensate.sample is not known; did you mean 'samples'"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_in_the_section_is_told(wrong, tmp_path):
    given, told = WRONG[wrong]
    with pytest.raises(BadRecipe, match=told):
        recipe(tmp_path, compensate=given)


def test_too_few_pictures_are_told_before_anything_is_written(tmp_path):
    made = recipe(tmp_path)
    tensors = {name: t[:7] if name.startswith("train") else t for name, t in load_file(made.data.root).items()}
    save_file(tensors, made.data.root)
    with pytest.raises(BadRecipe, match=r"every process 7 pictures .* 8 at least; give more"):
        run(made, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("given", [True, False, {"samples": 64}])
def test_the_resolved_recipe_reads_back_as_the_same(given, tmp_path):
    made = recipe(tmp_path, compensate=given)
    (tmp_path / "r.yaml").write_text(to_yaml(made))
    assert read_recipe(tmp_path / "r.yaml") == made


def test_a_dry_run_tells_of_it(tmp_path, capsys):
    (tmp_path / "r.yaml").write_text(to_yaml(recipe(tmp_path, finetune={"epochs": 5, "probe": 0.1})))
    assert main(["run", str(tmp_path / "r.yaml"), "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "then readers refitted from 512 pictures, then 5 epochs at a rate that is tried first" in told
    assert "10.5 epochs in all" in told  # 4 dense, 5, and 3 times a tenth of 5


def test_a_run_begun_before_there_was_any_goes_on_without(tmp_path):
    made = recipe(tmp_path, finetune={"epochs": 1, "reestimate": 16})
    run(replace(made, compensate=None), tmp_path / "whole")
    out = tmp_path / "out"
    out.mkdir()
    lines = to_yaml(replace(made, compensate=None)).splitlines()
    then = [line for line in lines if line.split(":")[0].strip() not in ("compensate", "norms", "probe")]
    (out / "recipe.yaml").write_text("\n".join(then))
    for _ in range(2):
        run(made, out)
    assert weights(out) == weights(tmp_path / "whole")
    assert Report.of_run(out).recoveries == ()
