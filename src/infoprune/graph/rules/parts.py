"""What is written into a part of a tensor is read with the rest of it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from infoprune.graph.joining import Operand, join, spread
from infoprune.graph.labels import Marks, compact, varying
from infoprune.graph.rules.base import Tape


class Window(NamedTuple):
    """The part of an axis that a view shows: `count` positions from `start` on, and the view's axis along them."""

    start: int
    step: int
    count: int
    shown: int | None


def written(tape: Tape, view: Tensor) -> None:
    """`view` was written into: the tensor that it is a view of has its labels there."""
    base = view._base
    if base is None or not view.numel():
        return
    windows = _windows(view, base)
    old, planes = tape.marks(base), tape.marks(view).planes
    across = []
    for plane in planes:
        where = None if windows is None else _axes(plane, windows)
        if windows is None or where is None or not (old.planes or old.adaptive):
            tape.ledger.freeze(plane, "it is copied into a part of another tensor")
        elif all(_is_whole(windows[axis], base.size(axis)) for axis in where):
            across.append(_beside(plane, where, base))
        elif len(where) == 1:
            old = _with_row(tape, old, plane, where[0], windows, base)
        else:
            tape.ledger.freeze(plane, "it is copied into a part of another tensor")
    letters = tuple(range(base.dim()))
    strands = join(tape.ledger, [Operand(old, letters), Operand(Marks(tuple(across), True), letters)], letters)
    tape.mark(base, Marks(tuple(spread(s, letters, base.shape) for s in strands), old.adaptive))


def _windows(view: Tensor, base: Tensor) -> list[Window] | None:
    """One window for each axis of the base; None where they can't be told from the strides."""
    rest, windows = int(view.storage_offset() - base.storage_offset()), dict[int, Window]()
    unseen = [axis for axis in range(view.dim()) if view.size(axis) > 1]
    for axis in sorted(range(base.dim()), key=lambda d: (-base.stride(d), base.size(d) == 1)):
        stride, size = base.stride(axis), base.size(axis)
        if stride == 0:
            return None
        start, rest = (rest // stride, rest % stride) if size > 1 else (0, rest)
        shown = next((a for a in unseen if _runs_along(view, a, start, stride, size)), None) if size > 1 else None
        if shown is not None:
            unseen.remove(shown)
        step, count = (view.stride(shown) // stride, view.size(shown)) if shown is not None else (1, 1)
        windows[axis] = Window(start, step, count, shown)
    return None if unseen or rest else [windows[axis] for axis in range(base.dim())]


def _runs_along(view: Tensor, axis: int, start: int, stride: int, size: int) -> bool:
    step, left = divmod(view.stride(axis), stride)
    return left == 0 and step > 0 and start + step * (view.size(axis) - 1) < size


def _axes(plane: Tensor, windows: list[Window]) -> list[int] | None:
    """The axes of the base along which the labels of the view change; None where one is not an axis of the base."""
    shown = {window.shown: axis for axis, window in reversed(list(enumerate(windows)))}
    return [shown[axis] for axis in varying(plane)] if set(varying(plane)) <= shown.keys() else None


def _is_whole(window: Window, size: int) -> bool:
    return (window.start, window.step, window.count) == (0, 1, size)


def _beside(plane: Tensor, where: list[int], base: Tensor) -> Tensor:
    """The view's labels for all of the base, on which they change along the axes `where`."""
    order = sorted(range(len(where)), key=lambda place: where[place])
    shape = [base.size(d) if d in where else 1 for d in range(base.dim())]
    return compact(plane).permute(order).reshape(shape).expand(base.shape)


def _with_row(tape: Tape, old: Marks, plane: Tensor, axis: int, windows: list[Window], base: Tensor) -> Marks:
    """The base's labels along `axis` with those of the view in its window."""
    window, size, labels = windows[axis], base.size(axis), compact(plane)
    own = [x for x in old.planes if varying(x) == (axis,)]
    row = compact(own[0]).clone() if own else torch.zeros(size, dtype=torch.long)
    place = slice(window.start, window.start + window.step * window.count, window.step)
    others_whole = all(_is_whole(w, base.size(d)) for d, w in enumerate(windows) if d != axis)
    set_before = row[place] != 0
    if not others_whole:
        tape.ledger.tie(labels[set_before], row[place][set_before])
    row[place] = labels
    if window.step > 1 and bool((row != 0).all()):
        tape.ledger.collapse(row.unflatten(0, (-1, window.step)), [1])
    shape = [size if d == axis else 1 for d in range(base.dim())]
    kept = tuple(x for x in old.planes if not any(x is y for y in own))
    return Marks((*kept, row.view(shape).expand(base.shape)), old.adaptive)
