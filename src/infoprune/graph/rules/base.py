"""What a rule is, what it may ask of the trace, and where rules are filed."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from infoprune.graph.labels import Ledger, Marks


class Tape(Protocol):
    """What a rule may ask of the trace, and tell it."""

    ledger: Ledger

    def marks(self, value: object) -> Marks: ...
    def mark(self, tensor: Tensor, marks: Marks) -> None: ...
    def count_product(self, constant: int, extents: Sequence[tuple[int, Tensor | None, int]]) -> None: ...
    def note_sizes(self, plane: Tensor) -> None: ...
    def keeps_heads(self) -> bool: ...
    def by_dimension(self, plane: Tensor) -> Tensor: ...
    def note_split(self, planes: Sequence[Tensor], axis: int) -> None: ...
    def is_at_rest(self, tensor: Tensor) -> bool: ...
    def note_filters(
        self, tensor: Tensor, letters: Sequence[Hashable], output: Sequence[Hashable], *, groups: int | None = None
    ) -> None: ...


Rule = Callable[[Tape, Any, tuple, dict, Any], None]
rules: dict[object, Rule] = {}  # of operations, or of the names of those that other packages define


def newer(name: str) -> object:
    """The operation of torch that is called so, or only its name where the installed release has none."""
    return getattr(torch.ops.aten, name, name)


def rule(*packets: object) -> Callable[[Rule], Rule]:
    def file(function: Rule) -> Rule:
        rules.update(dict.fromkeys(packets, function))
        return function

    return file


def tensors(values: object) -> list[Tensor]:
    tensors: list[Tensor] = []
    _collect(values, tensors)
    return tensors


def _collect(values: object, tensors: list[Tensor]) -> None:
    if isinstance(values, Tensor):
        tensors.append(values)
    elif isinstance(values, list | tuple):
        for value in values:
            _collect(value, tensors)
    elif isinstance(values, dict):
        for value in values.values():
            _collect(value, tensors)
