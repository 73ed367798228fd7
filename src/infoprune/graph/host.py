"""A site as torch-pruning would hand it to an importance: a `Group` of dependencies with their indices."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch_pruning._helpers import GroupItem
from torch_pruning.dependency import Dependency, Group, Node
from torch_pruning.ops import module2type
from torch_pruning.pruner.function import PrunerBox

from infoprune.graph.bare_weights import stand_in
from infoprune.graph.member import Member, PartOf, Role
from infoprune.graph.parameter_use import Use
from infoprune.graph.slots import Coupling, Slot, layer_name


class _Part(NamedTuple):
    """A layer's share of a site, in the host's terms."""

    name: str
    layer: nn.Module | nn.Parameter
    role: Role
    axis: int
    index: np.ndarray
    unit: np.ndarray


Modules = Mapping[str, nn.Module]


def group_of(modules: Modules, coupling: Coupling, use: Use) -> tuple[Group, Tensor]:
    """The site's group over all its channels, and the unit of each channel of its root."""
    parts = sorted(_parts(modules, coupling, use), key=_as_root)
    root = _whole(parts[0])
    group = Group()
    source = _node(root)
    for part in [root, *parts[1:]]:
        handler = _handler(part)
        dependency = Dependency(_handler(root), handler, source, source if part is root else _node(part))
        item = GroupItem(dependency, part.index.tolist())
        item.root_idxs = _triggers(root.unit, part.unit, coupling.site.size).tolist()
        group._group.append(item)
    return group, torch.from_numpy(root.unit)


def members_of_site(modules: Modules, coupling: Coupling, use: Use) -> list[Member]:
    """Every layer's part in a site; here `root` holds units."""
    return [
        Member(p.name, p.layer, p.role, torch.from_numpy(p.index), torch.from_numpy(p.unit))
        for p in _parts(modules, coupling, use)
    ]


def _parts(modules: Modules, coupling: Coupling, use: Use) -> Iterator[_Part]:
    parts = [part for slot in coupling.slots if (part := _part(modules, slot, use))]
    yield from parts or [_bare(modules, coupling.slots[0])]


def _part(modules: Modules, slot: Slot, use: Use) -> _Part | None:
    owner, _, leaf = slot.tensor.rpartition(".")
    layer, index_and_unit = modules[owner], slot.owners()
    role = _role(layer, leaf, slot.axis)
    if role is not None:
        if role == "in" and isinstance(layer, nn.modules.conv._ConvNd) and layer.groups > 1:
            index_and_unit = _over_groups(slot, layer, *index_and_unit)
        return _Part(owner, layer, role, slot.axis, *index_and_unit)
    if (filters := stand_in(layer._parameters.get(leaf), slot, use)) is not None:
        return _Part(layer_name(slot.tensor), filters.layer, filters.role, filters.axis, *index_and_unit)
    if leaf not in layer._parameters or _has_handler(layer):
        return None
    return _bare(modules, slot)


def _bare(modules: Modules, slot: Slot) -> _Part:
    owner, _, leaf = slot.tensor.rpartition(".")
    tensor = modules[owner]._parameters.get(leaf)
    if tensor is None:
        tensor = nn.Parameter(modules[owner].get_buffer(leaf), requires_grad=False)
    return _Part(slot.tensor, tensor, "parameter", slot.axis, *slot.owners())


def _has_handler(layer: nn.Module) -> bool:
    return type(layer) is not nn.Module and module2type(layer) in PrunerBox and bool(layer._parameters)


def _role(layer: nn.Module, leaf: str, axis: int) -> Role | None:
    """What a weight's axis means; None for biases, statistics and bare parameters."""
    if leaf != "weight" or not _has_handler(layer):
        return None
    if isinstance(layer, nn.modules.conv._ConvNd):
        if 1 < layer.groups == layer.out_channels:
            return "depthwise" if axis == 0 else None
        return "out" if (axis == 1) == layer.transposed else "in"
    if isinstance(layer, nn.Linear):
        return "out" if axis == 0 else "in"
    if isinstance(layer, nn.Embedding):
        return None
    return "norm"


def _over_groups(
    slot: Slot, layer: nn.modules.conv._ConvNd, index: np.ndarray, unit: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A grouped convolution's weight shows one group's inputs; the layer has them in every group."""
    starts = np.arange(layer.groups)[:, None] * slot.size
    return (starts + index).ravel(), np.broadcast_to(unit, (layer.groups, len(unit))).ravel()


def _as_root(part: _Part) -> tuple[bool, int]:
    if part.role == "parameter":  # the host scores none
        return True, 20
    full = np.array_equal(part.index, np.arange(len(part.index)))
    order: Mapping[Role, int] = {"out": 0, "depthwise": 1, "in": 2, "norm": 3}
    return (part.role != "out", order[part.role]) if full else (True, order[part.role] + 5)


def _whole(part: _Part) -> _Part:
    """A root that owns every index of its layer: one that owns only some is shown as a layer of just these."""
    if np.array_equal(part.index, np.arange(len(part.index))) or isinstance(part.layer, nn.Parameter):
        return part
    layer: Any = copy.copy(part.layer)
    layer._parameters = dict(part.layer._parameters)
    layer.register_parameter("weight", _selected(part.layer.get_parameter("weight"), part))
    if part.role != "in" and part.layer._parameters.get("bias") is not None:
        layer.register_parameter("bias", _selected(part.layer.get_parameter("bias"), part._replace(axis=0)))
    for name in ("out_features", "out_channels", "num_features"):
        if part.role != "in" and hasattr(layer, name):
            layer.part_of = PartOf(getattr(layer, name), torch.from_numpy(part.index))
            setattr(layer, name, len(part.index))
    return part._replace(layer=layer, index=np.arange(len(part.index)))


def _selected(parameter: nn.Parameter, part: _Part) -> nn.Parameter:
    """The part's own indices, with the gradients that some importances read."""
    index = torch.from_numpy(part.index).to(parameter.device)
    own = nn.Parameter(parameter.detach().index_select(part.axis, index), requires_grad=False)
    if parameter.grad is not None:
        own.grad = parameter.grad.index_select(part.axis, index)
    return own


def _node(part: _Part) -> Node:
    layer: Any = part.layer  # the host takes bare parameters for modules
    node = Node(layer, None, part.name)
    node.pruning_dim = part.axis
    return node


def _handler(part: _Part):
    box = PrunerBox[module2type(part.layer)]
    return box.prune_in_channels if part.role == "in" else box.prune_out_channels


def _triggers(root_unit: np.ndarray, unit: np.ndarray, size: int) -> np.ndarray:
    """For each index of a member the channel of the root that takes it along: the n-th of its unit for the n-th."""
    # A unit may own another number of indices here than in the root: a linear layer that reads flattened maps of
    # 2 pixels owns 0, 1 of channel 0 and 2, 3 of channel 1, and is told [0, 0, 1, 1]. Where a unit is a head of 2
    # channels in both, but the member has heads 0, 1 interleaved, it is told [0, 2, 1, 3]: first to first of each head.
    by_unit, owned = np.argsort(root_unit, kind="stable"), np.bincount(root_unit, minlength=size)
    starts = np.cumsum(owned) - owned
    counts = np.bincount(unit, minlength=size)
    order = np.argsort(unit, kind="stable")
    place = np.empty(len(unit), dtype=int)
    place[order] = np.arange(len(unit)) - np.repeat(np.cumsum(counts) - counts, counts)
    return by_unit[starts[unit] + place * owned[unit] // counts[unit]]
