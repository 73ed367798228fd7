"""Small networks with skip connections of every kind, and the units that timm models have by design."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CifarBlock(nn.Module):
    """Sum and activation as functions that overwrite; a projection where the shape changes."""

    def __init__(self, i: int, o: int, stride: int):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o)
        self.conv2, self.bn2 = nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o)
        same = stride == 1 and i == o
        self.down = nn.Identity() if same else nn.Sequential(nn.Conv2d(i, o, 1, stride), nn.BatchNorm2d(o))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        y += self.down(x)
        return F.relu(y, inplace=True)


class CifarResNet(nn.Module):
    """6n + 2 layers, 3n skip units of which two have projections."""

    def __init__(self, n: int = 2, width: int = 4, classes: int = 5):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        widths = [width * 2**k for k in range(3)]
        blocks = [(widths[max(0, k - (b == 0))], widths[k], 1 + (k > 0 and b == 0)) for k in range(3) for b in range(n)]
        self.layers = nn.Sequential(*(CifarBlock(*block) for block in blocks))
        self.fc = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.layers(F.relu(self.bn(self.conv(x)))).mean((2, 3)))


class Halves(nn.Module):
    """A pre-norm transformer block that needs an extra argument and gives back a tuple."""

    def __init__(self, width: int):
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(width), nn.MultiheadAttention(width, 2, batch_first=True)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.gamma = nn.Parameter(torch.full((width,), 0.5))

    def forward(self, x: Tensor, scale: float) -> tuple[Tensor, None]:
        y = self.norm1(x)
        x = x + self.gamma * self.attn(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.norm2(x)), None


class Transformer(nn.Module):
    def __init__(self, depth: int = 3, width: int = 8):
        super().__init__()
        self.stem = nn.Linear(6, width)
        self.blocks = nn.ModuleList(Halves(width) for _ in range(depth))
        self.head = nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x, _ = block(x, 1.0)
        return self.head(x.mean(1))


class DenseLayer(nn.Module):
    def __init__(self, i: int, growth: int = 4):
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(i), nn.Conv2d(i, growth, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(torch.relu(self.norm(x)))


class Dense(nn.Module):
    """Each layer's channels are appended to its input."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 1, 1)
        self.layers = nn.ModuleList(DenseLayer(8 + 4 * k) for k in range(3))
        self.norm, self.head = nn.BatchNorm2d(20), nn.Linear(20, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return self.head(torch.relu(self.norm(x)).mean((2, 3)))


class SiluResidual(nn.Module):
    """The activation after the sum is not the identity on what comes in, so it must stay."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, 1, 1)
        self.block = _SiluBlock()
        self.head = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.head((self.block(x) * x).mean((2, 3)))


class _SiluBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act = nn.Conv2d(6, 6, 3, 1, 1), nn.SiLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(x + self.conv(x))


class Plain(nn.Sequential):
    """No skip connection."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))


def randomised(model: nn.Module) -> nn.Module:
    """No norm starts at zero or one, so that a branch that should count does."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.is_floating_point() and tensor.dim() == 1:
            noise = torch.rand(tensor.shape, generator=generator)
            tensor.data = 0.5 + noise if "var" in name or "weight" in name else 0.2 * noise
    return model.eval()


# timm model, its arguments, input size, units by design and what they are
ZOO = [
    ("resnet18", 64, 8, "8 basic blocks, 3 with a projection"),
    ("resnet34", 64, 16, "16 basic blocks"),
    ("resnet50", 64, 16, "16 bottlenecks, 4 with a projection"),
    ("resnet26d", 64, 8, "8 bottlenecks, projections with pooling"),
    ("resnext50_32x4d", 64, 16, "16 grouped bottlenecks"),
    ("seresnet50", 64, 16, "16 bottlenecks with squeeze-excitation"),
    ("ecaresnet26t", 64, 8, "8 bottlenecks with channel attention"),
    ("skresnet18", 64, 8, "8 selective-kernel blocks"),
    ("res2net50_26w_4s", 64, 16, "16 multi-scale bottlenecks"),
    ("resnext26ts", 64, 8, "8 bottlenecks with SiLU after the sum"),
    ("resnetv2_50", 64, 16, "16 pre-activation bottlenecks"),
    ("resnetv2_18", 64, 8, "8 pre-activation basic blocks"),
    ("regnetx_002", 64, 13, "1 + 1 + 4 + 7 blocks"),
    ("regnety_002", 64, 13, "1 + 1 + 4 + 7 blocks with squeeze-excitation"),
    ("mobilenetv2_100", 64, 10, "10 of 17 inverted residuals keep their shape"),
    ("mobilenetv3_small_100", 64, 6, "6 of 11 inverted residuals keep their shape"),
    ("mnasnet_100", 64, 10, "10 of 17 inverted residuals keep their shape"),
    ("efficientnet_b0", 64, 9, "9 of 16 inverted residuals keep their shape"),
    ("efficientnet_lite0", 64, 9, "9 of 16 inverted residuals keep their shape"),
    ("efficientnetv2_rw_t", 64, 34, "34 of 39 blocks keep their shape"),
    ("convnext_atto", 64, 12, "2 + 2 + 6 + 2 blocks"),
    ("convnextv2_atto", 64, 12, "2 + 2 + 6 + 2 blocks"),
    ("densenet121", 64, 58, "6 + 12 + 24 + 16 layers"),
    ("vit_tiny_patch16_224", 224, 24, "12 blocks of attention and MLP"),
    ("deit_tiny_patch16_224", 224, 24, "12 blocks of attention and MLP"),
    ("swin_tiny_patch4_window7_224", 224, 24, "12 blocks of attention and MLP"),
    ("mixer_s16_224", 224, 16, "8 blocks of two MLPs"),
    ("resmlp_12_224", 224, 24, "12 blocks of a linear and an MLP"),
    ("pvt_v2_b0", 64, 16, "8 blocks of attention and MLP"),
    ("xception41", 64, 12, "12 blocks, 4 with a projection"),
    ("fastvit_t8", 64, 20, "10 blocks of a token mixer and an MLP"),
    ("ghostnet_100", 64, 16, "16 bottlenecks, 5 with a projection"),
]
SIZES = {name: size for name, size, _, _ in ZOO}
