"""Tiny networks to be split."""

import torch.nn.functional as F
from torch import nn


class Skip(nn.Module):
    """A residual block between a stem and two heads; the outputs have the input's size."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.inner, self.outer = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.join = nn.ReLU(inplace=True)
        self.classes, self.depth = nn.Conv2d(8, 5, 1), nn.Conv2d(8, 1, 1)

    def forward(self, x):
        y = self.stem(x)
        y = self.join(y + self.outer(F.relu(self.inner(y))))
        heads = {"segmentation": self.classes(y), "disparity": self.depth(y)}
        return {task: F.interpolate(head, size=x.shape[-2:], mode="bilinear") for task, head in heads.items()}


class Branches(nn.Module):
    """One head on the features, one on the picture itself."""

    def __init__(self):
        super().__init__()
        self.features, self.edges = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return {"mean": self.features(x).mean((2, 3)), "edges": self.edges(x)}
