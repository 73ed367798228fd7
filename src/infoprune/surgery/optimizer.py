"""rebuild_optimizer: an optimizer that goes on after surgery with the state of what stayed."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from infoprune.graph.slicing import Removal, sliced
from infoprune.graph.wrappers import bare
from infoprune.surgery.edit import Edit
from infoprune.surgery.plan import Plan, added_by, removal_of

Weak = weakref.ref[nn.Parameter]
_successors: MutableMapping[Tensor, Weak] = WeakIdKeyDictionary()  # parameter -> the one that replaced it, cut
_heirs: MutableMapping[Tensor, tuple[Weak, ...]] = WeakIdKeyDictionary()  # parameter -> those made of its values


def remember(
    replaced: Iterable[tuple[nn.Parameter, nn.Parameter]], heirs: Iterable[tuple[nn.Parameter, nn.Parameter]] = ()
) -> None:
    """Keep, for as long as both live, which parameter took whose place: cut, or made new from its values."""
    for old, new in replaced:
        _successors[old] = weakref.ref(new)
    for old, new in heirs:
        _heirs[old] = (*_heirs.get(old, ()), weakref.ref(new))


def heirs_of(
    before: Mapping[str, nn.Parameter], model: nn.Module, edits: Sequence[Edit]
) -> list[tuple[nn.Parameter, nn.Parameter]]:
    """Each parameter that was in the model `before`, with every new one that started from its values."""
    now = dict(model.named_parameters())
    pairs = [(before.get(new.of), now.get(name)) for name, new in added_by(edits).items()]
    return [(old, new) for old, new in pairs if old is not None and new is not None and old is not new]


def rebuild_optimizer(optimizer: torch.optim.Optimizer, plan: Plan, model: nn.Module) -> torch.optim.Optimizer:
    """Hand the optimizer the parameters that `prune_(model, ..., plan)` made, and cut its buffers likewise.

    Works in place on an optimizer made before the surgery: groups, learning rates, momentum and second moments stay.
    Parameters that left the model are dropped; those that an edit made of them join their group, without state.
    Calling it twice does no harm. Returns the optimizer.
    """
    for name, value, kind in (("optimizer", optimizer, torch.optim.Optimizer), ("plan", plan, Plan)):
        if not isinstance(value, kind):
            raise TypeError(f"{name} is a {type(value).__name__}; call rebuild_optimizer(optimizer, plan, model)")
    removal = removal_of(plan.edits)
    names = {id(parameter): name for name, parameter in bare(model).named_parameters()}
    for group in optimizer.param_groups:
        current = {id(p): p for old in group["params"] for p in _in_place_of(old)}
        group["params"] = [p for p in current.values() if id(p) in names]
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


def _in_place_of(parameter: Tensor) -> Iterator[Tensor]:
    """The parameter that stands in this one's place now, or those that were made of it."""
    current = _current(parameter)
    yield current
    for reference in _heirs.get(current, ()):
        if (heir := reference()) is not None:
            yield from _in_place_of(heir)


def _cut(state: Mapping, removal: Removal, name: str, shape: torch.Size) -> dict:
    before = _shape_before(removal.indices.get(name, {}), shape)
    kept = removal.kept(name, before)
    return {
        key: sliced(value, kept) if isinstance(value, Tensor) and value.shape == before != shape else value
        for key, value in state.items()
    }


def _shape_before(indices: Mapping[int, np.ndarray], shape: torch.Size) -> torch.Size:
    return torch.Size(n + len(indices.get(axis, ())) for axis, n in enumerate(shape))
