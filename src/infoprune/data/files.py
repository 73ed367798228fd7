"""Pictures read from files one by one: resized and cropped as ImageNet networks expect them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from infoprune.data.base import Examples
from infoprune.data.draws import uniform
from infoprune.errors import UnusableData

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
ENDINGS = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm"}
CENTRE = 0.875  # share of the short side that evaluation sees
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Photographs(Examples):
    """items[i] is a path or an image, with its label.

    With `augment` a box of 8 to 100 % of the area (ratio 3:4 to 4:3) is drawn and mirrored half the time, else the
    centre is taken; both are resized to `size` x `size` and normalised as ImageNet is.
    """

    items: Sequence[tuple[Any, int]] = field(repr=False)
    size: int
    augment: bool = False
    seed: int = 0

    def __len__(self) -> int:
        return len(self.items)

    def batch(self, epoch: int, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        draws = uniform(self.seed, epoch, list(indices), 5)
        found = [self.items[int(i)] for i in indices]
        images = torch.stack([self._picture(item, draw) for (item, _), draw in zip(found, draws, strict=True)])
        return images, torch.tensor([label for _, label in found])

    def _picture(self, item: Any, draw: np.ndarray) -> Tensor:
        image = opened(item)
        box = random_box(image.width, image.height, draw) if self.augment else centre_box(image.width, image.height)
        image = image.resize((self.size, self.size), Image.Resampling.BILINEAR, box=box, reducing_gap=2.0)
        if self.augment and draw[4] < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = torch.from_numpy(np.asarray(image, np.float32)).permute(2, 0, 1) / 255
        return (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def opened(item: Any) -> Image.Image:
    if isinstance(item, Image.Image):
        return item.convert("RGB")
    try:
        with Image.open(item) as image:
            return image.convert("RGB")
    except OSError as error:
        raise UnusableData(f"{item} cannot be read as an image ({error}); remove or replace the file") from error


def random_box(width: int, height: int, draw: np.ndarray) -> Box:
    """A box of the drawn area and ratio at the drawn place; the largest of that ratio where it does not fit."""
    area = (0.08 + 0.92 * draw[0]) * width * height
    ratio = math.exp((2 * draw[1] - 1) * math.log(4 / 3))
    w, h = math.sqrt(area * ratio), math.sqrt(area / ratio)
    shrink = min(1.0, width / w, height / h)
    w, h = w * shrink, h * shrink
    x, y = draw[2] * (width - w), draw[3] * (height - h)
    return x, y, x + w, y + h


def centre_box(width: int, height: int) -> Box:
    side = CENTRE * min(width, height)
    x, y = (width - side) / 2, (height - side) / 2
    return x, y, x + side, y + side


def pictures_under(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in ENDINGS)
