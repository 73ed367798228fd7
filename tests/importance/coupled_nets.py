"""Tiny networks, one for each way in which layers are coupled."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch_pruning as tp
from torch import Tensor, nn


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.branch = nn.Conv2d(8, 8, 3, padding=1)
        self.shortcut = nn.Conv2d(8, 8, 1)
        self.head = nn.Conv2d(8, 5, 1)

    def forward(self, x):
        x = self.norm(self.stem(x)).relu()
        return self.head((self.branch(x) + self.shortcut(x)).relu()).mean((2, 3))


class Concat(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(3, 10, 1)
        self.norm = nn.BatchNorm2d(16)
        self.head = nn.Conv2d(16, 5, 1)

    def forward(self, x):
        return self.head(self.norm(torch.cat([self.left(x), self.right(x)], 1))).mean((2, 3))


class Split(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, padding=1)
        self.left, self.right = nn.Conv2d(6, 4, 1), nn.Conv2d(6, 4, 3, padding=1)

    def forward(self, x):
        left, right = self.stem(x).relu().chunk(2, dim=1)
        return (self.left(left) * self.right(right)).mean((2, 3))


class Attention(nn.Module):
    """Fused queries, keys and values, which every root channel of `proj` owns one of each of."""

    def __init__(self, width=16, heads=4):
        super().__init__()
        self.heads = heads
        self.embed = nn.Linear(8, width)
        self.norm = nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.head = nn.Linear(width, 5)

    def forward(self, x):
        x = self.embed(x)
        b, n, _ = x.shape
        qkv = self.qkv(self.norm(x)).reshape(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        mixed = ((q @ k.mT).softmax(-1) @ v).transpose(1, 2).reshape(b, n, -1)
        return self.head((x + self.proj(mixed)).mean(1))


class LayerScale(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(8, 12)
        self.gamma = nn.Parameter(torch.rand(12))
        self.head = nn.Linear(12, 5)

    def forward(self, x):
        return self.head(self.stem(x) * self.gamma)


def image() -> tuple[Tensor]:
    return (torch.randn(2, 3, 8, 8),)


NETS = {
    "residual": lambda: (Residual(), image()),
    "concat": lambda: (Concat(), image()),
    "split": lambda: (Split(), image()),
    "flatten": lambda: (
        nn.Sequential(nn.Conv2d(3, 6, 3, stride=4), nn.Flatten(), nn.Linear(24, 10), nn.Linear(10, 5)),
        image(),
    ),
    "grouped": lambda: (
        nn.Sequential(nn.Conv2d(3, 12, 1), nn.Conv2d(12, 12, 3, groups=3), nn.Conv2d(12, 5, 1)),
        image(),
    ),
    "depthwise": lambda: (
        nn.Sequential(
            nn.Conv2d(3, 8, 1),
            nn.Conv2d(8, 8, 3, groups=8),
            nn.GroupNorm(2, 8),
            nn.PReLU(8),
            nn.Conv2d(8, 5, 1),
        ),
        image(),
    ),
    "transposed": lambda: (
        nn.Sequential(nn.ConvTranspose2d(3, 8, 2, stride=2), nn.PReLU(), nn.ConvTranspose2d(8, 5, 1)),
        image(),
    ),
    "1-D": lambda: (nn.Sequential(nn.Conv1d(3, 8, 3), nn.Conv1d(8, 5, 1)), (torch.randn(2, 3, 9),)),
    "3-D": lambda: (nn.Sequential(nn.Conv3d(2, 8, 3), nn.Conv3d(8, 5, 1)), (torch.randn(2, 2, 4, 4, 4),)),
    "attention": lambda: (Attention(), (torch.randn(2, 6, 8),)),
    "parameter": lambda: (LayerScale(), (torch.randn(2, 8),)),
}


def last_layer(net: nn.Module) -> nn.Module:
    return [m for m in net.modules() if isinstance(m, nn.Linear | nn.modules.conv._ConvNd)][-1]


def traced(net: nn.Module, inputs: tuple[Tensor, ...]) -> tp.DependencyGraph:
    return tp.DependencyGraph().build_dependency(net, inputs, verbose=False)


def groups_of(net: nn.Module, inputs: tuple[Tensor, ...]) -> Iterator[tp.Group]:
    """All groups but the output's; an attention's is rooted at its projection, as in the host's pruner."""
    graph = traced(net, inputs)
    for group in graph.get_all_groups(ignored_layers=[last_layer(net)]):
        if isinstance(net, Attention) and group[0].dep.target.module is net.qkv:
            group = graph.get_pruning_group(net.proj, tp.prune_linear_in_channels, list(range(16)))
        yield group


def pruner(net: nn.Module, inputs: tuple[Tensor, ...], importance: object, **options) -> tp.pruner.BasePruner:
    """The host's pruner with its shared mutable defaults left alone."""
    heads = {net.qkv: net.heads} if isinstance(net, Attention) else {}
    bare = [(net.gamma, 0)] if isinstance(net, LayerScale) else None
    fixed = {
        "num_heads": heads,
        "in_channel_groups": {},
        "out_channel_groups": {},
        "unwrapped_parameters": bare,
    }
    ignored = [last_layer(net)]
    return tp.pruner.BasePruner(net, inputs, importance, ignored_layers=ignored, **fixed, **options)
