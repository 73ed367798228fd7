"""What is said of a network on the CPU is said of it on a second device. Run by test_second_device, in its own process.

Arithmetic is the CPU's in both, so that numbers are compared as they are but for orders of summation.
"""

from __future__ import annotations

import copy
import functools

import pytest
import timm
import torch
import torch_pruning as tp
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

import infoprune as ip
from infoprune.data import datasets
from infoprune.estimators import energy, entropy, hsic, kmeans
from infoprune.finetune import Training, hits, train
from infoprune.graph import wrappers
from infoprune.importance import importances
from tests.devices.spare import Spare, spare
from tests.small_nets import Depthwise, Residual

DEVICE = spare()
OURS = ip.importance.CapacityIndependenceImportance()
NETS = {
    "residual": Residual,
    "depthwise": Depthwise,
    "resnet": functools.partial(timm.create_model, "test_resnet", num_classes=5),
    "transformer": functools.partial(
        VisionTransformer, img_size=32, patch_size=8, depth=2, embed_dim=24, num_heads=3, num_classes=5
    ),
}
every_net = pytest.mark.parametrize("kind", NETS)


@pytest.fixture(autouse=True)
def _plain_tensors(monkeypatch):
    """In Python a device is made of a subclass, which is else the mark of what is quantised or spread."""
    dispatch = wrappers._dispatch
    monkeypatch.setattr(wrappers, "_dispatch", lambda kind: dispatch(Tensor if issubclass(kind, Spare) else kind))
    monkeypatch.setattr(torch.accelerator, "synchronize", lambda device=None: None)


def both(kind: str) -> tuple[nn.Module, nn.Module]:
    """The same network here and there, used a little, so that its norms say something."""
    torch.manual_seed(0)
    net = NETS[kind]().train()
    with torch.no_grad():
        for x in pictures():
            net(x)
    return net.eval(), copy.deepcopy(net).eval().to(DEVICE)


def pictures(count: int = 4) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(16, 3, 32, 32, generator=generator) for _ in range(count)]


def labelled() -> list[tuple[Tensor, Tensor]]:
    return [(x, torch.arange(len(x)) % 5) for x in pictures()]


def halved(net: nn.Module, importance: object = OURS, **options: object) -> tuple[nn.Module, ip.Plan]:
    """A pruned copy and its plan."""
    x = pictures()[0][:2].to(next(net.parameters()).device)
    plan = ip.plan(net, x, importance, **(options or {"budgets": [ip.budgets.macs(keep=0.5)]}))
    return ip.prune_(copy.deepcopy(net), x, plan), plan


def same(there: Tensor, here: Tensor) -> None:
    assert isinstance(there, Spare)
    torch.testing.assert_close(there.detach().cpu(), here.detach())


def same_weights(there: nn.Module, here: nn.Module) -> None:
    found, wanted = there.state_dict(), here.state_dict()
    assert found.keys() == wanted.keys()
    for name, tensor in found.items():
        same(tensor, wanted[name])


def test_the_device_will_not_mix_with_the_cpu():
    x = torch.ones(3, device=DEVICE)
    assert x.device == DEVICE
    with pytest.raises(RuntimeError, match="same device"):
        x + torch.ones(3)
    with pytest.raises(RuntimeError, match="same device"):
        x.index_select(0, torch.tensor([0]))
    with pytest.raises(RuntimeError, match="not supported"):
        x.numpy()


@every_net
def test_plans_and_surgery(kind):
    here, there = both(kind)
    (small, plan), (small_there, plan_there) = halved(here), halved(there)
    assert [edit.to_json() for edit in plan_there.edits] == [edit.to_json() for edit in plan.edits]
    assert plan_there.prices == plan.prices
    same_weights(small_there, small)
    same(small_there(pictures()[0].to(DEVICE)), small(pictures()[0]))


@pytest.mark.parametrize("name", sorted(importances))
def test_importances(name):
    found = []
    for net in both("residual"):
        importance = rated(name, net)
        group = tp.DependencyGraph().build_dependency(net, pictures()[0].to(next(net.parameters()).device)[:2])
        found.append(importance(group.get_pruning_group(net.one, tp.prune_conv_out_channels, list(range(12)))))
    torch.testing.assert_close(found[1].cpu(), found[0].cpu())


def rated(name: str, net: nn.Module) -> object:
    """An importance with what it has to see, seen where the network is."""
    if name == "mutual_information":
        return importances[name](ip.split.observe_tasks(net, pictures(), clusters=3, progress=False))
    if importances[name].about.needs_data:
        return importances[name](ip.observe(net, labelled(), moments=True, progress=False))
    return importances[name]()


@pytest.mark.parametrize("kind", ["depthwise", "transformer"])
def test_compensation(kind):
    told = []
    for net in both(kind):
        small, plan = halved(net)
        told.append((small, ip.compensate_(small, net, pictures(), samples=64, plan=plan, progress=False)))
    (here, table), (there, table_there) = told
    same_weights(there, here)
    assert [row.reader for row in table_there.rows] == [row.reader for row in table.rows]
    assert any(row.refitted < row.plain for row in table.rows)


