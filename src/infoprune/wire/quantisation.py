"""Eight-bit levels between the smallest and the largest value of each feature."""

from __future__ import annotations

import torch
from torch import Tensor

from infoprune.errors import BadFeatures

LEVELS = 255


def quantise(features: Tensor) -> tuple[Tensor, Tensor]:
    """[C, H, W] values as levels 0..255 (uint8), and the float32 [C, 2] smallest and largest value of each feature.

    Level q of a feature stands for low + q (high - low) / 255, so that no value moves by more than half a level,
    (high - low) / 510. A constant feature is all zeros and comes back as it was. Raises BadFeatures where values are
    NaN, infinite or beyond float32.

    >>> quantise(torch.tensor([[[-1.0, 0.0, 4.1]]]))[0]
    tensor([[[  0,  50, 255]]], dtype=torch.uint8)
    """
    values = features.detach().double().flatten(1)
    ranges = torch.stack([values.amin(1), values.amax(1)], 1).float()
    if not ranges.isfinite().all():
        odd = int((~ranges.isfinite().all(1)).nonzero()[0])
        raise BadFeatures(
            f"map {odd} of those sent holds NaN, infinite values or values beyond float32; repair the edge network, "
            "leave that feature out, or send with Lossless()"
        )
    low, step = _scale(ranges)
    levels = ((values - low) / step.where(step > 0, 1.0)).round().clamp(0, LEVELS)
    return levels.to(torch.uint8).view(features.shape), ranges


def dequantise(levels: Tensor, ranges: Tensor, dtype: torch.dtype) -> Tensor:
    """The values that [C, H, W] levels stand for.

    >>> dequantise(torch.tensor([[[0, 51, 255]]], dtype=torch.uint8), torch.tensor([[-1.0, 4.0]]), torch.float32)
    tensor([[[-1.,  0.,  4.]]])
    """
    low, step = _scale(ranges)
    values = (low + levels.flatten(1) * step).view(levels.shape)
    return (values if dtype.is_floating_point else values.round()).to(dtype)


def _scale(ranges: Tensor) -> tuple[Tensor, Tensor]:
    """Low end and size of a level, in double precision, as [C, 1]."""
    low, high = ranges.double()[:, :1], ranges.double()[:, 1:]
    return low, (high - low) / LEVELS
