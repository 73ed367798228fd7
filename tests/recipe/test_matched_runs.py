"""Recipes match blocks between compensation and tuning, tell what that gave, and go on where they stopped."""

import copy
from dataclasses import replace

import pytest
import torch
from tests.recipe.test_compensated_runs import NO_TUNING, X, accuracy, dense_of, recipe
from tests.recipe.test_running import task_of, weights

import infoprune as ip
from infoprune.cli import main
from infoprune.data import First
from infoprune.errors import BadRecipe
from infoprune.finetune import loop, matching
from infoprune.recipe import read_recipe, run, to_yaml

MATCH = {"steps": 20, "lr": 0.001, "samples": 48}
DEEP = {"budget": {"macs": 0.15}}


def test_a_run_without_tuning_is_what_match_gives_by_hand(tmp_path):
    made = recipe(tmp_path, match=MATCH, **DEEP, compensate={"samples": 9})
    report = run(made, tmp_path / "out")
    dense, task = dense_of(tmp_path / "out"), task_of(made)
    plan = ip.Plan.from_json((tmp_path / "out/cut-1/plan.json").read_text())
    told = ip.prune_(copy.deepcopy(dense), X, plan)
    ip.compensate_(told, dense, First(task.train, 9, 16, 0), samples=9, progress=False)
    compensated = copy.deepcopy(told)
    found = ip.match_(told, dense, First(task.train, 48, 16, 0), batch=16, progress=False, **MATCH)
    assert found.taken
    ours = ip.load(tmp_path / "out" / "artefact").state_dict()
    assert all(torch.equal(t, ours[name]) for name, t in told.state_dict().items())
    [way] = report.recoveries
    assert [moment.name for moment in way.moments] == [
        "after surgery", "after compensation", "after matching", "after tuning"
    ]  # fmt: skip
    assert way.moments[1].accuracy.value == pytest.approx(accuracy(compensated, task))
    assert way.moments[2].accuracy.value == pytest.approx(accuracy(told, task))


@pytest.mark.slow
@pytest.mark.parametrize("step", [3, 11])
def test_a_run_killed_while_it_matches_ends_with_the_same_artefact(tmp_path, monkeypatch, step):
    made = recipe(tmp_path, match=MATCH, **DEEP, finetune={"epochs": 1, "save_seconds": 0})
    run(made, tmp_path / "whole")
    save = loop._Run._save

    def dies(self):
        save(self)
        if self.training.distill == 1.0 and self.step == step:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(loop._Run, "_save", dies)
        patched.setattr(matching, "HOW", replace(matching.HOW, save_seconds=0.0))
        with pytest.raises(KeyboardInterrupt):
            run(made, tmp_path / "out")
    run(made, tmp_path / "out")
    assert weights(tmp_path / "out") == weights(tmp_path / "whole")


@pytest.mark.slow
def test_without_compensation_it_follows_surgery(tmp_path):
    run(recipe(tmp_path, match=MATCH, **DEEP, compensate=False), tmp_path / "out")
    plain = run(recipe(tmp_path, compensate=False, **DEEP), tmp_path / "plain")
    assert weights(tmp_path / "out") != weights(tmp_path / "plain")
    assert plain.recoveries == ()


WRONG = {
    "a word": ("please", r"match is 'please'; give true, false, or a section such as \{steps: 300\}"),
    "few": ({"samples": 3}, r"match\.samples is 3; give a number of pictures, at least 8"),
    "steps": ({"steps": 0}, r"match\.steps is 0; give a number of steps"),
    "lr": ({"lr": -1}, r"match\.lr is -1"),
    "key": ({"step": 100}, "match.step is not known; did you mean 'steps'"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_in_the_section_is_told(wrong, tmp_path):
    given, told = WRONG[wrong]
    with pytest.raises(BadRecipe, match=told):
        recipe(tmp_path, match=given)


@pytest.mark.parametrize("given", [True, False, {"steps": 64}, None])
def test_the_resolved_recipe_reads_back_as_the_same(given, tmp_path):
    made = recipe(tmp_path, match=given)
    (tmp_path / "r.yaml").write_text(to_yaml(made))
    assert read_recipe(tmp_path / "r.yaml") == made


def test_a_dry_run_tells_of_it(tmp_path, capsys):
    (tmp_path / "r.yaml").write_text(to_yaml(recipe(tmp_path, match=True, finetune=NO_TUNING)))
    assert main(["run", str(tmp_path / "r.yaml"), "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "then readers refitted from 512 pictures, then blocks matched in 300 steps, then" in told
