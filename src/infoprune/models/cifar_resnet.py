"""Residual networks for images of 32 x 32 (He et al. 2015 and 2016)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from infoprune.models.base import made_for, models

WIDTHS = (16, 32, 64)


class PaddedShortcut(nn.Module):
    """Every second pixel, between channels of zeros: a shortcut without weights.

    The zeros are buffers, so that they shrink with the channels they are added to.
    """

    before: Tensor
    after: Tensor

    def __init__(self, added: int):
        super().__init__()
        self.register_buffer("before", torch.zeros(1, added // 2, 1, 1))
        self.register_buffer("after", torch.zeros(1, added - added // 2, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, ::2, ::2]
        n, _, h, w = x.shape
        return torch.cat([self.before.expand(n, -1, h, w), x, self.after.expand(n, -1, h, w)], 1)


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside an identity."""

    def __init__(self, i: int, o: int, stride: int):
        super().__init__()
        self.conv1, self.bn1 = _conv3(i, o, stride), nn.BatchNorm2d(o)
        self.conv2, self.bn2 = _conv3(o, o, 1), nn.BatchNorm2d(o)
        self.relu = nn.ReLU()
        self.shortcut = PaddedShortcut(o - i) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y + self.shortcut(x))


class PreActivationBottleneck(nn.Module):
    """Norm and ReLU before each of three convolutions, 1 x 1, 3 x 3 and 1 x 1 to four times the width."""

    def __init__(self, i: int, width: int, stride: int):
        super().__init__()
        o = 4 * width
        self.bn1, self.conv1 = nn.BatchNorm2d(i), nn.Conv2d(i, width, 1, bias=False)
        self.bn2, self.conv2 = nn.BatchNorm2d(width), _conv3(width, width, stride)
        self.bn3, self.conv3 = nn.BatchNorm2d(width), nn.Conv2d(width, o, 1, bias=False)
        self.relu = nn.ReLU()
        self.shortcut = nn.Conv2d(i, o, 1, stride, bias=False) if i != o else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(self.relu(self.bn1(x)))
        y = self.conv2(self.relu(self.bn2(y)))
        return self.conv3(self.relu(self.bn3(y))) + self.shortcut(x)


class CifarResNet(nn.Module):
    """6n + 2 layers: a convolution, three stages of n basic blocks at widths 16, 32 and 64, a classifier."""

    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential

    def __init__(self, depth: int, num_classes: int):
        super().__init__()
        n, i = (depth - 2) // 6, WIDTHS[0]
        self.conv1, self.bn1, self.relu = _conv3(3, i, 1), nn.BatchNorm2d(i), nn.ReLU()
        for stage, width in enumerate(WIDTHS, 1):
            blocks = [BasicBlock(i if b == 0 else width, width, 2 if b == 0 and stage > 1 else 1) for b in range(n)]
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
            i = width
        self.fc = nn.Linear(i, num_classes)
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(x.mean((2, 3)))


class PreActivationResNet(nn.Module):
    """9n + 2 layers: three stages of n pre-activation bottlenecks that give out 64, 128 and 256 channels."""

    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential

    def __init__(self, depth: int, num_classes: int):
        super().__init__()
        n, i = (depth - 2) // 9, WIDTHS[0]
        self.conv1 = _conv3(3, i, 1)
        for stage, width in enumerate(WIDTHS, 1):
            blocks = [
                PreActivationBottleneck(i if b == 0 else 4 * width, width, 2 if b == 0 and stage > 1 else 1)
                for b in range(n)
            ]
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
            i = 4 * width
        self.bn, self.relu, self.fc = nn.BatchNorm2d(i), nn.ReLU(), nn.Linear(i, num_classes)
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        return self.fc(self.relu(self.bn(x)).mean((2, 3)))


@models.register("resnet20_cifar")
@made_for(3, 32, 32)
def resnet20_cifar(*, num_classes: int = 10) -> CifarResNet:
    """ResNet-20 for 32 x 32: 0.27 M parameters, 40.6 M MACs (ITPruner, table 1: 40.6)."""
    return CifarResNet(20, num_classes)


@models.register("resnet56_cifar")
@made_for(3, 32, 32)
def resnet56_cifar(*, num_classes: int = 10) -> CifarResNet:
    """ResNet-56 for 32 x 32: 0.85 M parameters, 125.5 M MACs (ITPruner: 125; PED counts 126.54)."""
    return CifarResNet(56, num_classes)


@models.register("resnet110_cifar")
@made_for(3, 32, 32)
def resnet110_cifar(*, num_classes: int = 10) -> CifarResNet:
    """ResNet-110 for 32 x 32: 1.73 M parameters, 252.9 M MACs."""
    return CifarResNet(110, num_classes)


@models.register("resnet164_cifar")
@made_for(3, 32, 32)
def resnet164_cifar(*, num_classes: int = 10) -> PreActivationResNet:
    """ResNet-164 with pre-activation bottlenecks for 32 x 32: 54 units, 1.70 M parameters."""
    return PreActivationResNet(164, num_classes)


def _conv3(i: int, o: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(i, o, 3, stride, 1, bias=False)


def _initialise(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
