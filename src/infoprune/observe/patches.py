"""How feature maps and task outputs are cut into patches that lie at the same place, and what is counted of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infoprune.estimators import mutual_information as mi

CELLS = 4  # an output patch is compared by its averages over so many parts across, unless told


@dataclass(frozen=True)
class WholePatches:
    """Every number of a `size` x `size` patch, in `bins` levels: the paper's patterns. Saturates when wide."""

    size: int = 8
    bins: int = 30

    def fitted(self, patches: Tensor) -> View:
        return View(None, *mi.value_range(patches), self.bins)


@dataclass(frozen=True)
class FixedSteps:
    """Every number of a `size` x `size` patch, in steps of this width, the same for all features.

    Saxe et al. (2018), whom the paper cites, bin in absolute steps. Features that vary little then have few patterns,
    so that wide steps need not saturate; unlike other views the result depends on the features' scale. Numbers beyond
    those of the first images fall into the outermost steps.
    """

    size: int = 8
    step: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.step < math.inf:
            raise ValueError(f"step is {self.step}; give the width of a bin, in the units of the features")

    def fitted(self, patches: Tensor) -> View:
        least, greatest = float(patches.min()), float(patches.max())
        first = math.floor(least / self.step)
        bins = max(1, math.floor(greatest / self.step) + 1 - first)
        low = torch.full((len(patches),), first * self.step, dtype=torch.float64, device=patches.device)
        return View(None, low, low + bins * self.step, bins)


@dataclass(frozen=True)
class PrincipalAxes:
    """A `size` x `size` patch along its `components` widest directions, each in `bins` levels: patterns repeat."""

    size: int = 8
    components: int = 2
    bins: int = 8

    def fitted(self, patches: Tensor) -> View:
        axes = mi.principal_axes(patches, min(self.components, patches.shape[-1]))
        scores = patches.double() @ axes
        low, high = scores.amin(-2, keepdim=True), scores.amax(-2, keepdim=True)
        nothing = torch.zeros(len(patches), dtype=torch.float64, device=patches.device)
        return View((axes, low, high), nothing, nothing + 1, self.bins)


class View(NamedTuple):
    """How the patches of one layer become patterns."""

    axes: tuple[Tensor, Tensor, Tensor] | None  # directions, least and greatest score
    low: Tensor
    high: Tensor
    bins: int

    def numbers(self, patches: Tensor) -> Tensor:
        """What is binned of features x n x d patches."""
        if self.axes is None:
            return patches
        axes, low, high = self.axes
        return ((patches @ axes.to(patches)).double() - low) / (high - low).where(high > low, 1.0)


class Grid(NamedTuple):
    """Where the patches of a layer lie: rows x columns of squares covering this share of height and width."""

    rows: int
    columns: int
    height: float = 1.0
    width: float = 1.0


def by_channel(features: Tensor, layer: nn.Module) -> Tensor:
    """All numbers of each channel, channels x n: the second axis of maps and convolutions, else the last."""
    maps = isinstance(layer, nn.modules.conv._ConvNd) or (features.dim() == 4 and not isinstance(layer, nn.Linear))
    return features.movedim(1 if maps else -1, 0).flatten(1)


def patches_of(features: Tensor, layer: nn.Module, size: int) -> tuple[Tensor, Grid]:
    """Channels x n x d patches, image after image; without height and width every number is a patch."""
    if features.dim() == 4 and not isinstance(layer, nn.Linear):
        height, width = features.shape[-2:]
        side = min(size, height, width)
        rows, columns = height // side, width // side
        return mi.patches(features, side), Grid(rows, columns, rows * side / height, columns * side / width)
    numbers = by_channel(features, layer)
    return numbers.unsqueeze(-1), Grid(numbers.shape[1] // len(features), 1)


def corresponding(output: Tensor, grid: Grid, cells: int = CELLS) -> Tensor:
    """What a task gives out where each patch lies, n x numbers; an output without places belongs to all patches.

    Averages over cells x cells parts of the patch: as many parts as it has pixels are all of them.
    """
    if output.dim() != 4:
        return output.flatten(1).repeat_interleave(grid.rows * grid.columns, 0)
    height, width = (max(1, round(s * share)) for s, share in zip(output.shape[-2:], grid[2:], strict=True))
    averages = F.adaptive_avg_pool2d(output[..., :height, :width], (cells * grid.rows, cells * grid.columns))
    return mi.patches(averages, cells).permute(1, 0, 2).flatten(1)
