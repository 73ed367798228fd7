"""One layer's part in a coupled group of channels."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

Role = Literal["out", "in", "depthwise", "norm", "parameter"]


class Member(NamedTuple):
    """`layer` owns indices `index` of the group; entry i belongs to root unit position `root[i]`.

    `index` counts along the axis that `role` names: output channels for `out` and `depthwise`, input channels for
    `in`, features for `norm`, and the pruned axis of a bare parameter for `parameter`. `root` holds positions in
    the order in which scores are returned, repeated where one root unit owns several indices.
    """

    name: str
    layer: nn.Module | nn.Parameter
    role: Role
    index: Tensor
    root: Tensor


class PartOf(NamedTuple):
    """What a stand-in for some channels of a layer knows of the layer itself: its `part_of`."""

    size: int
    index: Tensor


def stands_in(layer: object) -> bool:
    """Whether it is shown in the place of a bare weight, and is no module of the model."""
    return getattr(layer, "stands_in", False)


def part_of(layer: object) -> PartOf:
    """Where this layer's output channels are among those that the model's own layer gives out."""
    attributes = vars(layer)
    size = attributes["out_features" if isinstance(layer, nn.Linear) else "out_channels"]
    return attributes.get("part_of", PartOf(size, torch.arange(size)))
