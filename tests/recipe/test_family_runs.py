"""A recipe that lists several sizes: one dense network, one look, a run a member, one artefact and one page."""

import itertools
import json
import random
import re
import shutil

import pytest
import torch
import yaml
from tests.kill_points import writes_before
from tests.recipe.test_compensated_runs import X, recipe
from tests.recipe.test_rehearsal import told
from tests.recipe.tiny import RECIPES, families, tiny
from tests.torch_flops import torch_flops

import infoprune as ip
from infoprune.cli import main
from infoprune.errors import BadRecipe, Infeasible, Interrupted
from infoprune.recipe import family as family_runs
from infoprune.recipe import read_recipe, recipe_of, run, run_family, to_yaml
from infoprune.recipe.members import members_of
from infoprune.recipe.yaml_text import parsed

SIZES = [0.7, 0.4]


def made(root, **sections):
    return recipe(root, **{"budget": {"macs": SIZES}, **sections})


def plan_of(out, member):
    return ip.Plan.from_json((out / member / "cut-1" / "plan.json").read_text())


def state_of(out, member):
    return ip.load(out / "artefact", member=member).state_dict()


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    root = tmp_path_factory.mktemp("family")
    with pytest.MonkeyPatch.context() as patch:
        from tests.recipe.conftest import resnet8_cifar

        from infoprune.models import models

        patch.setitem(models._factories, "resnet8_cifar", resnet8_cifar)
        return root / "out", run_family(made(root), root / "out"), made(root)


def test_every_member_is_within_its_budget_and_inside_the_larger_one(finished):
    out, reports, _ = finished
    assert list(reports) == ["0.7", "0.4"]
    kept = [{edit.site.name: set(edit.kept) for edit in plan_of(out, name).edits} for name in reports]
    assert all(small[site] <= large[site] for large, small in itertools.pairwise(kept) for site in large)
    for name, keep in zip(reports, SIZES, strict=True):
        macs = torch_flops(ip.load(out / "artefact", member=name), X) // 2
        assert macs == reports[name].after.macs <= keep * reports[name].before.macs


def test_members_are_the_networks_of_their_own_runs(finished):
    out, reports, _ = finished
    for name in reports:
        assert same(state_of(out, name), ip.load(out / name / "artefact").state_dict())
    assert len({(out / name / "dense.safetensors").read_bytes() for name in reports}) == 1


def test_the_largest_member_is_what_its_recipe_gives_alone(finished, tmp_path):
    """Its plan has no ceiling, and what is looked at together is what is looked at alone."""
    out, reports, whole = finished
    report = run(members_of(whole)["0.7"], tmp_path / "alone")
    assert report.after.macs == reports["0.7"].after.macs
    assert same(ip.load(tmp_path / "alone" / "artefact").state_dict(), state_of(out, "0.7"))


def test_the_page_draws_all_of_them(finished):
    out, reports, _ = finished
    page = (out / "report.html").read_text()
    assert "Accuracy against MACs" in page
    assert all(f"<td>{name}</td>" in page for name in ("dense", *reports))
    [lines] = re.findall(r"<pre>(.*?)</pre>", page, re.DOTALL)
    assert "member=" in lines


def test_what_is_finished_is_not_done_again(finished, monkeypatch):
    out, reports, whole = finished
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    monkeypatch.setattr(family_runs, "compensate", None)
    assert run_family(whole, out).keys() == reports.keys()
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")} == before


@pytest.mark.alone
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 6))])
def test_killed_at_any_write_it_goes_on_to_the_same_members(finished, tmp_path, seed):
    out, reports, _ = finished
    again, draw = made(tmp_path), random.Random(seed)
    steps = writes_before(lambda: run_family(again, tmp_path / "whole"))
    for step in sorted(draw.sample(range(steps), 2)):
        writes_before(lambda: run_family(again, tmp_path / "out"), step)
    run_family(again, tmp_path / "out")
    for name in reports:
        assert same(state_of(tmp_path / "out", name), state_of(out, name))
    assert not list((tmp_path / "out").rglob("*.partial*"))


@pytest.mark.slow
def test_a_member_that_is_done_is_not_done_again_after_a_stop(tmp_path, monkeypatch):
    ran, carry_out = [], family_runs.run

    def stopped_at_the_second(one, place, **options):
        if len(ran) == 1:
            raise Interrupted("stopped")
        ran.append(place.name)
        return carry_out(one, place, **options)

    monkeypatch.setattr(family_runs, "run", stopped_at_the_second)
    with pytest.raises(Interrupted):
        run_family(made(tmp_path), tmp_path / "out")
    assert ran == ["0.7"]
    report = tmp_path / "out" / "0.7" / "report.json"
    before = report.stat().st_mtime_ns
    monkeypatch.setattr(family_runs, "run", carry_out)
    assert list(run_family(made(tmp_path), tmp_path / "out")) == ["0.7", "0.4"]
    assert report.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("budget", "told"),
    [
        ({"macs": []}, "give sizes that fall"),
        ({"macs": [0.4, 0.7]}, "give sizes that fall"),
        ({"macs": [0.4, 0.4]}, "give sizes that fall"),
        ({"macs": [0.4, 5000]}, "all shares or all amounts"),
        ({"macs": [0.7, "half"]}, "budget.macs"),
        ({"macs": [0.7, 0.4], "params": [0.7, 0.4]}, "lists sizes by macs and by params"),
        ({"macs": [0.7, 0.4], "rates": 0.5}, "both a limit and rates"),
    ],
    ids=str,
)
def test_sizes_that_make_no_family_are_refused_by_their_key(budget, told, tmp_path):
    with pytest.raises(BadRecipe, match=told):
        made(tmp_path, budget=budget)


