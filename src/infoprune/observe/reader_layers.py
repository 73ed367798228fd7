"""Layers that read channels: their weights and their inputs in one form, whatever kind of layer it is.

A weight is *groups x outputs x taps x columns*: of every group what each output reads of each input column at each
place of the kernel. Inputs are *groups x samples x columns*.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

PLACES = 256  # of a map, at most, enter the moments of one picture: neighbours tell the same


def reads(module: Any) -> bool:
    """Whether the module is a convolution, a linear layer or one of transformers' `Conv1D`."""
    known = isinstance(module, nn.Linear | nn.modules.conv._ConvNd) or is_conv1d(module)
    return known and isinstance(module._parameters.get("weight"), Tensor)


def is_conv1d(module: Any) -> bool:
    """transformers' linear layer with the weight the other way round."""
    return type(module).__name__ == "Conv1D" and type(module).__module__.startswith("transformers.")


def input_axis(module: Any) -> int:
    """The axis of its weight along which its inputs lie; its outputs lie along the other of the first two."""
    return 0 if is_conv1d(module) or getattr(module, "transposed", False) else 1


def groups_of(module: Any) -> int:
    return getattr(module, "groups", 1)


def columns_of(module: Any, weight: Tensor, pixels: int = 1) -> Tensor:
    """A weight of this layer's kind as groups x outputs x taps x columns.

    Where a linear layer reads flattened maps of `pixels` pixels, those are taps.
    """
    groups = groups_of(module)
    if isinstance(module, nn.modules.conv._ConvTransposeNd):
        return weight.flatten(2).unflatten(0, (groups, -1)).permute(0, 2, 3, 1)
    if isinstance(module, nn.modules.conv._ConvNd):
        return weight.flatten(2).unflatten(0, (groups, -1)).permute(0, 1, 3, 2)
    flat = weight.mT if is_conv1d(module) else weight
    return flat.unflatten(1, (-1, pixels)).mT[None]


def weight_of(module: Any, columns: Tensor, like: Tensor) -> Tensor:
    """What `columns_of` took apart, put together again in the shape and type of `like`."""
    if isinstance(module, nn.modules.conv._ConvTransposeNd):
        whole = columns.permute(0, 3, 1, 2).flatten(0, 1)
    elif isinstance(module, nn.modules.conv._ConvNd):
        whole = columns.permute(0, 1, 3, 2).flatten(0, 1)
    else:
        flat = columns[0].mT.flatten(1)
        whole = flat.mT if is_conv1d(module) else flat
    return whole.reshape(like.shape).to(like)


def samples_of(module: Any, x: Tensor, pixels: int = 1, seed: int = 0) -> Tensor:
    """The inputs x of this layer as groups x samples x columns; of large maps the same random places each time.

    `seed` chooses the places. Only what a strided 1 x 1 convolution reads is a sample.
    """
    if not isinstance(module, nn.modules.conv._ConvNd):
        return x.reshape(-1, x.shape[-1] // pixels, pixels).mT.reshape(1, -1, x.shape[-1] // pixels)
    spatial = len(module.kernel_size)
    x = x if x.dim() == spatial + 2 else x[None]
    if _skips(module):
        x = x[(..., *(slice(None, None, s) for s in module.stride))]
    maps = x.flatten(2)
    if maps.shape[2] > PLACES:
        maps = maps[:, :, _places(maps.shape[2], seed).to(maps.device)]
    return maps.unflatten(1, (groups_of(module), -1)).permute(1, 0, 3, 2).flatten(1, 2)


def _skips(module: Any) -> bool:
    sized = not isinstance(module.padding, str) and max(module.padding) == 0
    return not module.transposed and max(module.kernel_size) == 1 and max(module.stride) > 1 and sized


def _places(count: int, seed: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:PLACES]
