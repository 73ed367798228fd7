"""VGG-16 with batch norm for images of 32 x 32."""

from __future__ import annotations

from torch import Tensor, nn

from infoprune.models.base import made_for, models

WIDTHS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512)  # 0 halves the image


class CifarVGG(nn.Module):
    """Thirteen 3 x 3 convolutions, then a hidden layer of 512 and a classifier (the VGG-16 of Li et al. 2017)."""

    def __init__(self, num_classes: int, width: float = 1.0):
        super().__init__()
        layers: list[nn.Module] = []
        i = 3
        for o in (round(o * width) for o in WIDTHS):
            layers += [nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU()] if o else [nn.MaxPool2d(2)]
            i = o or i
        self.features = nn.Sequential(*layers)
        self.hidden, self.bn, self.relu = nn.Linear(i, i), nn.BatchNorm1d(i), nn.ReLU()
        self.classifier = nn.Linear(i, num_classes)
        for module in self.features:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x).mean((2, 3))
        return self.classifier(self.relu(self.bn(self.hidden(x))))


@models.register("vgg16_bn_cifar")
@made_for(3, 32, 32)
def vgg16_bn_cifar(*, num_classes: int = 10, width: float = 1.0) -> CifarVGG:
    """VGG-16-BN for 32 x 32: 14.99 M parameters, 313.5 M MACs (ITPruner, table 1: 313.5); `width` scales all layers."""
    return CifarVGG(num_classes, width)
