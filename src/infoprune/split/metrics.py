"""How well a task is done: statistics of each image that add up, and the score of their sum.

Because statistics add up, the score of any subset of images is a sum away: that is what intervals resample.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class Metric:
    """A score of outputs against targets, in `unit`."""

    better: ClassVar[Literal["higher", "lower"]]
    unit: ClassVar[str]

    @abstractmethod
    def statistics(self, output: Tensor, target: Tensor) -> Tensor:
        """What each image adds: images x statistics, float64."""

    @abstractmethod
    def score(self, total: Tensor) -> Tensor:
        """The score of added-up statistics: *batch x statistics to *batch; NaN where nothing could be scored."""


@dataclass(frozen=True)
class MeanIoU(Metric):
    """Mean over classes of intersection / union of labels images x h x w with logits images x classes x h x w.

    In [0, 1]; labels outside 0 ... classes - 1 are ignored, and so is a class that neither side holds. NaN where no
    label counts.

    >>> metric = MeanIoU(classes=2)
    >>> logits = torch.tensor([[[[1.0, 1.0]], [[0.0, 2.0]]]])
    >>> metric.score(metric.statistics(logits, torch.tensor([[[0, 1]]])).sum(0))
    tensor(1., dtype=torch.float64)
    """

    better: ClassVar[Literal["higher", "lower"]] = "higher"
    unit: ClassVar[str] = "mIoU"

    classes: int

    def statistics(self, output: Tensor, target: Tensor) -> Tensor:
        counted = (target >= 0) & (target < self.classes)
        cell = (target * self.classes + output.argmax(1)).where(counted, self.classes**2).flatten(1)
        tables = torch.zeros(len(cell), self.classes**2 + 1, dtype=torch.float64)
        return tables.scatter_add_(1, cell, torch.ones(cell.shape, dtype=torch.float64))[:, :-1]

    def score(self, total: Tensor) -> Tensor:
        confusion = total.unflatten(-1, (self.classes, self.classes))
        both = confusion.diagonal(dim1=-2, dim2=-1)
        return (both / (confusion.sum(-1) + confusion.sum(-2) - both)).nanmean(-1)


@dataclass(frozen=True)
class RMSE(Metric):
    """Root mean squared error over all numbers whose target is positive (sky and gaps have no disparity).

    NaN where no target is positive.
    """

    better: ClassVar[Literal["higher", "lower"]] = "lower"
    unit: ClassVar[str] = "RMSE, px"

    def statistics(self, output: Tensor, target: Tensor) -> Tensor:
        valid = target > 0
        squared = (output.clamp(min=0) - target).double().square().where(valid, 0.0)
        return torch.stack([squared.flatten(1).sum(1), valid.flatten(1).sum(1).double()], 1)

    def score(self, total: Tensor) -> Tensor:
        return (total[..., 0] / total[..., 1]).sqrt()


@dataclass(frozen=True)
class PSNR(Metric):
    """Mean over images of -10 log10 of the mean squared error of numbers in [0, 1]."""

    better: ClassVar[Literal["higher", "lower"]] = "higher"
    unit: ClassVar[str] = "PSNR, dB"

    def statistics(self, output: Tensor, target: Tensor) -> Tensor:
        error = (output.clamp(0, 1) - target).double().square().flatten(1).mean(1)
        return torch.stack([-10 * error.log10(), torch.ones_like(error)], 1)

    def score(self, total: Tensor) -> Tensor:
        return total[..., 0] / total[..., 1]
