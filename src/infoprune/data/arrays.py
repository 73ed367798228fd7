"""Pictures that fit in memory: bytes with labels, moved and mirrored in whole batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from infoprune.data.base import Examples
from infoprune.data.randomness import uniform_draws


@dataclass(frozen=True)
class Pictures(Examples):
    """n x c x h x w bytes (or floats, which are taken as they are) and labels n.

    Bytes become (x / 255 - mean) / std. With `shift` the picture moves by up to that many pixels (zeros come in after
    normalisation), with `mirror` every second one is turned left to right.
    """

    images: Tensor = field(repr=False)
    labels: Tensor = field(repr=False)
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    shift: int = 0
    mirror: bool = False
    seed: int = 0

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, epoch: int, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        index = torch.as_tensor(list(indices))
        images = self._normal(self.images[index])
        if self.shift or self.mirror:
            draws = uniform_draws(self.seed, epoch, index.numpy(), 3)
            images = self._moved(images, draws[:, :2]) if self.shift else images
            if self.mirror:
                images = torch.where(torch.from_numpy(draws[:, 2] < 0.5)[:, None, None, None], images.flip(3), images)
        return images, self.labels[index]

    def _normal(self, images: Tensor) -> Tensor:
        if images.is_floating_point():
            return images
        mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (self.mean, self.std))
        return (images.float() / 255 - mean) / std

    def _moved(self, images: Tensor, draws: np.ndarray) -> Tensor:
        n, _, height, width = images.shape
        padded = torch.nn.functional.pad(images, (self.shift,) * 4)
        offsets = torch.from_numpy((draws * (2 * self.shift + 1)).astype(np.int64))
        rows = offsets[:, :1] + torch.arange(height)
        columns = offsets[:, 1:] + torch.arange(width)
        picked = padded.permute(0, 2, 3, 1)[torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]
        return picked.permute(0, 3, 1, 2).contiguous()
