"""Where whole blocks or tokens left too: what reads behind them is refitted to what arrives."""

import copy

import pytest
import timm
import torch
from tests.compensation.tied_nets import gap, keeping, pictures
from tests.depth.skip_nets import CifarResNet
from torch import nn

import infoprune as ip
from infoprune.depth.units import removals
from infoprune.surgery import Plan

IMAGE = torch.zeros(2, 3, 8, 8, dtype=torch.float64)


class LinearBranch(nn.Module):
    """A stream to which a branch adds something linear; two layers read it behind."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.branch = nn.Sequential(nn.Conv2d(6, 4, 1), nn.Conv2d(4, 6, 1))
        self.left, self.right = nn.Conv2d(6, 5, 1), nn.Conv2d(6, 5, 1, stride=2)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.branch(x)
        return torch.cat([self.left(x).relu().mean((2, 3)), self.right(x).tanh().mean((2, 3))], 1)


def without(model, x, *names):
    return Plan(tuple(edit for edit in removals(model, x) if edit.site.name in names))


def test_readers_behind_a_linear_block_say_what_it_said():
    torch.manual_seed(0)
    dense = LinearBranch().double().eval()
    [unit] = [site.name for site in ip.skip_units(dense, IMAGE)]
    pruned = ip.prune_(copy.deepcopy(dense), IMAGE, without(dense, IMAGE, unit))
    assert gap(dense, pruned, IMAGE) > 1e-2
    table = ip.compensate_(pruned, dense, pictures(3, 8, 8), progress=False)
    assert gap(dense, pruned, IMAGE) < 1e-9
    assert table.outputs["readers"] < 1e-16


def test_a_residual_network_without_a_block_and_half_of_its_channels_comes_closer():
    torch.manual_seed(0)
    dense = CifarResNet().double().eval()
    x = pictures(3, 8, 8)
    pruned = copy.deepcopy(dense)
    ip.prune_(pruned, IMAGE, without(dense, IMAGE, "layers.1"))
    inner = ip.Graph.trace(pruned, IMAGE).couplings
    half = {name: list(range(0, inner[name].site.size, 2)) for name in inner if name.endswith("conv1")}
    ip.prune_(pruned, IMAGE, keeping(pruned, IMAGE, half))
    before = gap(dense, pruned, IMAGE)
    table = ip.compensate_(pruned, dense, x, progress=False)
    assert min(table.outputs.values()) < 0.5 * table.outputs["plain"]
    assert gap(dense, pruned, IMAGE) < before


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_behind_tokens_that_left_readers_keep_the_refit_of_the_dense_network():
    torch.manual_seed(0)
    dense = timm.create_model(
        "vit_tiny_patch16_224", img_size=64, patch_size=16, embed_dim=24, depth=3, num_heads=3, num_classes=4
    ).eval()
    x = torch.randn(1, 3, 64, 64)
    rates = {f"blocks.{i}.mlp.fc1": 0.5 for i in range(3)}
    widths = ip.plan(dense, x, ip.importance.CapacityIndependenceImportance(), rates=rates)
    pruned = ip.prune_(copy.deepcopy(dense), x, widths)
    ip.tokens.sparsify_(pruned, schedule={1: 0.5})
    loader = [torch.randn(8, 3, 64, 64) for _ in range(3)]
    table = ip.compensate_(pruned, dense, loader, plan=widths, progress=False)
    assert all(row.taken for row in table.rows)
    assert table.outputs["readers"] < table.outputs["plain"]


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:the network looks untrained")
def test_heads_mlps_and_tokens_of_one_plan_are_made_up_for_and_kept_in_an_artefact(tmp_path):
    def made():
        torch.manual_seed(0)
        return timm.create_model(
            "vit_tiny_patch16_224", img_size=48, patch_size=8, embed_dim=24, depth=4, num_heads=3, num_classes=4
        ).eval()

    dense, generator = made(), torch.Generator().manual_seed(1)
    one, *loader = [
        torch.randn(16, 3, 48, 48, generator=generator) + torch.randn(16, 3, 1, 1, generator=generator)
        for _ in range(6)
    ]
    importance = ip.importance.ConditionalImportance(ip.observe(dense, loader, moments=True, progress=False))
    plan = ip.plan(dense, one[:1], importance, tokens=ip.TokenPath(), budgets=[ip.budgets.macs(keep=0.5)])
    assert {edit.site.kind for edit in plan.edits} == {"channels", "tokens"}
    pruned = ip.prune_(copy.deepcopy(dense), one[:1], plan)
    with torch.no_grad():
        before = (pruned(one) - dense(one)).square().sum()
    table = ip.compensate_(pruned, dense, loader, progress=False)
    assert {row.reader for row in table.rows if row.taken} >= {"blocks.0.attn.proj", "blocks.3.mlp.fc2", "head"}
    with torch.no_grad():
        assert (pruned(one) - dense(one)).square().sum() < 0.1 * before
        ip.save(tmp_path / "kept", pruned, plan, factory=made)
        assert torch.equal(ip.load(tmp_path / "kept", factory=made)(one), pruned(one))
    assert ip.match_(pruned, dense, loader, steps=20, progress=False).blocks > 0
