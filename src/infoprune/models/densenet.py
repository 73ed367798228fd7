"""Densely connected networks with growth 12 for images of 32 x 32 (Huang et al. 2017)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from infoprune.models.base import made_for, models

GROWTH = 12


class DenseLayer(nn.Module):
    """Norm, ReLU, 3 x 3 convolution; with `bottleneck` a 1 x 1 convolution to 48 channels goes before."""

    def __init__(self, i: int, *, bottleneck: bool):
        super().__init__()
        self.relu, wide = nn.ReLU(), 4 * GROWTH if bottleneck else i
        self.bn1 = nn.BatchNorm2d(i)
        if bottleneck:
            self.conv1, self.bn2 = nn.Conv2d(i, wide, 1, bias=False), nn.BatchNorm2d(wide)
        self.conv2 = nn.Conv2d(wide, GROWTH, 3, padding=1, bias=False)
        self.bottleneck = bottleneck

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(x))
        if self.bottleneck:
            y = self.relu(self.bn2(self.conv1(y)))
        return self.conv2(y)


class DenseBlock(nn.Sequential):
    """Each layer reads all channels before it and its own are put behind them."""

    def forward(self, x: Tensor) -> Tensor:
        for layer in self:
            x = torch.cat([x, layer(x)], 1)
        return x


class Transition(nn.Module):
    """To `o` channels and half the image."""

    def __init__(self, i: int, o: int):
        super().__init__()
        self.bn, self.relu = nn.BatchNorm2d(i), nn.ReLU()
        self.conv, self.pool = nn.Conv2d(i, o, 1, bias=False), nn.AvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.conv(self.relu(self.bn(x))))


class CifarDenseNet(nn.Module):
    """Three blocks of `units` layers; transitions keep the share `compression` of the channels."""

    def __init__(self, units: int, stem: int, *, bottleneck: bool, compression: float, num_classes: int):
        super().__init__()
        i = stem
        layers: list[nn.Module] = [nn.Conv2d(3, stem, 3, padding=1, bias=False)]
        for block in range(3):
            if block:
                o = int(i * compression)
                layers.append(Transition(i, o))
                i = o
            layers.append(DenseBlock(*(DenseLayer(i + GROWTH * n, bottleneck=bottleneck) for n in range(units))))
            i += GROWTH * units
        self.features = nn.Sequential(*layers)
        self.bn, self.relu, self.classifier = nn.BatchNorm2d(i), nn.ReLU(), nn.Linear(i, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.relu(self.bn(self.features(x))).mean((2, 3)))


@models.register("densenet40_cifar")
@made_for(3, 32, 32)
def densenet40_cifar(*, num_classes: int = 10) -> CifarDenseNet:
    """DenseNet-40 (k = 12) for 32 x 32: 36 units."""
    return CifarDenseNet(12, 16, bottleneck=False, compression=1.0, num_classes=num_classes)


@models.register("densenet100_cifar")
@made_for(3, 32, 32)
def densenet100_cifar(*, num_classes: int = 10) -> CifarDenseNet:
    """DenseNet-BC-100 (k = 12) for 32 x 32: 48 units, 0.77 M parameters (PED: 48 units, 0.77 M)."""
    return CifarDenseNet(16, 2 * GROWTH, bottleneck=True, compression=0.5, num_classes=num_classes)
