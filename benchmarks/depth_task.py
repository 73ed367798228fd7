"""CIFAR-style ResNets and a short training on digits on photographs: what the depth benchmarks train.

Not every machine has all packages with photographs, so their number is part of every result.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infoprune.data.digits_on_photos import Digits as Digits


class Block(nn.Module):
    """Two 3 x 3 convolutions around an identity, or a projection where the shape changes."""

    def __init__(self, i: int, o: int, stride: int):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o)
        self.conv2, self.bn2 = nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o)
        same = stride == 1 and i == o
        self.down = nn.Identity() if same else nn.Sequential(nn.Conv2d(i, o, 1, stride, bias=False), nn.BatchNorm2d(o))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.down(x))


class ResNet(nn.Module):
    """6n + 2 layers with widths w, 2w, 4w (He et al. 2015)."""

    def __init__(self, depth: int = 56, width: int = 16, classes: int = 10):
        super().__init__()
        n = (depth - 2) // 6
        self.conv, self.bn = nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        blocks, i = [], width
        for k in range(3):
            for b in range(n):
                blocks.append(Block(i, width * 2**k, 2 if k and b == 0 else 1))
                i = width * 2**k
        self.layers, self.fc = nn.Sequential(*blocks), nn.Linear(i, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.layers(F.relu(self.bn(self.conv(x)))).mean((2, 3)))


class Samples(Protocol):
    """Where batches come from."""

    def sample(self, n: int) -> tuple[Tensor, Tensor]: ...


def train(model: nn.Module, digits: Samples, images: int, *, rate: float, batch: int = 128) -> float:
    """SGD with one cycle of the learning rate in bfloat16; returns the mean loss of the last tenth."""
    steps = max(1, images // batch)
    optimizer = torch.optim.SGD(model.parameters(), rate, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps + 1, pct_start=0.15)
    model.train().to(memory_format=torch.channels_last)
    losses = []
    for _ in range(steps):
        x, y = digits.sample(batch)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = F.cross_entropy(model(x.contiguous(memory_format=torch.channels_last)), y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return float(np.mean(losses[-max(1, steps // 10) :]))


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """The share of pictures whose largest logit is the label's."""
    model.eval()
    hits = 0
    for images, labels in zip(x.split(500), y.split(500), strict=True):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            hits += int((model(images.contiguous(memory_format=torch.channels_last)).argmax(1) == labels).sum())
    return hits / len(y)
