"""A part of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from infoprune.data import Examples
from infoprune.data.base import Targets


@dataclass(frozen=True, eq=False)
class Part(Examples):
    """The examples at some places."""

    whole: Examples
    places: Sequence[int]

    def __len__(self) -> int:
        return len(self.places)

    def batch(self, epoch: int, indices: Sequence[int]) -> tuple[Tensor, Targets]:
        return self.whole.batch(epoch, [self.places[index] for index in indices])
