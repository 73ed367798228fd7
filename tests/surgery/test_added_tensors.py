"""Edits that put tensors in: one layer becomes two in the model, its optimizer, its artefact and other processes."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from tests.fresh import python
from tests.small_nets import Residual, image, make
from tests.surgery.low_rank import LowRank
from torch import nn

import infoprune as ip
from infoprune.artifact import read_config
from infoprune.artifact.saving import dense_shapes
from infoprune.errors import BadArtifact, StalePlan
from infoprune.surgery import KeepChannels, Plan
from infoprune.surgery.edit import edits

HEAD = LowRank("head", (5, 8), 3)
X = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def resnet():
    torch.manual_seed(0)
    return timm.create_model("resnet18", num_classes=7).eval()


def halved(model, edit=HEAD, x=None):
    plan = Plan((edit,))
    return ip.prune_(model, image() if x is None else x, plan), plan


def test_the_network_computes_with_the_nearest_matrix_of_that_rank():
    """Eckart and Young: what numpy's singular values leave over is how far the matrix is from the old one."""
    dense = make(Residual)
    model, _ = halved(make(Residual))
    product = model.head[1].weight @ model.head[0].weight
    left_over = torch.linalg.svdvals(dense.head.weight.double())[3:].square().sum().sqrt()
    assert (product - dense.head.weight).double().norm().item() == pytest.approx(left_over.item(), rel=1e-5)
    dense.head.weight = nn.Parameter(product.detach())
    torch.testing.assert_close(model(image()), dense(image()))


def test_the_certificate_compares_both_layers_with_the_one():
    assert ip.certificate_of(make(Residual), image(), Plan((HEAD,))).verdict == "exact"


def test_a_certificate_sees_wrong_factors(monkeypatch):
    model = make(Residual)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    right = LowRank.replace_modules

    def wrong(edit, model):
        right(edit, model)
        model.head[0].weight.data[0] *= 1.001

    monkeypatch.setattr(LowRank, "replace_modules", wrong)
    with pytest.raises(ip.errors.CertificateFailed):
        halved(model)
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_shapes_before_are_the_dense_networks():
    dense = make(Residual)
    shapes = {name: value.shape for name, value in dense.state_dict().items()}
    model, plan = halved(dense)
    assert {"head.0.weight", "head.1.weight", "head.1.bias"} <= model.state_dict().keys()
    assert dense_shapes(model, [plan]) == shapes


def test_new_parameters_join_the_group_of_those_that_they_are_made_of():
    model = make(Residual)
    others = [p for name, p in model.named_parameters() if name != "head.weight"]
    optimizer = torch.optim.SGD([{"params": [model.head.weight], "lr": 0.5}, {"params": others}], lr=0.1, momentum=0.9)
    model(image()).square().mean().backward()
    optimizer.step()
    bias, momentum = model.head.bias, optimizer.state[model.head.bias]["momentum_buffer"].clone()
    model, plan = halved(model)
    ip.rebuild_optimizer(ip.rebuild_optimizer(optimizer, plan, model), plan, model)
    assert [id(p) for p in optimizer.param_groups[0]["params"]] == [id(linear.weight) for linear in model.head]
    assert len(optimizer.param_groups[1]["params"]) == len(others)
    assert model.head[1].bias is bias
    assert torch.equal(optimizer.state[bias]["momentum_buffer"], momentum)
    assert not {id(linear.weight) for linear in model.head} & {id(p) for p in optimizer.state}
    old = model.head[0].weight.clone()
    model(image()).square().mean().backward()
    optimizer.step()
    assert not torch.equal(model.head[0].weight, old)


