"""plan_between(): what a stock torch-pruning pruner kept is found in the weights, and made up for like any cut."""

import copy

import pytest
import timm
import torch
import torch_pruning as tp
from tests.small_nets import Grouped, Residual, image, make
from torch import nn

import infoprune as ip
from infoprune.errors import StalePlan

SMALL = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
pytestmark = pytest.mark.filterwarnings("ignore:Unwrapped parameters", "ignore:.*non-full backward hook")


def as_if_trained(model):
    """Norms with statistics and weights of their own, as any training leaves them."""
    generator = torch.Generator().manual_seed(1)
    for m in model.modules():
        if isinstance(m, nn.BatchNorm2d | nn.LayerNorm):
            m.weight.data.uniform_(0.5, 1.5, generator=generator)
            m.bias.data.uniform_(-0.5, 0.5, generator=generator)
        if isinstance(m, nn.BatchNorm2d):
            m.running_mean.uniform_(-0.5, 0.5, generator=generator)
            m.running_var.uniform_(0.5, 1.5, generator=generator)
    return model.eval()


def network(name, **more):
    torch.manual_seed(0)
    return as_if_trained(timm.create_model(name, num_classes=10, **more))


def cut(dense, x=SMALL, steps=1, importance=None, **options):
    """A copy as a stock pruner leaves it."""
    model = copy.deepcopy(dense)
    head = model.get_classifier() if hasattr(model, "get_classifier") else list(model.modules())[-1]
    importance = importance or tp.importance.MagnitudeImportance(p=2)
    options = {"pruning_ratio": 0.5, "ignored_layers": [head], "iterative_steps": steps, **options}
    pruner = tp.pruner.BasePruner(model, (x,), importance, in_channel_groups={}, out_channel_groups={}, **options)
    for _ in range(steps):
        pruner.step()
    return model


def state(model):
    return {name: t for name, t in model.state_dict().items() if isinstance(t, torch.Tensor)}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("test_resnet", {}),
        ("test_resnet", {"steps": 3}),
        ("test_resnet", {"global_pruning": True, "pruning_ratio": 0.3}),
        ("test_resnet", {"importance": tp.importance.RandomImportance()}),
        ("test_efficientnet", {}),
        ("test_convnext", {}),
        ("test_byobnet", {}),
        pytest.param("densenet121", {"pruning_ratio": 0.3}, marks=pytest.mark.slow),
    ],
)
def test_the_plan_makes_the_same_network_of_the_dense_one(name, options):
    dense = network(name)
    pruned = cut(dense, **options)
    plan = ip.plan_between(dense, pruned, SMALL)
    again = ip.prune_(copy.deepcopy(dense), SMALL, plan, certify=False)
    assert same(state(again), state(pruned))
    with torch.no_grad():
        assert torch.equal(again.eval()(SMALL), pruned.eval()(SMALL))
    assert ip.Plan.from_json(plan.to_json()) == plan


@pytest.mark.parametrize("kind", [Residual, Grouped])
def test_small_networks_of_ones_own_too(kind):
    dense = as_if_trained(make(kind))
    pruned = cut(dense, image())
    again = ip.prune_(copy.deepcopy(dense), image(), ip.plan_between(dense, pruned), certify=False)
    assert same(state(again), state(pruned))


class Twins(nn.Module):
    """Every channel of the first layer has a twin, so that half of them can be told."""

    def __init__(self):
        super().__init__()
        self.a, self.norm, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Conv2d(8, 5, 3, padding=1)
        self.head = nn.Linear(5, 3)

    def forward(self, x):
        return self.head(self.b(self.norm(self.a(x)).tanh()).mean((2, 3)))


def twins():
    torch.manual_seed(0)
    model = as_if_trained(Twins()).double()
    with torch.no_grad():
        for tensor in (model.a.weight, model.a.bias, model.norm.weight, model.norm.bias):
            tensor[4:] = -tensor[:4]
        model.norm.weight[4:] = model.norm.weight[:4]
        model.norm.running_mean[4:] = -model.norm.running_mean[:4]
        model.norm.running_var[4:] = model.norm.running_var[:4]
    return model


def test_what_a_stock_pruner_took_is_made_up_for_where_it_can_be():
    """tanh is odd: a channel whose twin is its negative is worth nothing, and the cut one comes back whole."""
    dense, x = twins(), torch.zeros(1, 3, 8, 8, dtype=torch.float64)
    pruned = copy.deepcopy(dense)
    group = (
        tp.DependencyGraph()
        .build_dependency(pruned, x)
        .get_pruning_group(pruned.a, tp.prune_conv_out_channels, [1, 3, 4, 6])
    )
    group.prune()
    pictures = torch.randn(64, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        assert (pruned(pictures) - dense(pictures)).abs().max() > 1e-2
        done = ip.compensate_(pruned, dense, [pictures], plan=ip.plan_between(dense, pruned), progress=False)
        assert (pruned(pictures) - dense(pictures)).abs().max() < 1e-9
    assert [row.reader for row in done.rows] == ["b"]


def test_the_artefact_of_such_a_network_comes_back(tmp_path):
    dense = network("test_resnet")
    pruned = cut(dense)
    plan = ip.plan_between(dense, pruned, SMALL)
    done = ip.compensate_(pruned, dense, [torch.randn(16, 3, 64, 64)], plan=plan, progress=False)
    ip.save(tmp_path / "a", pruned, plan)
    with torch.no_grad():
        assert torch.equal(ip.load(tmp_path / "a")(SMALL), pruned(SMALL))
    assert ip.artifact.read_config(tmp_path / "a").compensations == (done,)


def test_biases_of_zero_go_with_their_weights():
    dense = network("test_convnext")
    for m in dense.modules():
        if isinstance(m, nn.Conv2d | nn.Linear) and m.bias is not None:
            nn.init.zeros_(m.bias)
    pruned = cut(dense)
    edits = {edit.layer: edit for edit in ip.plan_between(dense, pruned).edits}
    for edit in edits.values():
        kept = {(a.tensor, a.axis): k for a, k in zip(edit.axes, edit.kept, strict=True)}
        if f"{edit.layer}.bias" in {tensor for tensor, _ in kept} and (f"{edit.layer}.weight", 0) in kept:
            assert kept[f"{edit.layer}.bias", 0] == kept[f"{edit.layer}.weight", 0]


def untrained():
    torch.manual_seed(0)
    return timm.create_model("test_resnet", num_classes=10).eval()


def trained_on(model):
    with torch.no_grad():
        next(model.parameters()).add_(0.1)
    return model


WRONG = {
    "trained": (lambda: (network("test_resnet"), trained_on(cut(network("test_resnet")))), "slice of what"),
    "another": (lambda: (network("test_resnet"), network("test_efficientnet")), "is in one of the two only"),
    "the wrong way round": (lambda: (cut(network("test_resnet")), network("test_resnet")), "and was"),
    "never trained": (lambda: (untrained(), cut(untrained())), "all hold the same numbers, as before any training"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_part_of_the_dense_network_is_refused(wrong):
    make_both, told = WRONG[wrong]
    dense, pruned = make_both()
    with pytest.raises(StalePlan, match=told):
        ip.plan_between(dense, pruned)
    with pytest.raises(TypeError, match="dense"):
        ip.plan_between(3, pruned)
