"""Sums, averages, extremes and softmax."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from infoprune.graph.labels import Inexactness, Marks, hold, tidy, varying
from infoprune.graph.rules.base import Tape, rule, tensors
from infoprune.graph.rules.elementwise import combine

aten = torch.ops.aten


def reduced_axes(args: Sequence[Any], kwargs: dict, dims: int) -> list[int]:
    axes = args[1] if len(args) > 1 else kwargs.get("dim")
    if axes is None or axes == [] or isinstance(axes, bool):  # var(x, unbiased) runs over all
        return list(range(dims))
    return [a % dims for a in ([axes] if isinstance(axes, int) else axes)]


def _reduce(tape: Tape, tensor: Tensor, axes: list[int], out: Tensor, statistic: Inexactness | None) -> None:
    planes = []
    for plane in tape.marks(tensor).planes:
        inside = set(axes) & set(varying(plane))
        if inside == set(varying(plane)):
            if statistic:
                tape.ledger.note_inexactness(plane, statistic)
            continue
        held = hold(tape.ledger.collapse(plane, sorted(inside)), axes)
        for axis in sorted(axes, reverse=True):
            held = held.narrow(axis, 0, 1) if out.dim() == tensor.dim() else held.select(axis, 0)
        planes.append(held)
    tape.mark(out, Marks(tuple(planes)))


@rule(aten.sum, aten.linalg_vector_norm, aten.norm)
def exact_reduction(tape: Tape, func: Any, args: Sequence[Any], kwargs: dict, out: Any) -> None:
    if func.overloadpacket in (aten.linalg_vector_norm, aten.norm):
        args = (args[0], *args[2:]) if len(args) > 2 else (args[0],)
    _reduce(tape, args[0], reduced_axes(args, kwargs, args[0].dim()), out, None)


@rule(aten.mean, aten.var, aten.std, aten.var_mean, aten.std_mean)
def averaging(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    for result in tensors(out):
        axes = reduced_axes(args, kwargs, args[0].dim())
        _reduce(tape, args[0], axes, result, Inexactness("average over channels"))


@rule(aten._softmax, aten._log_softmax, aten._safe_softmax, aten.softmax)
def softmax(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    axis = args[1] % out.dim()
    planes = []
    for plane in tape.marks(args[0]).planes:
        if varying(plane) == (axis,):
            tape.ledger.freeze(plane, "a softmax runs over it")
        else:
            planes.append(tape.ledger.collapse(plane, [axis] if axis in varying(plane) else []))
    tape.mark(out, Marks(tuple(planes)))


@rule(aten.amax, aten.amin, aten.max, aten.min, aten.argmax)
def extreme(tape: Tape, func: Any, args: Sequence[Any], kwargs: dict, out: Any) -> None:
    if len(args) > 1 and isinstance(args[1], Tensor):
        return combine(tape, args[:2], out)
    axes = reduced_axes(args, kwargs, args[0].dim())
    for plane in tape.marks(args[0]).planes:
        if set(varying(plane)) <= set(axes):
            tape.ledger.freeze(plane, "a maximum is taken over it")
    for result in tensors(out):
        _reduce(tape, args[0], axes, result, None)
    return None


@rule(aten.glu)
def glu(tape: Tape, func: Any, args: Sequence[Any], kwargs: dict, out: Any) -> None:
    axis = (args[1] if len(args) > 1 else -1) % out.dim()
    halves = []
    for plane in tape.marks(args[0]).planes:
        first, second = plane.chunk(2, axis)
        tape.ledger.tie(first, second)
        halves.append(tidy(first))
    tape.mark(out, Marks(tuple(halves)))