def test_an_optimizer_follows_channels_cut_before_and_after():
    """stem -> cut, head -> two layers, then the first of the two cut: each step replaces parameters."""
    model = make(Residual)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    plans = []
    for step in range(3):
        optimizer.zero_grad()
        model(image()).square().mean().backward()
        optimizer.step()
        budget = [ip.budgets.macs(keep=0.8)]
        kept = {"importance": ip.importance.CapacityImportance(), "budgets": budget}
        plan = Plan((LowRank("head", tuple(model.head.weight.shape), 3),)) if step == 1 else None
        plan = plan or ip.plan(model, image(), **kept)
        ip.prune_(model, image(), plan)
        ip.rebuild_optimizer(optimizer, plan, model)
        plans.append(plan)
    assert any("head.0.weight" in slot.tensor for edit in plans[2].edits for slot in edit.coupling.slots)
    assert {id(p) for g in optimizer.param_groups for p in g["params"]} == {id(p) for p in model.parameters()}
    shapes = {name: value.shape for name, value in make(Residual).state_dict().items()}
    assert dense_shapes(model, plans) == shapes


def test_an_artefact_gives_the_same_logits_by_name_alone(tmp_path):
    dense = resnet()
    cut = ip.plan(dense, X, ip.importance.CapacityImportance(), budgets=[ip.budgets.macs(keep=0.6)])
    ip.prune_(dense, X, cut)
    model, plan = halved(dense, LowRank("fc", tuple(dense.fc.weight.shape), 2), X)
    ip.save(tmp_path / "a", model, [cut, plan])
    loaded = ip.load(tmp_path / "a")
    assert read_config(tmp_path / "a").architecture.source == "timm"
    with torch.no_grad():
        assert torch.equal(loaded(X), model(X))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (Plan((replace(HEAD, rank=2),)), "head.0.weight is .3, 8., and the plan puts in .2, 8."),
        (Plan((HEAD, LowRank("stem", (4, 4), 2))), "stem"),
    ],
)
def test_plans_that_did_not_make_the_model_are_refused(tmp_path, monkeypatch, wrong, says):
    model, _ = halved(make(Residual))
    monkeypatch.setattr("infoprune.artifact.provenance.plans_of", lambda _: ())
    with pytest.raises(StalePlan, match=says):
        ip.save(tmp_path / "a", model, wrong, factory=lambda: make(Residual))
    assert not (tmp_path / "a").exists()


def test_one_plan_does_not_cut_what_it_replaces():
    model = make(Residual)
    cut = ip.plan(model, image(), ip.importance.CapacityImportance(), budgets=[ip.budgets.macs(keep=0.6)])
    touching = [e for e in cut.edits if isinstance(e, KeepChannels) and any(s.tensor == "head.weight" for s in
                                                                             e.coupling.slots)]  # fmt: skip
    assert touching
    with pytest.raises(StalePlan, match=r"changes head\.weight twice"):
        ip.prune_(model, image(), cut + Plan((HEAD,)))


def test_names_of_new_tensors_are_free(monkeypatch):
    model = make(Residual)
    model.head.register_module("0", nn.Linear(8, 3, bias=False))
    with pytest.raises(StalePlan, match=r"head\.0\.weight already"):
        halved(model)


def test_an_edit_that_promises_other_tensors_than_it_makes_changes_nothing(monkeypatch):
    model = make(Residual)
    added = LowRank.added.fget
    monkeypatch.setattr(
        LowRank, "added", property(lambda edit: {**added(edit), "head.2.weight": ip.surgery.Added((1,))})
    )
    with pytest.raises(StalePlan, match=r"head\.2\.weight is absent"):
        halved(model)
    assert isinstance(model.head, nn.Linear)


SHOP = "[infoprune.edit]\nlow_rank = low_rank:LowRank\n"


def test_a_process_with_the_package_loads_it_and_one_without_says_what_it_lacks(tmp_path, monkeypatch):
    model, plan = halved(resnet(), LowRank("fc", (7, 512), 2), X)
    ip.save(tmp_path / "a", model, plan)
    about = tmp_path / "shop-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: shop\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(SHOP)
    (tmp_path / "low_rank.py").write_text(Path(__file__).with_name("low_rank.py").read_text())
    script = f"import infoprune as ip; print(ip.load({str(tmp_path / 'a')!r}).fc[0].weight.double().sum().item())"
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = python("-c", script, env={"PYTHONPATH": path})
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == model.fc[0].weight.double().sum().item()
    monkeypatch.delitem(edits._factories, "low_rank")
    with pytest.raises(BadArtifact, match=r"no edit of kind 'low_rank'; known: .*keep_channels"):
        ip.load(tmp_path / "a")
