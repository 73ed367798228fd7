"""The command line has what the API has: own networks and data, every importance, budgets and shares by layer."""

import json
import re
import sys

import pytest
import torch
import torch_pruning as tp
from tests.cli.own_project import project

import infoprune as ip
from infoprune.cli import main
from infoprune.importance import of_host, rankings
from infoprune.recipe import build_network

SMALL = ["resnet20_cifar", "--macs", "0.5"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("net", "data"):  # of other tests' projects
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return project(tmp_path)


def spoken(capsys, *arguments):
    code = main([str(a) for a in arguments])
    return code, *capsys.readouterr()


def planned(capsys, *arguments):
    code, out, err = spoken(capsys, "plan", *arguments, "--json")
    assert code == 0, err
    return ip.Plan.from_json(out)


HOST = {
    "l1": tp.importance.MagnitudeImportance(p=1), "l2": tp.importance.MagnitudeImportance(p=2),
    "lamp": tp.importance.LAMPImportance(), "fpgm": tp.importance.FPGMImportance(),
    "bn_scale": tp.importance.BNScaleImportance(),
}  # fmt: skip


@pytest.mark.parametrize(
    "name", [name if name in ("l2", "lamp") else pytest.param(name, marks=pytest.mark.slow) for name in sorted(HOST)]
)
def test_the_hosts_importances_go_by_name(capsys, name):
    model, x = build_network("resnet20_cifar"), torch.zeros(1, 3, 32, 32)
    expected = ip.plan(model, x, HOST[name], budgets=[ip.budgets.macs(keep=0.5)])
    assert planned(capsys, *SMALL, "--importance", name).edits == expected.edits


def test_every_name_that_is_listed_can_be_used_or_says_that_it_needs_data():
    assert set(of_host) == {*HOST, "taylor"}
    assert all(rankings[name].about.needs_data == (name == "taylor") for name in (*of_host, "random"))


def test_random_is_the_same_for_the_same_seed_alone(capsys):
    def kept(seed):
        return planned(capsys, *SMALL, "--importance", "random", "--set", f"importance.seed={seed}").edits

    assert kept(0) == kept(0) != kept(1)


def test_taylor_reads_the_gradients_of_the_data_and_leaves_none(here, capsys):
    from infoprune.importance.host_importances import taylor

    torch.manual_seed(0)
    model, x = build_network("Net", file=here / "net.py", classes=3), torch.zeros(1, 3, 16, 16)
    loader = [(torch.randn(8, 3, 16, 16), torch.arange(8) % 3) for _ in range(2)]
    importance = taylor(model, loader)
    assert all(parameter.grad is None for parameter in model.parameters())
    ours = ip.plan(model, x, importance, rates=0.5)
    assert all(parameter.grad is None for parameter in model.parameters())
    torch.nn.functional.cross_entropy(
        model(torch.cat([a for a, _ in loader])), torch.cat([b for _, b in loader])
    ).backward()
    theirs = ip.plan(model, x, tp.importance.TaylorImportance(), rates=0.5)
    assert ours.edits == theirs.edits
    assert planned(capsys, "net.py:Net", "--data", "data.py:Mine", "--importance", "taylor", "--macs", "0.5").edits


@pytest.mark.parametrize("layers", ["curves", "nhsic"])
def test_layer_importances_that_need_data_have_them(here, capsys, layers):
    words = ["net.py:Net", "--data", "pictures", "--set", "data.size=16", "--macs", "0.5", "--layer-importance", layers]
    assert planned(capsys, *words).prices["macs"].keep <= 0.5


def test_options_budgets_and_shares_by_layer(capsys):
    plan = planned(
        capsys, "resnet20_cifar", "--budget", "activations=0.8", "--params", "0.7", "--round-to", "4",
        "--floor", "0.2", "--floor", "layer3.*=0.75", "--ignore", "layer1.*.conv1", "--set", "importance.sigma=0.9",
    )  # fmt: skip
    widths = {edit.site.name: edit.keeps for edit in plan.edits}
    assert not any(name.startswith("layer1.") and name.endswith("conv1") for name in widths)
    assert all(keeps >= 48 for name, keeps in widths.items() if name.startswith("layer3"))
    assert all(keeps % 4 == 0 for keeps in widths.values())
    assert "sigma=0.9" in plan.made_by["importance"]


def test_rates_by_layer_take_the_place_of_a_budget(capsys):
    plan = planned(capsys, "resnet20_cifar", "--rates", "layer3.*.conv1=0.5")
    assert [(e.site.name, e.keeps) for e in plan.edits] == [(f"layer3.{i}.conv1", 32) for i in range(3)]


def test_a_latency_budget_is_priced_and_measured_here(here, capsys):
    plan = planned(capsys, "net.py:Net", "--input", "1x3x64x64", "--latency", "0.9")
    assert "latency" in plan.made_by["budgets"][0]
    assert plan.made_by["latency_verdict"] in ("met", "not met", "cannot tell")
    assert plan.edits


SHAPES = {"resnet20_cifar": (3, 32, 32), "timm:test_resnet": (3, 160, 160), "torchvision:inception_v3": (3, 299, 299)}


@pytest.mark.parametrize(("name", "shape"), SHAPES.items())
def test_inputs_are_of_the_size_that_the_network_was_made_for(name, shape):
    from infoprune.recipe.networks import input_shape
    from infoprune.recipe.sections import ModelSection

    assert input_shape(ModelSection(name)) == shape


def test_inputs_may_be_named_and_of_other_kinds(here, capsys):
    words = ["net.py:Words", "--input", "ids=2x5:int,mask=2x5:float", "--rates", "mid=0.5"]
    assert [(e.site.name, e.keeps) for e in planned(capsys, *words).edits] == [("mid", 8)]


def test_an_own_network_without_an_input_is_asked_for_one(here, capsys):
    code, _, err = spoken(capsys, "plan", "net.py:Net", "--macs", "0.5")
    assert code == 2
    assert "nothing says what Net takes; add --input" in err
    assert planned(capsys, "net.py:Net", "--data", "pictures", "--set", "data.size=16", "--macs", "0.5").edits


# -------------------------------------------------------------------------------------------- own things, verb by verb


@pytest.fixture
def pruned(here, capsys):
    words = ["net.py:Net", "--num-classes", "3", "--input", "1x3x16x16", "--macs", "0.5", "--out", "small"]
    code, out, err = spoken(capsys, "prune", *words)
    assert code == 0, err
    assert "factory=..." in out
    return here / "small"


def test_own_networks_are_pruned_shown_exported_and_trained_further(pruned, here, capsys):
    pytest.importorskip("onnxruntime")
    assert "net.Net" in spoken(capsys, "show", "small")[1]
    code, _, err = spoken(capsys, "export", "small", "small.onnx", "--model", "net.py:Net")
    assert code == 0, err
    assert (here / "small.onnx").is_file()
    changes = ["--set", "data.batch=8", "--set", "finetune.epochs=1", "--set", "finetune.reestimate=0"]
    words = ["small", "--model", "net.py:Net", "--data", "data.py:Mine", *changes, "--out", "tuned"]
    code, out, err = spoken(capsys, "finetune", *words)
    assert code == 0, err
    assert "3 steps, accuracy" in out
    code, untouched, _ = spoken(capsys, "finetune", *words[:-1], "same", "--set", "finetune.epochs=0")
    assert code == 0
    before, after = re.search(r"0 steps, (.+); before them (.+)\n", untouched).groups()
    assert before == after
    assert f"; before them {before}\n" in out
    from net import Net

    assert ip.load("tuned", factory=lambda: Net(num_classes=3))(torch.zeros(1, 3, 16, 16)).shape == (1, 3)
    assert spoken(capsys, "observe", "net.py:Net", "--data", "data.py:Mine", "--out", "seen.safetensors")[0] == 0


@pytest.mark.parametrize(
    "verb", [["export", "small", "x.onnx"], ["finetune", "small", "--data", "data.py:Mine", "--out", "x"]]
)
def test_an_own_artefact_asks_who_builds_it_before_any_work(pruned, capsys, verb):
    code, _, err = spoken(capsys, *verb)
    assert code == 2
    assert "which no registry builds; add --model FILE.py:NAME" in err


def test_finetune_checks_classes_as_run_does(pruned, here, capsys):
    (here / "pictures" / "another").mkdir()
    next((here / "pictures").glob("*/0.png")).rename(here / "pictures" / "another" / "0.png")
    words = ["small", "--model", "net.py:Net", "--data", "pictures", "--set", "data.size=16", "--out", "tuned"]
    code, _, err = spoken(capsys, "finetune", *words)
    assert code == 3
    assert "has 3 classes and the data 4" in err


def test_a_run_directory_is_good_wherever_an_artefact_is(here, capsys):
    (here / "r.yaml").write_text(
        "schema: 1\nmodel: {file: net.py, name: Net, options: {width: 6}}\n"
        "data: {file: data.py, name: Mine, batch: 8}\n"
        "layer_importance: {name: uniform}\nbudget: {macs: 0.5}\nfinetune: {epochs: 1, reestimate: 0}\n"
        "report: {latency: false, baseline_epochs: 0}\n"
    )
    assert spoken(capsys, "run", "r.yaml")[0] == 0
    assert spoken(capsys, "show", "runs/r")[1] == spoken(capsys, "show", "runs/r/artefact")[1]
    words = ["runs/r", "--model", "net.py:Net", "--data", "data.py:Mine", "--set", "data.batch=8", "--out", "tuned"]
    assert spoken(capsys, "finetune", *words, "--set", "finetune.epochs=1")[0] == 0


# ------------------------------------------------------------------------------------------------------- sensitivity


def test_sensitivity_is_measured_once_and_plans_reuse_it(here, capsys, monkeypatch):
    words = ["net.py:Net", "--data", "data.py:Mine", "--set", "data.calibration=16"]
    code, out, err = spoken(capsys, "sensitivity", *words, "--out", "sense", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told == json.loads((here / "sense" / "sensitivity.json").read_text())
    assert [site["site"] for site in told["sites"]] == ["one", "two"]
    assert [p["kept"] for p in told["sites"][1]["points"]] == [0.25, 0.4375, 0.625, 0.8125]
    assert all(p["divergence"] >= 0 for site in told["sites"] for p in site["points"])
    assert "<svg" in (here / "sense" / "sensitivity.html").read_text()
    plan = [*words, "--macs", "0.5", "--layer-importance", "curves"]
    fresh = planned(capsys, *plan, "--set", "data.calibration=24")
    assert fresh.prices["macs"].keep <= 0.5
    monkeypatch.setattr("infoprune.cli.layer_weights.curves", lambda *_, **__: pytest.fail("measured again"))
    reused = planned(capsys, *plan)
    monkeypatch.undo()
    monkeypatch.chdir(here)
    monkeypatch.setenv("XDG_CACHE_HOME", str(here / "elsewhere"))
    assert planned(capsys, *plan) == reused


def test_other_weights_are_measured_anew(here, capsys, monkeypatch):
    words = ["--data", "data.py:Mine", "--set", "data.calibration=16"]
    spoken(capsys, "sensitivity", "net.py:Net", *words)
    spoken(capsys, "sensitivity", "net.py:Net", *words, "--set", "seed=1")
    assert len(list((here / "cache").rglob("*.safetensors"))) == 2


def test_a_table_for_people_says_what_was_measured(here, capsys):
    code, out, _ = spoken(capsys, "sensitivity", "net.py:Net", "--data", "data.py:Mine", "--levels", "0.5")
    assert code == 0
    assert (
        out.splitlines()[0] == "KL divergence (nats) from the dense network, by the share of a layer's units that stays"
    )
    assert out.splitlines()[1].split() == ["layer", "units", "at", "50%", "rank"]


def test_curves_on_disk_are_what_was_measured(tmp_path):
    from tests.small_nets import Residual, image, make

    from infoprune.errors import BadArtifact
    from infoprune.layerwise.curve_files import at_levels, load_curves, save_curves

    model, loader = make(Residual), [torch.randn(8, *image().shape[1:]) for _ in range(2)]
    options = {"samples": 16, "progress": False}
    l2 = tp.importance.MagnitudeImportance(p=2)
    many, few = (ip.layerwise.curves(model, loader, l2, levels=v, **options) for v in ((0.2, 0.4, 0.8), (0.2, 0.4)))
    save_curves(many, tmp_path / "c.safetensors")
    known = load_curves(tmp_path / "c.safetensors", utility=-1.0, trust=0.5)
    again = at_levels(known, (0.2, 0.4))
    graph = ip.Graph.trace(model, image())
    assert again(graph) == few(graph)
    assert at_levels(known, (0.2, 0.6)) is None
    (tmp_path / "c.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(BadArtifact, match="measure them again"):
        load_curves(tmp_path / "c.safetensors")
