"""Plans as data: round trips, sums, tables, and driving a stock pruner."""

import json

import pytest
import timm
import torch
import torch_pruning as tp
from tests.small_nets import NETS, Attention, Dense, Residual, image, make

import infoprune as ip
from infoprune.graph import Graph
from infoprune.surgery import KeepChannels, Plan

L2 = tp.importance.MagnitudeImportance(p=2)


def half(model, x=None, **options):
    return ip.plan(model, image() if x is None else x, L2, budgets=[ip.budgets.macs(keep=0.6)], **options)


@pytest.mark.parametrize("net", NETS)
def test_a_plan_survives_json(net):
    plan = half(make(net), floor=1)
    assert Plan.from_json(plan.to_json()) == plan


def test_a_plan_is_a_table_that_a_person_can_read():
    lines = str(half(make(Residual))).splitlines()
    assert lines[0].split() == ["site", "was", "stays", "keep"]
    assert lines[2].split()[:2] == ["stem", "8"]
    assert "macs" in lines[-2]
    assert "remain" in lines[-1]


def test_two_plans_add_up_to_what_both_keep():
    graph = Graph.trace(make(Residual), image())
    one = Plan((KeepChannels.of(graph.couplings["one"], [0, 1, 2]),))
    other = Plan((KeepChannels.of(graph.couplings["one"], [1, 2, 3]), KeepChannels.of(graph.couplings["stem"], [0])))
    both = one + other
    assert {e.site.name: e.kept for e in both.edits} == {"one": (1, 2), "stem": (0,)}


def test_plans_that_share_nothing_of_a_site_cannot_be_added():
    coupling = Graph.trace(make(Residual), image()).couplings["one"]
    with pytest.raises(ip.errors.StalePlan, match="share no unit of one"):
        Plan((KeepChannels.of(coupling, [0]),)) + Plan((KeepChannels.of(coupling, [1]),))


def test_kept_indices_are_checked():
    coupling = Graph.trace(make(Residual), image()).couplings["one"]
    for kept in ([], [12], [-1], [3, 3]):
        with pytest.raises(ValueError, match="one can't keep"):
            KeepChannels.of(coupling, kept)


def widths(model: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(p.shape) for name, p in model.named_parameters()}


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("resnet18", 3), ("mobilenetv2_050", 3), ("resnext26ts", 1),
        *(pytest.param(name, steps, marks=pytest.mark.slow) for name, steps in (
            ("resnet18", 1), ("mobilenetv2_050", 1), ("resnext26ts", 3), ("densenet121", 1), ("densenet121", 3),
        )),
    ],
)  # fmt: skip
def test_a_plan_drives_a_stock_pruner_to_exactly_its_widths(name, steps):
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=7).eval()
    x = torch.randn(1, 3, 64, 64)
    plan = half(model, x)
    pruner = tp.pruner.BasePruner(
        model, (x,), L2, pruning_ratio=0.0, pruning_ratio_dict=plan.pruning_ratios(model), iterative_steps=steps,
        ignored_layers=[model.get_classifier()], in_channel_groups={}, out_channel_groups={}, num_heads={},
    )  # fmt: skip
    for _ in range(steps):
        pruner.step()
    ours = timm.create_model(name, num_classes=7).eval()
    ip.prune_(ours, x, plan, certify=False)
    assert widths(model) == widths(ours)


def test_heads_have_no_ratio_and_say_so():
    model = make(Attention)
    plan = Plan((KeepChannels.of(Graph.trace(model, image()).couplings["qkv"], [0]),))
    with pytest.raises(ValueError, match="qkv is not a whole layer of single channels"):
        plan.pruning_ratios(model)


def test_made_by_says_who_decided():
    plan = half(make(Dense))
    assert plan.made_by["solver"]
    assert plan.made_by["budgets"] == ["macs keep=0.6"]
    assert json.loads(plan.to_json())["made_by"]["importance"].startswith("MagnitudeImportance")
