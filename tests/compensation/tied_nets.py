"""Networks in double precision in which some channels are linear in others, and what it takes to remove these."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

import infoprune as ip
from infoprune.surgery import KeepChannels, Plan


def tie_(kept: list[int], size: int, *tensors: Tensor, seed: int = 0) -> None:
    """Make the other rows of all these tensors the same mixture of the kept ones."""
    generator = torch.Generator().manual_seed(seed)
    others = [i for i in range(size) if i not in kept]
    mixture = torch.randn(len(others), len(kept), generator=generator, dtype=torch.float64)
    with torch.no_grad():
        for tensor in tensors:
            tensor[others] = torch.einsum("pk,k...->p...", mixture, tensor[kept])


def keeping(model: nn.Module, x: Tensor, kept: dict[str, list[int]]) -> Plan:
    """The plan that keeps these units of these sites."""
    graph = ip.Graph.trace(model, x)
    return Plan(tuple(KeepChannels.of(graph.couplings[site], units) for site, units in kept.items()))


def pictures(*shape: int, count: int = 4, batch: int = 24, seed: int = 1) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, *shape, generator=generator, dtype=torch.float64) for _ in range(count)]


def compensated(dense: nn.Module, x: Tensor, plan: Plan, loader=None) -> tuple[nn.Module, ip.Compensation]:
    pruned = ip.prune_(copy.deepcopy(dense), x, plan)
    return pruned, ip.compensate_(pruned, dense, loader or pictures(*x.shape[1:]), progress=False)


def gap(dense: nn.Module, pruned: nn.Module, x: Tensor) -> float:
    """Largest difference of outputs on other pictures, over the largest output."""
    [other] = pictures(*x.shape[1:], count=1, seed=99)
    with torch.no_grad():
        want, got = dense(other), pruned(other)
    return float((want - got).abs().max() / want.abs().max())


class Joined(nn.Module):
    """Two writers whose channels one convolution reads side by side."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 6, 3, padding=1)
        self.read, self.head = nn.Conv2d(10, 5, 3, padding=1), nn.Conv2d(5, 2, 1)

    def forward(self, x):
        return self.head(self.read(torch.cat([self.left(x), self.right(x)], 1)).tanh()).mean((2, 3))


class Stream(nn.Module):
    """A residual stream of eight channels that three layers write to and three read."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.read1, self.write1 = nn.Conv2d(8, 5, 3, padding=1), nn.Conv2d(5, 8, 1)
        self.read2, self.write2 = nn.Conv2d(8, 5, 1), nn.Conv2d(5, 8, 3, padding=1)
        self.head = nn.Conv2d(8, 3, 1)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.write1(self.read1(x).relu())
        x = x + self.write2(self.read2(x).relu())
        return self.head(x).mean((2, 3))


class Heads(nn.Module):
    """Two heads of four that attend alike, the second of which says a mixture of what the first says."""

    def __init__(self):
        super().__init__()
        self.heads, self.head_dim = 2, 4
        self.embed, self.qkv, self.out = nn.Linear(6, 8), nn.Linear(8, 24), nn.Linear(8, 8)
        self.head = nn.Linear(8, 3)
        with torch.no_grad():
            for tensor in (self.qkv.weight, self.qkv.bias):
                rows = tensor.view(3, 2, 4, -1)
                rows[:2, 1] = rows[:2, 0]

    def forward(self, x):
        b, n, _ = x.shape
        t = self.embed(x)
        q, k, v = self.qkv(t).reshape(b, n, 3, self.heads, self.head_dim).permute(2, 0, 3, 1, 4)
        y = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, -1)
        return self.head((t + self.out(y)).tanh().mean(1))
