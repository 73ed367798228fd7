"""The dense network of a class that no registry builds, from the pruned one and the widths its pruner remembers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from infoprune.errors import StalePlan
from infoprune.graph.sites import integers
from infoprune.graph.slicing import named_tensors, replace
from infoprune.graph.verify import structural_copy

Widths = tuple[int | None, int | None]


def initial_widths(pruner: Any) -> dict[str, Widths]:
    """layer -> its channels out and in when the pruner was made."""
    names = {id(module): name for name, module in pruner.model.named_modules()}
    outs, ins = pruner.layer_init_out_ch, pruner.layer_init_in_ch
    return {names[id(layer)]: (outs[layer], ins[layer]) for layer in outs if id(layer) in names}


def host_widths(pruner: Any, layer: nn.Module) -> Widths:
    host = pruner.DG.get_pruner_of_module(layer)
    return host.get_out_channels(layer), host.get_in_channels(layer)


def grown(pruner: Any, model: nn.Module) -> nn.Module:
    """A copy of the model whose layers have the widths that they had at first, without values."""
    alive = {id(p) for p in pruner.model.parameters()}
    for parameter in pruner.layer_init_out_ch:
        if isinstance(parameter, nn.Parameter) and id(parameter) not in alive:
            raise StalePlan(
                f"the pruner cut a parameter of shape {tuple(parameter.shape)} that is no layer's and does not tell "
                "which; pass factory= with a function that builds the dense network"
            )
    dense = structural_copy(model)
    for name, widths in initial_widths(pruner).items():
        _grow(dense.get_submodule(name), pruner, widths)
    return dense


def _grow(layer: nn.Module, pruner: Any, before: Widths) -> None:
    host = pruner.DG.get_pruner_of_module(layer)
    ways = dict.fromkeys([host.prune_out_channels, host.prune_in_channels])  # one way where in and out go together
    for prune, was, now in zip(ways, before, host_widths(pruner, layer), strict=False):
        if was is not None and now is not None and was != now:
            _lengthen(layer, prune, lambda length, was=was, now=now: length * was // now)


def _lengthen(layer: nn.Module, prune: Callable[..., Any], longer: Callable[[int], int]) -> None:
    """Make longer what gets shorter when the host takes one channel from a copy of the layer."""
    shorter = structural_copy(layer)
    prune(shorter, [0])
    left, values = named_tensors(shorter), dict(_values(shorter))
    replace(layer, {id(t): _empty(t, left[name].shape, longer) for name, t in named_tensors(layer).items()})
    for (name, position), value in _values(layer):
        if values.get((name, position), value) != value:
            _set(layer, name, position, longer(value))


def _empty(tensor: Tensor, shorter: torch.Size, longer: Callable[[int], int]) -> Tensor:
    shape = [n if n == m else longer(n) for n, m in zip(tensor.shape, shorter, strict=True)]
    empty = torch.empty(shape, dtype=tensor.dtype, device="meta")
    return nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty


def _values(layer: nn.Module) -> Iterator[tuple[tuple[str, int | None], int]]:
    return (((name, position), value) for name, position, value in integers(layer))


def _set(layer: nn.Module, name: str, position: int | None, value: int) -> None:
    if position is not None:
        items = list(getattr(layer, name))
        items[position] = value
    setattr(layer, name, value if position is None else type(getattr(layer, name))(items))
