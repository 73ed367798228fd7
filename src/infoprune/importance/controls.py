"""What a criterion must beat: filters in a drawn order, and the criterion's own order turned round (table VIII)."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from infoprune.importance.base import About, importances
from infoprune.importance.capacity_independence import PAPER, FilterImportance, check_sigma, mix


@importances.register("random")
@dataclass(frozen=True)
class SeededRandomImportance(FilterImportance):
    """A number in [0, 1) for every filter, from `seed` and the layer's name: the same in every process.

    torch-pruning's RandomImportance draws from the global generator, and anew at every call.

    Args:
        seed: Of the numbers.
        normalizer: Makes groups comparable where a pruner ranks them together: a word of torch-pruning such as "mean",
            a function, or None for scores as they are.
        reduction: How what several layers say of one unit becomes one score: "mean", "sum", "max", "prod" or "first".
        readers: Rate the layers that read a channel as well, which the paper does not.
    """

    about: ClassVar[About] = About(PAPER, "filters", needs_data=False)

    seed: int = 0

    def rate(self, weights: Tensor, name: str) -> Tensor:
        generator = torch.Generator().manual_seed(zlib.crc32(f"{self.seed} {name}".encode()))
        return torch.rand(len(weights), generator=generator).to(weights.device)


@importances.register("most_important_first")
@dataclass(frozen=True)
class MostImportantFirstImportance(FilterImportance):
    """-(sigma Norm(IM_cap) + (1 - sigma) Norm(IM_ind)): what capacity and independence rate highest leaves first.

    In [-1, 0]. Table VIII of the paper sets it beside the least important and random filters.

    Args:
        sigma: The share of capacity, in [0, 1].
        normalizer: Makes groups comparable where a pruner ranks them together: a word of torch-pruning such as "mean",
            a function, or None for scores as they are.
        reduction: How what several layers say of one unit becomes one score: "mean", "sum", "max", "prod" or "first".
        readers: Rate the layers that read a channel as well, which the paper does not.
    """

    about: ClassVar[About] = About(PAPER, "that of capacity and independence together", needs_data=False)

    sigma: float = 0.8

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sigma(self.sigma)

    def rate(self, weights: Tensor, name: str) -> Tensor:
        return -mix(weights, name, self.sigma)
