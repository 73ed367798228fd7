"""Copies of a model for one call at a time: what a half does to run in part, no other call and no caller sees."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import is_
from typing import Any

from torch import nn

from infoprune.graph.copies import structural_copy
from infoprune.split.split_point import SplitPoint

REMEMBERED = 256  # shapes of inputs: who serves many sizes must not grow with each
WATCHED = ("_parameters", "_buffers", "_modules", "_forward_hooks", "_forward_pre_hooks")


def remember(known: dict[Any, Any], key: Any, value: Any) -> None:
    """The latest stay, whatever else is forgotten."""
    known.pop(key, None)
    known[key] = value
    for oldest in list(known)[:-REMEMBERED]:
        known.pop(oldest, None)


@dataclass(frozen=True, eq=False)
class Copy:
    """The model's modules once more, in evaluation mode and around the same tensors, and what was learned with them."""

    model: nn.Module
    of: list[dict[str, Any]]  # the state of the model that was copied
    points: dict[tuple, SplitPoint] = field(default_factory=dict)
    checked: dict[tuple, SplitPoint] = field(default_factory=dict)


class Copies:
    """Copies that wait for a call; there are as many as calls ever ran at once.

    One is used again only if the model still has the modules, tensors, hooks and attributes that it had, and if the
    call that had it ended well.
    """

    def __init__(self, model: nn.Module):
        self.model = model
        self.idle: deque[Copy] = deque()  # appending and popping are atomic

    def __reduce__(self) -> tuple:
        return Copies, (self.model,)

    @contextmanager
    def lent(self) -> Iterator[Copy]:
        """A copy that nobody else runs."""
        now = _state(self.model)
        copy = self._waiting(now) or Copy(structural_copy(self.model).eval(), now)
        yield copy
        self.idle.append(copy)

    def _waiting(self, now: list[dict[str, Any]]) -> Copy | None:
        while self.idle:
            try:
                copy = self.idle.pop()
            except IndexError:  # another thread was faster
                return None
            if _same(copy.of, now):
                return copy
        return None


def _state(model: nn.Module) -> list[dict[str, Any]]:
    """What every module holds: names and objects, which lets none of them be replaced unnoticed."""
    attributes = [vars(module) for module in model.modules()]
    return [dict(held) for own in attributes for held in (own, *(own[name] for name in WATCHED))]


def _same(before: list[dict[str, Any]], now: list[dict[str, Any]]) -> bool:
    return len(before) == len(now) and all(map(_same_objects, before, now))


def _same_objects(before: dict[str, Any], now: dict[str, Any]) -> bool:
    return len(before) == len(now) and all(map(is_, before.values(), now.values())) and before.keys() == now.keys()
