"""Files that installed packages carry: read where they are, without importing the package."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def folder_of(package: str) -> Path:
    """Where the package is installed; nowhere if it is not."""
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).parent if spec and spec.origin else Path("/nowhere")


def packaged_photographs(patterns: Iterable[tuple[str, str]]) -> list[Image.Image]:
    """The photographs that match (package, pattern), in a fixed order."""
    files = [file for package, pattern in patterns for file in sorted(folder_of(package).glob(pattern))]
    return [Image.open(file).convert("RGB") for file in files]


def square_parts(pictures: Sequence[Image.Image], count: int, size: int, sides: tuple[int, int], seed: int) -> Tensor:
    """Square parts of the pictures in turn, `sides` their least and greatest length: bytes, count x 3 x size x size."""
    random, out = np.random.default_rng(seed), np.empty((count, size, size, 3), "uint8")
    for i in range(count):
        picture = pictures[i % len(pictures)]
        side = int(random.integers(min(sides[0], *picture.size), min(sides[1], *picture.size) + 1))
        left, top = (int(random.integers(0, length - side + 1)) for length in picture.size)
        box = (left, top, left + side, top + side)
        out[i] = np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR, box=box))
    return torch.from_numpy(out).permute(0, 3, 1, 2).contiguous()
