"""A Darknet backbone with three heads - segmentation, disparity, reconstruction - to be split between two machines.

`three_task_net` is the network of the feature selection paper (section 4): YOLOv3's backbone, of which the 36th layer
gives out 256 maps at an eighth of the input's size, and three heads like FCN-8. `small_three_task_net` is the same
idea at the size that trains on a laptop.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

TASKS = ("segmentation", "disparity", "reconstruction")


def convolution(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Sequential:
    """Darknet's layer: convolution, batch norm, leaky ReLU."""
    conv = nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.LeakyReLU(0.1))


class Residual(nn.Module):
    """x + 3x3(1x1(x)), with half the channels in between."""

    def __init__(self, channels: int):
        super().__init__()
        self.reduce = convolution(channels, channels // 2, 1)
        self.expand = convolution(channels // 2, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.expand(self.reduce(x))


class SmallBackbone(nn.Module):
    """Darknet's first stages at half its width and with fewer blocks; `neck` gives out the features that are sent."""

    def __init__(self, width: int = 16, repeats: Sequence[int] = (1, 2, 2), features: int = 64):
        super().__init__()
        stages: list[nn.Module] = [convolution(3, width, 3)]
        for stage, blocks in enumerate(repeats):
            channels = width << stage
            stages.append(convolution(channels, 2 * channels, 3, stride=2))
            stages.extend(Residual(2 * channels) for _ in range(blocks))
        self.body = nn.Sequential(*stages)
        self.neck = convolution(width << len(repeats), features, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.neck(self.body(x))


class SmallHead(nn.Module):
    """Three times: convolve and double the size. Then one convolution to the outputs."""

    def __init__(self, features: int, outputs: int, widths: Sequence[int] = (64, 48, 32)):
        super().__init__()
        sizes = zip((features, *widths[:-1]), widths, strict=True)
        self.layers = nn.ModuleList(convolution(before, after, 3) for before, after in sizes)
        self.last = nn.Conv2d(widths[-1], outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = F.interpolate(layer(x), scale_factor=2.0, mode="bilinear", align_corners=False)
        return self.last(x)


class ThreeTaskNet(nn.Module):
    """One backbone, one head for each task; images n x 3 x h x w give {task: n x c x h x w}."""

    def __init__(self, backbone: nn.Module, heads: dict[str, nn.Module]):
        super().__init__()
        self.backbone, self.heads = backbone, nn.ModuleDict(heads)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        features = self.backbone(x)
        return {task: head(features) for task, head in self.heads.items()}


def small_three_task_net(classes: int = 8, *, features: int = 64) -> ThreeTaskNet:
    """Split it at "backbone.neck": 64 maps at an eighth of the input's height and width, which 8 must divide.

    >>> outputs = small_three_task_net()(torch.rand(1, 3, 32, 64))
    >>> {task: tuple(output.shape) for task, output in outputs.items()}
    {'segmentation': (1, 8, 32, 64), 'disparity': (1, 1, 32, 64), 'reconstruction': (1, 3, 32, 64)}
    """
    heads = {task: SmallHead(features, outputs) for task, outputs in zip(TASKS, (classes, 1, 3), strict=True)}
    return ThreeTaskNet(SmallBackbone(features=features), heads)
