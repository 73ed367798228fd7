"""A Darknet backbone with three heads - segmentation, disparity, reconstruction - to be split between two machines.

`three_task` is the network of the feature selection paper (section 4): YOLOv3's backbone, whose 36th layer gives out
256 maps at an eighth of the input's size, and heads like FCN-8. `small_three_task` is the same idea at a size that
trains on a processor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from infoprune.models.base import made_for, models

TASKS = ("segmentation", "disparity", "reconstruction")
CHANNELS = (1, 3)  # of disparity and reconstruction
STAGES = ((64, 1), (128, 2), (256, 8), (512, 8), (1024, 4))  # channels and residual blocks of YOLOv3's backbone
SENT = ("36", "61", "74")  # the last layers at an eighth, a sixteenth and a thirty-second of the input's size


def convolution(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Sequential:
    """Darknet's layer: convolution, batch norm, leaky ReLU."""
    conv = nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.LeakyReLU(0.1))


class Residual(nn.Module):
    """x + 3x3(1x1(x)), with half the channels in between: three layers in Darknet's numbering."""

    def __init__(self, channels: int):
        super().__init__()
        self.reduce = convolution(channels, channels // 2, 1)
        self.expand = convolution(channels // 2, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.expand(self.reduce(x))


class ThreeTaskNet(nn.Module):
    """One backbone, one head for each task; images n x 3 x h x w give {task: n x c x h x w}."""

    def __init__(self, backbone: nn.Module, heads: Mapping[str, nn.Module], num_classes: int):
        super().__init__()
        self.num_classes = num_classes
        self.backbone, self.heads = backbone, nn.ModuleDict(heads)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        features = self.backbone(x)
        return {task: head(features) for task, head in self.heads.items()}


# --- the paper's ---


class Darknet(nn.Module):
    """YOLOv3's backbone without its classifier; each of `layers` has the number of its last layer, 0 to 74, as name."""

    def __init__(self, width: int = 32):
        super().__init__()
        self.layers = nn.ModuleDict({"0": convolution(3, width, 3)})
        number, before = 0, width
        for channels, blocks in ((c * width // 32, blocks) for c, blocks in STAGES):
            number += 1
            self.layers[str(number)] = convolution(before, channels, 3, stride=2)
            for _ in range(blocks):
                number += 3
                self.layers[str(number)] = Residual(channels)
            before = channels

    def forward(self, x: Tensor) -> list[Tensor]:
        """What the layers 36, 61 and 74 give out."""
        kept = []
        for number, layer in self.layers.items():
            x = layer(x)
            if number in SENT:
                kept.append(x)
        return kept


class FCN8(nn.Module):
    """Scores at three scales, added on the way up, and a learned upsampling by 8 (Shelhamer et al. 2017)."""

    def __init__(self, channels: Sequence[int], outputs: int):
        super().__init__()
        self.mix = convolution(channels[-1], channels[-1] // 2, 3)
        self.scores = nn.ModuleList(nn.Conv2d(c, outputs, 1) for c in (*channels[:-1], channels[-1] // 2))
        self.up = nn.ConvTranspose2d(outputs, outputs, 16, 8, 4)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        mixed = (*features[:-1], self.mix(features[-1]))
        fine, middle, coarse = (score(x) for score, x in zip(self.scores, mixed, strict=True))
        middle = middle + F.interpolate(coarse, size=middle.shape[-2:], mode="bilinear", align_corners=False)
        fine = fine + F.interpolate(middle, size=fine.shape[-2:], mode="bilinear", align_corners=False)
        return self.up(fine)


@models.register("three_task")
@made_for(3, 256, 512)
def three_task(num_classes: int = 19, *, width: int = 32) -> ThreeTaskNet:
    """The paper's network: split it at "backbone.layers.36", which gives 256 maps (8 `width`) at an eighth of the size.

    Height and width of the input are multiples of 8; the paper's are 256 x 512. 55 M parameters.
    """
    channels = [c * width // 32 for c, _ in STAGES[2:]]
    heads = {task: FCN8(channels, outputs) for task, outputs in zip(TASKS, (num_classes, *CHANNELS), strict=True)}
    return ThreeTaskNet(Darknet(width), heads, num_classes)


# --- the small one ---


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


@models.register("small_three_task")
@made_for(3, 64, 128)
def small_three_task(num_classes: int = 8, *, width: int = 16, features: int = 64) -> ThreeTaskNet:
    """Split it at "backbone.neck": `features` maps at an eighth of the input's height and width, which 8 must divide.

    0.6 M parameters.

    >>> import torch
    >>> outputs = small_three_task()(torch.rand(1, 3, 32, 64))
    >>> {task: tuple(output.shape) for task, output in outputs.items()}
    {'segmentation': (1, 8, 32, 64), 'disparity': (1, 1, 32, 64), 'reconstruction': (1, 3, 32, 64)}
    """
    heads = {task: SmallHead(features, outputs) for task, outputs in zip(TASKS, (num_classes, *CHANNELS), strict=True)}
    return ThreeTaskNet(SmallBackbone(width, features=features), heads, num_classes)