@pytest.mark.parametrize("other", [{"depth": {"keep_units": 2}}, {"tokens": {"keep": 0.5}}], ids=str)
def test_sizes_are_of_channels_alone(other, tmp_path):
    with pytest.raises(BadRecipe, match="channels alone"):
        made(tmp_path, **other)


def test_a_smallest_size_that_cannot_be_met_is_told_before_anything_is_written(tmp_path):
    with pytest.raises(Infeasible, match="cannot be met"):
        run_family(made(tmp_path, budget={"macs": [0.7, 0.001]}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_one_run_has_one_size(tmp_path):
    with pytest.raises(BadRecipe, match="lists several sizes"):
        run(made(tmp_path), tmp_path / "out")
    with pytest.raises(BadRecipe, match="lists no sizes"):
        run_family(recipe(tmp_path), tmp_path / "out")


def test_a_limit_beside_holds_for_all_members(tmp_path):
    both = members_of(made(tmp_path, budget={"macs": [0.7, 0.4], "params": 0.9}))
    assert [one.budget.limits for one in both.values()] == [{"macs": 0.7, "params": 0.9}, {"macs": 0.4, "params": 0.9}]


def written(root, **sections):
    path = root / "sizes.yaml"
    path.write_text(yaml.safe_dump(told(root, budget={"macs": SIZES}, **sections), sort_keys=False))
    return path


def test_a_dry_run_prices_all_members_as_the_run_builds_them(tmp_path, capsys):
    path = written(tmp_path)
    assert main(["run", str(path), "--dry-run", "--json"]) == 0
    priced = json.loads(capsys.readouterr().out)
    assert main(["run", str(path), "--out", str(tmp_path / "out"), "--json"]) == 0
    reports = json.loads(capsys.readouterr().out)
    assert {name: one["macs_after"] for name, one in priced.items()} == {
        name: one["after"]["macs"] for name, one in reports.items()
    }
    assert {name: one["params_after"] for name, one in priced.items()} == {
        name: one["after"]["params"] for name, one in reports.items()
    }


def test_the_command_tells_of_every_member(tmp_path, capsys):
    assert main(["run", str(written(tmp_path)), "--set", "finetune.epochs=0", "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert all(f"member {name}" in shown for name in ("0.7", "0.4"))
    assert main(["show", str(tmp_path / "out")]) == 0
    assert "member=" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.usefixtures("few_digits")
@pytest.mark.parametrize("name", families())
def test_a_bundled_family_runs_tiny(name, tmp_path):
    whole = tiny(name, tmp_path / "data")
    assert recipe_of(parsed(to_yaml(whole), name)) == whole
    assert (RECIPES / f"{name}.yaml").read_text().startswith("# ")
    reports = run_family(whole, tmp_path / "out")
    assert list(reports) == list(read_recipe(RECIPES / f"{name}.yaml").budget.sizes)
    for member, report in reports.items():
        assert torch_flops(ip.load(tmp_path / "out" / "artefact", member=member), X) // 2 == report.after.macs
        assert "not met" not in report.budgets.values()


def test_report_draws_the_page_of_a_family_again(finished, capsys):
    out, reports, _ = finished
    drawn = (out / "report.html").read_text()
    (out / "report.html").unlink()
    assert main(["report", str(out)]) == 0
    assert (out / "report.html").read_text() == drawn
    told = capsys.readouterr().out
    assert all(f"{report.after.macs:,}" in told for report in reports.values())
    assert main(["report", str(out), "--json"]) == 0
    assert {name: one["after"]["macs"] for name, one in json.loads(capsys.readouterr().out).items()} == {
        name: report.after.macs for name, report in reports.items()
    }


def test_a_family_with_a_member_that_is_not_finished_names_it(finished, tmp_path, capsys):
    shutil.copytree(finished[0], tmp_path / "out")
    (tmp_path / "out" / "0.4" / "report.json").unlink()
    assert main(["report", str(tmp_path / "out")]) == 1
    assert re.search(r"0\.4 holds no report\.json; give the directory of a finished run", capsys.readouterr().err)
