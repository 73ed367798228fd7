"""YOLOv3 and its tiny form (Redmon & Farhadi 2018), written from the paper's tables and the published layer lists."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infoprune.models.base import made_for, models
from infoprune.models.yolov3_boxes import Detections, Scale, detections, losses

STAGES = ((64, 1), (128, 2), (256, 8), (512, 8), (1024, 4))  # Darknet-53: width and residual blocks
ANCHORS = (((116, 90), (156, 198), (373, 326)), ((30, 61), (62, 45), (59, 119)), ((10, 13), (16, 30), (33, 23)))
TINY_ANCHORS = (((81, 82), (135, 169), (344, 319)), ((10, 14), (23, 27), (37, 58)))
STRIDES = (32, 16, 8)


class Maps(NamedTuple):
    """What a detector's scales give, coarse to fine, each n x 3 (5 + classes) x h x w."""

    levels: tuple[Tensor, ...]


class Residual(nn.Module):
    """x + f(x), with f through half the width."""

    def __init__(self, width: int):
        super().__init__()
        self.reduce, self.expand = convolution(width, width // 2, 1), convolution(width // 2, width, 3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.expand(self.reduce(x))


class Darknet53(nn.Module):
    """Five stages, each halving the picture; gives the last three, coarse to fine."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, stages, before = convolution(3, 32, 3), [], 32
        for width, depth in STAGES:
            stages.append(nn.Sequential(convolution(before, width, 3, 2), *(Residual(width) for _ in range(depth))))
            before = width
        self.stages = nn.ModuleList(stages)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        outputs, x = [], self.stem(x)
        for stage in self.stages:
            x = stage(x)
            outputs.append(x)
        return outputs[4], outputs[3], outputs[2]


class TinyBackbone(nn.Module):
    """Seven convolutions with pooling between; gives the last and the fifth."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 16, 32, 64, 128, 256, 512, 1024)
        self.layers = nn.ModuleList(convolution(i, o, 3) for i, o in pairwise(widths))
        self.narrow = convolution(1024, 256, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        for layer in self.layers[:5]:
            fine = layer(x)
            x = F.max_pool2d(fine, 2)
        x = F.max_pool2d(F.pad(self.layers[5](x), (0, 1, 0, 1), mode="replicate"), 2, 1)
        return self.narrow(self.layers[6](x)), fine


class Branch(nn.Module):
    """One scale of YOLOv3's head: five convolutions, what goes up to the next scale, and the map."""

    def __init__(self, inputs: int, width: int, outputs: int):
        super().__init__()
        shapes = ((inputs, width, 1), (width, 2 * width, 3)) + ((2 * width, width, 1), (width, 2 * width, 3)) * 2
        self.trunk = nn.Sequential(*(convolution(i, o, k) for i, o, k in shapes[:5]))
        self.map = nn.Sequential(convolution(width, 2 * width, 3), nn.Conv2d(2 * width, outputs, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.trunk(x)
        return x, self.map(x)


class YOLOv3(nn.Module):
    """Pictures n x 3 x h x w, sides multiples of 32, to `Maps`; `detect` makes boxes of them and `losses` trains them.

    The maps are what a plan leaves alone, as all outputs; every other convolution can shrink.
    """

    def __init__(self, num_classes: int):
        super().__init__()
        outputs = 3 * (5 + num_classes)
        self.backbone = Darknet53()
        self.branches = nn.ModuleList(Branch(i, w, outputs) for i, w in ((1024, 512), (768, 256), (384, 128)))
        self.ups = nn.ModuleList([convolution(512, 256, 1), convolution(256, 128, 1)])
        self.num_classes, self.scales = num_classes, _scales(ANCHORS)

    def forward(self, x: Tensor) -> Maps:
        coarse, *finer = self.backbone(x)
        carried, level = self.branches[0](coarse)
        levels = [level]
        for branch, up, features in zip(self.branches[1:], self.ups, finer, strict=True):
            carried, level = branch(torch.cat([F.interpolate(up(carried), scale_factor=2.0), features], 1))
            levels.append(level)
        return Maps(tuple(levels))

    @torch.no_grad()
    def detect(self, x: Tensor, *, score: float = 0.25, overlap: float = 0.45) -> list[Detections]:
        """Boxes in pixels of `x` with scores and classes, after non-maximum suppression within classes."""
        return detections(self(x).levels, self.scales, score=score, overlap=overlap)

    def losses(self, x: Tensor, targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Of boxes, objectness and classes; targets hold "boxes" (corners in pixels) and "labels" from 0."""
        return losses(self(x).levels, self.scales, targets)


class YOLOv3Tiny(YOLOv3):
    """Two scales on seven convolutions."""

    def __init__(self, num_classes: int):
        nn.Module.__init__(self)
        outputs = 3 * (5 + num_classes)
        self.backbone, self.up = TinyBackbone(), convolution(256, 128, 1)
        self.coarse = nn.Sequential(convolution(256, 512, 3), nn.Conv2d(512, outputs, 1))
        self.fine = nn.Sequential(convolution(384, 256, 3), nn.Conv2d(256, outputs, 1))
        self.num_classes, self.scales = num_classes, _scales(TINY_ANCHORS)

    def forward(self, x: Tensor) -> Maps:
        coarse, fine = self.backbone(x)
        above = F.interpolate(self.up(coarse), scale_factor=2.0)
        return Maps((self.coarse(coarse), self.fine(torch.cat([above, fine], 1))))


@models.register("yolov3")
@made_for(3, 416, 416)
def yolov3(*, num_classes: int = 80) -> YOLOv3:
    """61.95 M parameters, 32.93 G MACs at 416 x 416 (published: 65.86 G operations, two to a MAC)."""
    return YOLOv3(num_classes)


@models.register("yolov3_tiny")
@made_for(3, 416, 416)
def yolov3_tiny(*, num_classes: int = 80) -> YOLOv3Tiny:
    """8.85 M parameters, 2.78 G MACs at 416 x 416 (published: 5.56 G operations, two to a MAC)."""
    return YOLOv3Tiny(num_classes)


def convolution(i: int, o: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(i, o, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(o), nn.LeakyReLU(0.1))


def _scales(anchors: tuple) -> tuple[Scale, ...]:
    return tuple(Scale(stride, pairs) for stride, pairs in zip(STRIDES, anchors, strict=False))
