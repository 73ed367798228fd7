"""infoprune bench with a recipe that varies keys: one run a value, one dense network, one page."""

import json
from statistics import fmean, pvariance

import pytest
import yaml
from tests.recipe.test_rehearsal import told

from infoprune.cli import main
from infoprune.errors import BadRecipe
from infoprune.recipe import read_recipe, running
from infoprune.recipe.varying import read_variants
from infoprune.report.model import Report


def written(root, vary, **sections):
    path = root / "ablation.yaml"
    path.write_text(yaml.safe_dump({**told(root, **sections), "vary": vary}, sort_keys=False))
    return path


def test_a_key_is_varied_in_runs_that_share_the_dense_network(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trained, train = [], running.train
    monkeypatch.setattr(running, "train", lambda *a, **o: trained.append(o["around"].checkpoints) or train(*a, **o))
    layers = {"name": "nhsic_printed"}
    path = written(tmp_path, {"layer_importance.beta": [0, 3], "data.calibration": [8]}, layer_importance=layers)
    assert main(["bench", str(path), "--out", "page.html", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    folders = [tmp_path / "runs" / "ablation" / row["run"] for row in rows]
    assert [f.name for f in folders] == ["layer_importance.beta=0", "layer_importance.beta=3", "data.calibration=8"]
    assert [place.parent.name for place in trained] == ["dense", "cut-1", "cut-1", "cut-1"]
    assert len({(folder / "dense.safetensors").read_bytes() for folder in folders}) == 1
    for row, folder in zip(rows, folders, strict=True):
        weights = [site.weight.value for site in Report.of_run(folder).sites]
        assert row["weights' variance"] == pytest.approx(pvariance(weights) / fmean(weights) ** 2)
    assert rows[0]["weights' variance"] < rows[1]["weights' variance"]
    page = (tmp_path / "page.html").read_text()
    assert "<h2>layer_importance.beta</h2>" in page
    assert "Relative variance of the layers" in page
    assert main(["bench", str(path), "--out", "page.html"]) == 0
    assert len(trained) == 4, "what is finished is not done again"


def test_runs_that_train_another_dense_network_do_not_share_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path, {"seed": [0, 1]})
    assert main(["bench", str(path), "--out", "page.html", "--set", "budget.macs=0.6"]) == 0
    capsys.readouterr()
    dense = [(tmp_path / "runs" / "ablation" / f"seed={n}" / "dense.safetensors").read_bytes() for n in (0, 1)]
    assert dense[0] != dense[1]


@pytest.mark.parametrize("vary", [None, {}, {"seed": 1}, {"seed": []}, [1]])
def test_what_is_varied_are_lists_by_key(tmp_path, vary):
    with pytest.raises(BadRecipe, match=r"vary is .*; give keys with lists of values"):
        read_variants(written(tmp_path, vary))


def test_a_value_that_is_wrong_is_told_before_anything_runs(tmp_path):
    with pytest.raises(BadRecipe, match=r"budget\.macs"):
        read_variants(written(tmp_path, {"budget.macs": [0.5, "many"]}))


def test_run_sends_a_recipe_that_varies_to_bench(tmp_path):
    with pytest.raises(BadRecipe, match="use infoprune bench"):
        read_recipe(written(tmp_path, {"seed": [0, 1]}))


def test_settings_are_for_recipes(tmp_path, capsys):
    assert main(["bench", str(tmp_path), "--out", str(tmp_path / "page.html"), "--set", "seed=1"]) == 2
    assert "--set changes a recipe" in capsys.readouterr().err
