"""MobileNet version 1 (Howard et al. 2017)."""

from __future__ import annotations

from torch import Tensor, nn

from infoprune.models.base import made_for, models

BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))


class MobileNetV1(nn.Module):
    """A strided convolution, thirteen depthwise-separable blocks and a classifier."""

    def __init__(self, num_classes: int):
        super().__init__()
        layers, i = [_convolution(3, 32, 3, 2)], 32
        for o, stride in BLOCKS:
            layers += [_convolution(i, i, 3, stride, groups=i), _convolution(i, o, 1, 1)]
            i = o
        self.features, self.classifier = nn.Sequential(*layers), nn.Linear(i, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean((2, 3)))


@models.register("mobilenet_v1")
@made_for(3, 224, 224)
def mobilenet_v1(*, num_classes: int = 1000) -> MobileNetV1:
    """MobileNetV1 at full width for 224 x 224: 4.23 M parameters, 569 M MACs (ITPruner, table 2: 569)."""
    return MobileNetV1(num_classes)


def _convolution(i: int, o: int, kernel: int, stride: int, *, groups: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(i, o, kernel, stride, kernel // 2, groups=groups, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out")
    return nn.Sequential(convolution, nn.BatchNorm2d(o), nn.ReLU())
