"""Features side by side in one grey picture, and back."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def tile(features: Tensor) -> Tensor:
    """[C, H, W] features row by row in one [rows * H, columns * W] mosaic; unused places are zero.

    columns = 2^ceil(log2(C) / 2), as in deep feature compression (Choi & Bajić 2018); rows are as few as hold them.

    >>> tile(torch.arange(3, dtype=torch.uint8).view(3, 1, 1))
    tensor([[0, 1],
            [2, 0]], dtype=torch.uint8)
    """
    if features.dim() != 3 or not features.numel():
        raise ValueError(f"features are {tuple(features.shape)}; give at least one map, as [C, H, W]")
    count, height, width = features.shape
    rows, columns = grid(count)
    places = torch.cat([features, features.new_zeros(rows * columns - count, height, width)])
    return places.view(rows, columns, height, width).transpose(1, 2).reshape(rows * height, columns * width)


def untile(mosaic: Tensor, count: int) -> Tensor:
    """The [count, H, W] features of a mosaic that `tile` made.

    >>> untile(tile(torch.ones(5, 2, 3)), 5).shape
    torch.Size([5, 2, 3])
    """
    rows, columns = grid(count)
    if mosaic.dim() != 2 or mosaic.shape[0] % rows or mosaic.shape[1] % columns or not mosaic.numel():
        raise ValueError(f"a mosaic of {tuple(mosaic.shape)} does not hold {count} maps in {rows} x {columns} places")
    height, width = mosaic.shape[0] // rows, mosaic.shape[1] // columns
    places = mosaic.view(rows, height, columns, width).transpose(1, 2)
    return places.reshape(rows * columns, height, width)[:count]


def grid(count: int) -> tuple[int, int]:
    """Rows and columns of the mosaic of `count` features."""
    if count < 1:
        raise ValueError(f"a mosaic of {count} maps has no places; give at least one")
    columns = 2 ** math.ceil(math.log2(count) / 2)
    return -(-count // columns), columns
