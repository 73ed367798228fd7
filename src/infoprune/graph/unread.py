"""Parameters that no pass has read: code behind a flag or a branch, which surgery might leave with a wrong width."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import nn

from infoprune.graph.slots import Coupling
from infoprune.graph.tape import Tape


def unread(model: nn.Module, tape: Tape) -> list[str]:
    """Names of the parameters with more than one element that no operation has met."""
    return [name for name, p in model.named_parameters() if p.numel() > 1 and name not in tape.met]


def left_for(model: nn.Module, tape: Tape, couplings: Sequence[Coupling]) -> dict[str, str]:
    """site -> why it stays: what was never read is as long, along an axis, as something that the site would shrink."""
    sizes: dict[int, str] = {}
    for name in unread(model, tape):
        for size in _axes(tape, name, model.get_parameter(name).shape):
            sizes.setdefault(size, name)
    found = {coupling.site.name: _first(sizes, coupling) for coupling in couplings}
    return {
        site: f"{name} was not read and is as long as what would shrink; show a call that reads it, also=[inputs]"
        for site, name in found.items()
        if name is not None
    }


def _axes(tape: Tape, name: str, shape: Iterable[int]) -> list[int]:
    """Sizes that may count channels: those of a convolution's window do not."""
    sizes = list(shape)
    return [size for size in (sizes[:2] if name in tape.kernels else sizes) if size > 1]


def _first(sizes: dict[int, str], coupling: Coupling) -> str | None:
    return next((sizes[slot.size] for slot in coupling.slots if slot.size in sizes), None)
