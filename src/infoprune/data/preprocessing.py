"""How a network wants to see pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
WAYS = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}  # as PIL numbers them


@dataclass(frozen=True)
class View:
    """How a picture becomes a tensor.

    Args:
        size: Height and width of the tensor; None where they are not said.
        mean: Taken off each channel.
        std: What it is divided by then.
        crop: The share of the short side that evaluation sees.
        interpolation: "bilinear", "bicubic", "nearest", "lanczos", "box" or "hamming".
    """

    size: int | None = None
    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = STD
    crop: float = 0.875
    interpolation: str = "bilinear"

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> View:
        """What timm's `pretrained_cfg`, or a mapping with the same keys, says; the usual where it says nothing."""
        shape, usual = config.get("input_size"), cls()
        way = str(config.get("interpolation") or usual.interpolation)
        return cls(
            int(shape[-2]) if shape else None,
            tuple(config.get("mean") or usual.mean),
            tuple(config.get("std") or usual.std),
            float(config.get("crop_pct") or usual.crop),
            way if way in WAYS else usual.interpolation,
        )

    @property
    def resampling(self) -> Image.Resampling:
        return Image.Resampling(WAYS[self.interpolation])


USUAL = View()