@pytest.mark.parametrize(
    "weights",
    [
        lambda net: ip.layerwise.curves(net, pictures(), OURS, samples=32, progress=False),
        lambda net: ip.layerwise.nhsic(ip.observe(net, labelled(), progress=False)),
        lambda net: ip.layerwise.bottleneck(ip.observe(net, labelled(), progress=False)),
    ],
    ids=["curves", "nhsic", "bottleneck"],
)
def test_importance_of_layers(weights):
    x, nets = pictures()[0][:2], both("residual")
    here, there = (
        weights(net)(ip.Graph.trace(net, x.to(place))) for net, place in zip(nets, ("cpu", DEVICE), strict=True)
    )
    assert there == pytest.approx(here, rel=1e-4)


def test_artefacts(tmp_path):
    small, plan = halved(both("resnet")[1])
    ip.save(tmp_path / "small", small, plan)
    again = ip.load(tmp_path / "small", factory=NETS["resnet"])
    same(small(pictures()[0].to(DEVICE)), again(pictures()[0]))
    same_weights(small, again)


def test_optimizers_go_on():
    net = both("residual")[1].train()
    optimizer = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9)
    step(net, optimizer)
    x = pictures()[0][:2].to(DEVICE)
    plan = ip.plan(net, x, OURS, budgets=[ip.budgets.macs(keep=0.5)])
    ip.prune_(net, x, plan)
    optimizer = ip.rebuild_optimizer(optimizer, plan, net)
    for parameter in net.parameters():
        assert optimizer.state[parameter]["momentum_buffer"].shape == parameter.shape
    step(net, optimizer)


def step(net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    net(pictures()[0].to(DEVICE)).square().mean().backward()
    optimizer.step()


def test_training_and_scoring():
    task = datasets["digits"]()
    torch.manual_seed(0)
    here = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.LazyLinear(10))
    here(task.train.batch(0, [0, 1])[0])
    there = copy.deepcopy(here).to(DEVICE)
    training = Training(epochs=0.05, lr=0.05, precision="fp32", distill=0.5)
    for net in (here, there):
        train(net, task.train, training, batch=32, teacher=copy.deepcopy(net))
    same_weights(there, here)
    assert hits(there, task.held_out)[0] == hits(here, task.held_out)[0]


def test_depth():
    found = []
    for net in both("resnet"):
        x = pictures()[0][:2].to(next(net.parameters()).device)
        seen = ip.unit_energies(net, labelled(), x, progress=False)
        plan = ip.plan_depth(net, x, seen, clusters=2)
        found.append((seen, plan, ip.prune_(net, x, plan)))
    (here, plan, net), (there, plan_there, net_there) = found
    assert plan_there.made_by["stay"] == plan.made_by["stay"]
    assert [float(value) for value, _ in there.values()] == pytest.approx([float(value) for value, _ in here.values()])
    same_weights(net_there, net)


@pytest.mark.parametrize("score", sorted(set(ip.tokens.scores)))
def test_tokens(score):
    here, there = both("transformer")
    for net in (here, there):
        ip.tokens.sparsify_(net, schedule={1: 0.5}, score=score)
    x = pictures()[0]
    same(there(x.to(DEVICE)), here(x))


def test_split_inference():
    here, there = (ip.split.SplitModel(net, at="norm") for net in both("residual"))
    x = pictures()[0]
    same(there.cloud(there.edge(x.to(DEVICE))), here.cloud(here.edge(x)))


def test_latency():
    x, (_, net) = pictures()[0][:2].to(DEVICE), both("residual")
    budget = ip.budgets.latency(keep=0.9)
    plan = ip.plan(net, x, OURS, budgets=[budget])
    small = ip.prune_(copy.deepcopy(net), x, plan)
    assert "spare" in str(ip.compare_latency(net, small, x, seconds=0.05))


@pytest.mark.parametrize(
    "estimate",
    [
        lambda x, y: hsic.hsic(hsic.linear_gram(x), hsic.label_gram(y)),
        lambda x, y: hsic.nhsic(hsic.linear_gram(x), hsic.label_gram(y)),
        energy.energy_dependence,
        lambda x, y: entropy.softmax_entropy(x),
        lambda x, y: kmeans.kmeans_1d(x[:, 0].double(), 3)[0],
    ],
    ids=["hsic", "nhsic", "energy", "entropy", "k-means"],
)
def test_estimators(estimate):
    x, y = torch.randn(40, 6, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 4
    torch.testing.assert_close(estimate(x.to(DEVICE), y.to(DEVICE)).cpu(), estimate(x, y))


def test_the_host_s_pruner_takes_our_importances():
    net = both("resnet")[1]
    x = pictures()[0][:2].to(DEVICE)
    tp.pruner.BasePruner(net, x, OURS, pruning_ratio=0.5, ignored_layers=[net.get_classifier()]).step()
    assert isinstance(net(x), Spare)
