"""Noise in the place of pictures, to try what is to be done with a data set without reading it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from infoprune.data.base import Examples
from infoprune.data.randomness import generators


@dataclass(frozen=True)
class Noise(Examples):
    """Pictures of noise whose labels, if asked for, are 0 and 1 in turn."""

    length: int
    shape: tuple[int, int, int]

    def __len__(self) -> int:
        return self.length

    def batch(self, epoch: int, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        pictures = [torch.randn(self.shape, generator=generator) for generator in generators(0, epoch, indices)]
        return torch.stack(pictures), torch.tensor([int(i) % 2 for i in indices])
