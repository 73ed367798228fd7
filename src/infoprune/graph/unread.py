"""What no pass has run: code behind a flag or a branch, which surgery might leave with a wrong width."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from infoprune.graph.sites import Sorting
from infoprune.graph.slicing import named_tensors
from infoprune.graph.slots import Coupling
from infoprune.graph.tape import Tape

Fits = Callable[[frozenset[int]], bool]
MOST_JOINED = 5  # tensors that one layer reads side by side
NORMS = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.modules.batchnorm._NormBase)


@dataclass(frozen=True)
class _Unread:
    """Something that no operation has met: its `lengths`, and how many channels it reads where that is known."""

    name: str
    lengths: frozenset[int]
    reads: int = 0

    @property
    def makes(self) -> frozenset[int]:
        """Of a layer that reads: how many channels another one that was not run may get from it."""
        return self.lengths - {self.reads} if self.reads else frozenset()


@dataclass(frozen=True)
class _Held:
    """Channels that some code has had in its hands: as how many, and of which sites."""

    lengths: frozenset[int]
    sites: frozenset[int]


def left_for(model: nn.Module, tape: Tape, sorting: Sorting, couplings: Sequence[Coupling]) -> dict[str, str]:
    """site -> why it stays: something that was not run might be handed its channels, and fits them.

    Whose code might do so is the innermost module around it that has run; what it might hand on are the tensors that
    this code has had in its hands. Where neither these nor what was not run itself are as long as what a layer reads,
    it may read several side by side, a part of one, or one with its places flattened into it.
    """
    reasons: dict[str, str] = {}
    held = {module: list(_held(planes, sorting, couplings)) for module, planes in _by_module(tape).items()}
    for module, all_unread in _unread_by_reader(model, tape).items():
        here = held.get(module, [])
        lengths = frozenset(tape.beside.get(module, ())).union(*(h.lengths for h in here))
        known = lengths.union(*(unread.makes for unread in all_unread), [0])
        for unread in all_unread:
            fits = _as_long(unread) if unread.reads in known else _composed(unread, _sums(lengths))
            for site in (site for h in here if fits(h.lengths) for site in h.sites):
                reasons.setdefault(couplings[site].site.name, _reason(unread.name))
    return reasons


def _reason(name: str) -> str:
    return f"{name} was not read, and fits what would shrink; show a call that reads it, also=[inputs]"


def _as_long(unread: _Unread) -> Fits:
    return lambda lengths: bool(unread.lengths & lengths)


def _composed(unread: _Unread, sums: set[int]) -> Fits:
    """Whether it reads a multiple or a part of one of the lengths, or one of them beside others."""
    n = unread.reads

    def related(length: int) -> bool:
        return n % length == 0 or length % n == 0 or n - length in sums

    return lambda lengths: bool(unread.lengths & lengths) or any(map(related, lengths))


def _sums(lengths: Iterable[int]) -> set[int]:
    """What some of the lengths make together, beside one more."""
    sums = {0}
    for _ in range(MOST_JOINED - 1):
        sums |= {n + length for n in sums for length in lengths}
    return sums


def _by_module(tape: Tape) -> Mapping[str, list[Tensor]]:
    planes: dict[str, list[Tensor]] = defaultdict(list)
    for (module, *_), labels in tape.in_sight.items():
        planes[module].append(labels)
    return planes


def _held(planes: Iterable[Tensor], sorting: Sorting, couplings: Sequence[Coupling]) -> Iterator[_Held]:
    for labels in planes:
        sites = frozenset(np.unique(sorting.site_of[labels.numpy()]).tolist()) - {-1}
        slots = [slot.size for site in sites for slot in couplings[site].slots]
        yield _Held(frozenset(n for n in (*labels.shape, labels.numel(), *slots) if n > 1), sites)


# -------------------------------------------------------------------------------------------- what was not run


def _unread(model: nn.Module, tape: Tape) -> Iterator[_Unread]:
    """Parameters and buffers with more than one element that no operation has met, and norms that have none."""
    for name, tensor in named_tensors(model).items():
        if tensor.is_floating_point() and tensor.numel() > 1 and name not in tape.met:
            yield _Unread(name, frozenset(_axes(tape, name, tensor.shape)), _reads(model, name, tensor))
    for name, module in model.named_modules():
        if isinstance(module, NORMS) and name not in tape.called and (width := _width(module)) > 1:
            yield _Unread(name, frozenset([width]), width)


def _unread_by_reader(model: nn.Module, tape: Tape) -> Mapping[str, list[_Unread]]:
    by_reader: dict[str, list[_Unread]] = defaultdict(list)
    for unread in _unread(model, tape):
        by_reader[_reader(tape, unread.name)].append(unread)
    return by_reader


def _reads(model: nn.Module, name: str, tensor: Tensor) -> int:
    """How many channels a layer reads with this weight; 0 where nobody knows."""
    owner = model.get_submodule(name.rpartition(".")[0])
    if isinstance(owner, NORMS):
        return _width(owner)
    if isinstance(owner, nn.modules.conv._ConvNd):
        return owner.in_channels
    return tensor.shape[1] if tensor.dim() == 2 else 0


def _width(norm: nn.Module) -> int:
    named = [getattr(norm, name, 0) for name in ("num_features", "num_channels", "normalized_shape")]
    return max(n[-1] if isinstance(n, tuple) else n for n in named)


def _reader(tape: Tape, name: str) -> str:
    """The innermost module around it that was called."""
    while name and name not in tape.called:
        name = name.rpartition(".")[0]
    return name


def _axes(tape: Tape, name: str, shape: Iterable[int]) -> list[int]:
    """Sizes that may count channels: those of a convolution's window do not."""
    sizes = list(shape)
    return [size for size in (sizes[:2] if name in tape.kernels else sizes) if size > 1]
