"""Weights that no layer of the library's own holds as its `weight`, shown to importances as such a layer."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from infoprune.graph.member import Role
from infoprune.graph.parameter_use import Use
from infoprune.graph.slots import Slot


class StandIn(NamedTuple):
    """`layer` gives out, or reads (`role`), along `axis` of its weight what the parameter does along the slot's."""

    layer: nn.Module
    role: Role
    axis: int


def stand_in(parameter: nn.Parameter | None, slot: Slot, use: Use) -> StandIn | None:
    """A linear layer or a convolution with the weight as it is used; None for what does not act as filters."""
    direction = use.directions.get((slot.tensor, slot.axis))
    if parameter is None or direction is None:
        return None
    used = use.values[slot.tensor]
    weight = used if used.shape == parameter.shape else parameter
    gradient = parameter.grad if _passes_gradients(weight, parameter) else None
    groups = use.groups.get(slot.tensor)
    if groups is not None and weight.dim() > 2:
        return _convolution(weight, gradient, direction, slot.axis, groups)
    place = 0 if direction == "out" else 1
    layer = nn.Linear(1, 1, bias=False, device="meta")
    _fill(layer, *(None if t is None else _as_matrix(t, slot.axis, place) for t in (weight, gradient)))
    layer.out_features, layer.in_features = layer.weight.shape
    return StandIn(layer, direction, place)


def _as_matrix(weight: Tensor, axis: int, place: int) -> Tensor:
    """The axis as rows (place 0) or columns (place 1), all others as the other."""
    rows = weight.movedim(axis, 0).flatten(1) if weight.dim() > 1 else weight[:, None]
    return rows.t() if place else rows


def _convolution(weight: Tensor, gradient: Tensor | None, direction: Role, axis: int, groups: int) -> StandIn | None:
    kinds = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}
    transposed = (direction == "out") != (axis == 0)
    first, second = weight.shape[:2]
    if weight.dim() not in kinds or (groups > 1 and (transposed or second > 1)):
        return None
    layer = kinds[weight.dim()](1, 1, 1, bias=False, device="meta")
    _fill(layer, *(t if t is None or not transposed else t.transpose(0, 1) for t in (weight, gradient)))
    layer.out_channels, layer.in_channels = (second, first) if transposed else (first, second * groups)
    layer.groups = groups
    return StandIn(layer, "depthwise" if groups > 1 else direction, 0 if direction == "out" else 1)


def _fill(layer: nn.Module, weight: Tensor | None, gradient: Tensor | None = None) -> None:
    assert weight is not None
    own = nn.Parameter(weight.detach(), requires_grad=False)
    own.grad = gradient
    layer.register_parameter("weight", own)
    vars(layer)["stands_in"] = True


def _passes_gradients(weight: Tensor, parameter: nn.Parameter) -> bool:
    """A mask does: w * gradient is zero where it is. A norm does not: its parameter's gradient is another one."""
    if parameter.grad is None or weight.shape != parameter.shape:
        return False
    same = (weight == parameter) | (weight == 0)
    return bool(torch.as_tensor(same).all())
