"""Statistics over channels: the masked original takes them over what is kept, however they are written."""

import copy

import pytest
import torch
import torch.nn.functional as F
import torch_pruning as tp
from torch import Tensor, nn

import infoprune as ip
from infoprune.graph import Graph
from infoprune.graph.arguments import Arguments
from infoprune.surgery.certificate import certify, masked_original

L2 = tp.importance.MagnitudeImportance(p=2)


class RMSNormByHand(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.rand(16) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.gain


class LayerNormByHand(RMSNormByHand):
    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(-1, keepdim=True)
        return (x - mean) / (((x - mean) ** 2).mean(-1, keepdim=True) + 1e-5).sqrt() * self.gain


class Standardised(RMSNormByHand):
    def forward(self, x: Tensor) -> Tensor:
        return (x - x.mean(-1, True)) / (x.std(-1, keepdim=True) + 1e-5) * self.gain


class BiasedVariance(RMSNormByHand):
    def forward(self, x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(x, -1, correction=0, keepdim=True)
        return (x - mean) * (variance + 1e-5).rsqrt() * self.gain


class ResponseNorm(RMSNormByHand):
    """ConvNeXt V2's: each channel's norm over the tokens by the mean of these norms."""

    def forward(self, x: Tensor) -> Tensor:
        size = x.norm(dim=1, keepdim=True)
        return x + self.gain * x * size / (size.mean(-1, keepdim=True) + 1e-6)


class ChannelMean(nn.Module):
    """A gate made of the average over channels."""

    def forward(self, x: Tensor) -> Tensor:
        return x * x.sigmoid().mean(-1, keepdim=True)


class LayerNormWithoutAffine(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:])


class RMSNormWithoutAffine(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, x.shape[-1:])


class GroupNormWithoutAffine(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.group_norm(x.transpose(1, 2), 2).transpose(1, 2)


NORMS = {
    "rms norm by hand": (RMSNormByHand, "average over channels"),
    "layer norm by hand": (LayerNormByHand, "average over channels"),
    "standard deviation": (Standardised, "average over channels"),
    "biased variance": (BiasedVariance, "average over channels"),
    "response norm": (ResponseNorm, "average over channels"),
    "average over channels": (ChannelMean, "average over channels"),
    "layer norm without affine": (LayerNormWithoutAffine, "layer norm"),
    "rms norm without affine": (RMSNormWithoutAffine, "average over channels"),
    "group norm without affine": (GroupNormWithoutAffine, "group norm"),
    "layer norm": (lambda: nn.LayerNorm(16), "layer norm"),
    "rms norm": (lambda: nn.RMSNorm(16), "average over channels"),
}


class Normed(nn.Module):
    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.embed, self.norm = nn.Linear(6, 16), norm
        self.mlp, self.head = nn.Linear(16, 24), nn.Linear(24, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.gelu(self.mlp(self.norm(self.embed(x)))))


def made(name: str) -> nn.Module:
    torch.manual_seed(0)
    return Normed(NORMS[name][0]()).eval()


def tokens() -> Tensor:
    return torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", NORMS)
def test_every_statistic_over_channels_is_reproduced_and_gets_a_number(name):
    model = made(name)
    assert not Graph.trace(model, tokens()).quarantined
    certificate = ip.certificate_of(model, tokens(), ip.plan(model, tokens(), L2, rates=0.5))
    assert certificate.verdict == "not exact by design"
    assert certificate.statistics == (NORMS[name][1],)
    assert certificate.difference <= 1e-12


@pytest.mark.parametrize("name", NORMS)
def test_a_wrong_index_behind_a_statistic_is_seen(name):
    """The kept columns of the layer behind the norm are put in another order after surgery."""
    model = made(name)
    plan = ip.plan(model, tokens(), L2, rates=0.5)
    wrong = copy.deepcopy(model)
    with torch.no_grad():
        wrong.mlp.weight.copy_(wrong.mlp.weight.roll(1, 1))
    assert not agrees(wrong, model, plan)
    assert agrees(model, model, plan)


def agrees(source: nn.Module, original: nn.Module, plan: ip.Plan) -> bool:
    """Whether `source`, cut by the plan, computes what the masked `original` computes."""
    pruned = ip.prune_(copy.deepcopy(source), tokens(), plan, certify=False)
    masked = masked_original(original, plan.edits)
    return certify(pruned, masked, plan.edits, Arguments.of(tokens()), macs=0).verdict != "failed"
