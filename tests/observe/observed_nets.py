"""Tiny networks and data for observing."""

import torch
from torch import nn


class Small(nn.Module):
    """Two convolutions with batch-norm, an in-place ReLU, dropout and a classifier."""

    def __init__(self, width=6):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, 8, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(8)
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        x = self.bn1(self.conv1(x)).relu_()
        x = self.bn2(self.conv2(x)).relu_()
        return self.fc(self.dropout(x.mean((-2, -1))))


def batches(count=3, size=8, *, labels=True, seed=0):
    generator = torch.Generator().manual_seed(seed)
    inputs = [torch.randn(size, 3, 6, 6, generator=generator) for _ in range(count)]
    if not labels:
        return inputs
    return [(x, torch.randint(4, (size,), generator=generator)) for x in inputs]
