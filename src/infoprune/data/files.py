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
from infoprune.data.preprocessing import USUAL, View
from infoprune.data.randomness import uniform_draws
from infoprune.errors import UnusableData

ENDINGS = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm"}
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Photographs(Examples):
    """items[i] is a path or an image, with its label.

    With `augment` a box of 8 to 100 % of the area (ratio 3:4 to 4:3) is drawn and mirrored half the time, else the
    centre is taken; both are resized to `size` x `size` and normalised as `view` says.
    """

    items: Sequence[tuple[Any, int]] = field(repr=False)
    size: int
    augment: bool = False
    seed: int = 0
    view: View = USUAL

    def __len__(self) -> int:
        return len(self.items)

    def batch(self, epoch: int, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        draws = uniform_draws(self.seed, epoch, list(indices), 5)
        items = [self.items[int(i)] for i in indices]
        images = torch.stack([self._picture(item, draw) for (item, _), draw in zip(items, draws, strict=True)])
        return images, torch.tensor([label for _, label in items])

    def _picture(self, item: Any, draw: np.ndarray) -> Tensor:
        return pictured(opened(item), self.size, self.view, draw if self.augment else None)


def pictured(image: Image.Image, size: int, view: View, draw: np.ndarray | None = None) -> Tensor:
    """The image as a network sees it, 3 x size x size: its centre, or what the five numbers of `draw` pick of it."""
    width, height = image.size
    box = centre_box(width, height, view.crop) if draw is None else random_box(width, height, draw)
    image = image.resize((size, size), view.resampling, box=box, reducing_gap=2.0)
    if draw is not None and draw[4] < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    pixels = torch.from_numpy(np.asarray(image, np.float32)).permute(2, 0, 1) / 255
    return (pixels - torch.tensor(view.mean).view(-1, 1, 1)) / torch.tensor(view.std).view(-1, 1, 1)


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


def centre_box(width: int, height: int, share: float = USUAL.crop) -> Box:
    side = share * min(width, height)
    x, y = (width - side) / 2, (height - side) / 2
    return x, y, x + side, y + side


def pictures_under(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in ENDINGS)
