"""Parameters that no pass has read: code behind a flag or a branch, which surgery might leave with a wrong width."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from torch import nn

from infoprune.graph.slicing import named_tensors
from infoprune.graph.slots import Coupling
from infoprune.graph.sorting import Sorting
from infoprune.graph.tape import Tape


def unread(model: nn.Module, tape: Tape) -> list[str]:
    """Names of the parameters and buffers with more than one element that no operation has met."""
    held = named_tensors(model).items()
    return [name for name, t in held if t.is_floating_point() and t.numel() > 1 and name not in tape.met]


def left_for(model: nn.Module, tape: Tape, sorting: Sorting, couplings: Sequence[Coupling]) -> dict[str, str]:
    """site -> why it stays: something that was not read might be handed its channels, and is as long.

    A matrix may also read them flattened with their places, several times as long. Whose code might do so is the
    innermost module around it that has run; what it might hand on are the tensors that this code has had in its hands.
    """
    in_sight = _sites_in_sight(tape, sorting)
    found: dict[str, str] = {}
    tensors = named_tensors(model)
    for name in unread(model, tape):
        sizes = _axes(tape, name, tensors[name].shape)
        flattened = sizes[1] if len(sizes) == 2 and tensors[name].dim() == 2 else 0
        for number in in_sight[_reader(tape, name)]:
            lengths = {slot.size for slot in couplings[number].slots}
            if lengths & set(sizes) or any(flattened and flattened % n == 0 for n in lengths if n > 1):
                found.setdefault(couplings[number].site.name, _reason(name))
    return found


def _reason(name: str) -> str:
    return f"{name} was not read, and fits what would shrink; show a call that reads it, also=[inputs]"


def _sites_in_sight(tape: Tape, sorting: Sorting) -> Mapping[str, set[int]]:
    found: dict[str, set[int]] = defaultdict(set)
    for (module, *_), labels in tape.in_sight.items():
        sites = np.unique(sorting.site_of[labels.numpy()])
        found[module].update(sites[sites >= 0].tolist())
    return found


def _reader(tape: Tape, name: str) -> str:
    """The innermost module around a parameter that was called."""
    while name and name not in tape.called:
        name = name.rpartition(".")[0]
    return name


def _axes(tape: Tape, name: str, shape: Iterable[int]) -> list[int]:
    """Sizes that may count channels: those of a convolution's window do not."""
    sizes = list(shape)
    return [size for size in (sizes[:2] if name in tape.kernels else sizes) if size > 1]
