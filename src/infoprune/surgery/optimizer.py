"""rebuild_optimizer: an optimizer that goes on after surgery with the state of what stayed."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from infoprune.graph.slicing import Removal, sliced
from infoprune.graph.wrapped import bare
from infoprune.surgery.plan import Plan, removal_of

_successors = WeakIdKeyDictionary()  # parameter -> weak reference to the one that replaced it


def remember(replaced: Iterable[tuple[nn.Parameter, nn.Parameter]]) -> None:
    """Keep, for as long as both live, which parameter took whose place."""
    for old, new in replaced:
        _successors[old] = weakref.ref(new)


def rebuild_optimizer(optimizer: torch.optim.Optimizer, plan: Plan, model: nn.Module) -> torch.optim.Optimizer:
    """Hand the optimizer the parameters that `prune_(model, ..., plan)` made, and cut its buffers likewise.

    Works in place on an optimizer made before the surgery: groups, learning rates, momentum and second moments stay.
    Parameters that left the model are dropped. Calling it twice does no harm. Returns the optimizer.
    """
    removal = removal_of(plan.edits)
    names = {id(parameter): name for name, parameter in bare(model).named_parameters()}
    for group in optimizer.param_groups:
        current = [_current(p) for p in group["params"]]
        group["params"] = [p for p in current if id(p) in names]
    for old, state in list(optimizer.state.items()):
        new = _current(old)
        del optimizer.state[old]
        if id(new) in names:
            optimizer.state[new] = _cut(state, removal, names[id(new)], new.shape)
    return optimizer


def _current(parameter: Tensor) -> Tensor:
    """The parameter that stands in this one's place now."""
    while parameter in _successors and (successor := _successors[parameter]()) is not None:
        parameter = successor
    return parameter


def _cut(state: Mapping, removal: Removal, name: str, shape: torch.Size) -> dict:
    before = _shape_before(removal.indices.get(name, {}), shape)
    kept = removal.kept(name, before)
    return {
        key: sliced(value, kept) if isinstance(value, Tensor) and value.shape == before != shape else value
        for key, value in state.items()
    }


def _shape_before(indices: Mapping[int, np.ndarray], shape: torch.Size) -> torch.Size:
    return torch.Size(n + len(indices.get(axis, ())) for axis, n in enumerate(shape))
