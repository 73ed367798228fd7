"""Labels: which index of which parameter every element of a tensor stands or falls with.

A *label* is an integer that names one index along one axis of one parameter; label 0 may never leave. A *plane* is an
integer tensor of the labelled tensor's shape, with stride 0 along every axis on which it does not change, so that it
costs nothing to move. A tensor may carry several planes: a weight carries one for its rows and one for its columns.
Operations tie labels: indices whose labels are tied leave the network together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor


class Inexactness(NamedTuple):
    """Something computed over channels, which changes by design when some leave.

    `reproducible`: the masked original can be made to take it over the kept channels alone, so that the two
    networks can still be compared exactly.
    """

    reason: str
    reproducible: bool = True


@dataclass(frozen=True)
class Marks:
    """The planes of one tensor. `adaptive`: made from sizes alone, so that it shrinks with whatever it meets.

    `repeated` holds a plane, of numbers that are no labels, for every axis along which one element was expanded: such
    an axis is as long as the code asks for, so that it too shrinks with what it meets.
    """

    planes: tuple[Tensor, ...] = ()
    adaptive: bool = False
    repeated: tuple[Tensor, ...] = ()


def varying(plane: Tensor) -> tuple[int, ...]:
    """The axes along which the labels change."""
    return tuple(d for d in range(plane.dim()) if plane.size(d) > 1 and plane.stride(d) != 0)


def hold(plane: Tensor, axes: Sequence[int]) -> Tensor:
    """The plane with `axes` held at their first index (stride 0), of unchanged shape."""
    shape = plane.shape
    for axis in axes:
        plane = plane.narrow(axis, 0, 1)
    return plane.expand(shape)


def tidy(plane: Tensor) -> Tensor:
    """The same labels with stride 0 wherever they are constant."""
    if plane.numel() == 0:
        return plane
    block, axes = compact(plane), varying(plane)
    constant = [d for i, d in enumerate(axes) if bool((block == block.narrow(i, 0, 1)).all())]
    return hold(plane, constant)


def compact(plane: Tensor) -> Tensor:
    """Only the axes on which the labels change."""
    keep = varying(plane)
    for axis in reversed(range(plane.dim())):
        if axis not in keep:
            plane = plane.select(axis, 0)
    return plane


def first_label(plane: Tensor) -> int:
    """The label of the first element; flattening a plane would write out what strides of 0 leave out."""
    return int(plane[(0,) * plane.dim()])


def major_axis(block: Tensor) -> int:
    """The axis with the widest label step: the outer one, where a single axis was split in several.

    The widest, since the first may be none: heads that share a key head stand beside each other with one label.
    """
    return int(np.argmax([int(block.diff(dim=d).abs().max()) for d in range(block.dim())]))


@dataclass
class Ledger:
    """Every tie between labels, every frozen label with its reason, and the statistics that removal changes."""

    size: int = 1
    ties: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    frozen: list[tuple[np.ndarray, str]] = field(default_factory=list)
    inexact: list[tuple[np.ndarray, Inexactness]] = field(default_factory=list)
    rectangles: dict[tuple, Tensor] = field(default_factory=dict)

    def fresh(self, count: int) -> Tensor:
        labels = torch.arange(self.size, self.size + count)
        self.size += count
        return labels

    def tie(self, a: Tensor, b: Tensor) -> None:
        if a.data_ptr() == b.data_ptr() and a.shape == b.shape and a.stride() == b.stride():
            return
        a, b = torch.broadcast_tensors(a, b)
        self.ties.append((compacted_pair(a, b), compacted_pair(b, a)))

    def freeze(self, plane: Tensor, reason: str) -> None:
        self.frozen.append((compact(plane).flatten().numpy(), reason))

    def note_inexactness(self, plane: Tensor, statistic: Inexactness) -> None:
        self.inexact.append((compact(plane).flatten().numpy(), statistic))

    def collapse(self, plane: Tensor, axes: Sequence[int]) -> Tensor:
        """Tie all labels along `axes`, and hold these axes."""
        for axis in axes:
            self.tie(plane, plane.narrow(axis, 0, 1))
            plane = hold(plane, [axis])
        return plane

    def require_rectangle(self, plane: Tensor) -> None:
        """The labels vary on several axes at once; what leaves must leave a rectangle behind."""
        block = compact(plane) if plane.numel() else plane
        if block.dim() > 1 and block.numel():
            self.rectangles.setdefault((tuple(block.shape), block.contiguous().numpy().tobytes()), block)

    def classes(self) -> np.ndarray:
        """For every label, the number of its class: labels of one class leave together; class of 0 stays."""
        while True:
            classes = self._components()
            if not self._straighten(classes):
                return classes

    def _components(self) -> np.ndarray:
        pairs = [*self.ties, *((labels, np.zeros_like(labels)) for labels, _ in self.frozen)]
        if not pairs:
            return np.arange(self.size)
        rows = np.concatenate([a for a, _ in pairs])
        columns = np.concatenate([b for _, b in pairs])
        links = coo_matrix((np.ones(len(rows), dtype=bool), (rows, columns)), shape=(self.size, self.size))
        return connected_components(links, directed=False)[1]

    def _straighten(self, classes: np.ndarray) -> bool:
        """Tie what a rectangle needs tied; True when something was."""
        # A block of labels [heads, channels] can only leave by whole rows or whole columns. Where ties have made of
        # [[1, 2], [3, 4]] the classes [[1, 1], [3, 4]], neither all rows nor all columns are alike: the axis along
        # which more classes would be left is kept, and the other tied, [[1, 1], [3, 3]]. New ties may bend another
        # block, hence the loop in `classes`.
        changed = False
        for block in self.rectangles.values():
            rectangle = torch.from_numpy(classes)[block]
            if free_axis(rectangle) is not None:
                continue
            best = max(range(block.dim()), key=lambda axis: _classes_left(rectangle, axis))
            others = [d for d in range(block.dim()) if d != best]
            self.collapse(block, others)
            changed = True
        return changed


def compacted_pair(a: Tensor, b: Tensor) -> np.ndarray:
    """`a` flattened without the axes on which neither `a` nor `b` changes."""
    for axis in reversed(range(a.dim())):
        if a.size(axis) == 1 or (a.stride(axis) == 0 and b.stride(axis) == 0):
            a, b = a.select(axis, 0), b.select(axis, 0)
    return a.flatten().numpy()


def free_axis(classes: Tensor) -> int | None:
    """The one axis on which the classes depend (any axis if they depend on none), or None if on more than one."""
    dependent = [d for d in range(classes.dim()) if not bool((classes == classes.narrow(d, 0, 1)).all())]
    if len(dependent) > 1:
        return None
    return dependent[0] if dependent else 0


def _classes_left(classes: Tensor, axis: int) -> int:
    """How many classes stay apart when all labels with the same index on `axis` are tied."""
    slices = classes.movedim(axis, 0).flatten(1).numpy()
    count = len(slices)
    codes = np.unique(slices, return_inverse=True)[1].reshape(slices.shape)
    rows = np.repeat(np.arange(count), slices.shape[1])
    links = coo_matrix(
        (np.ones(rows.size, dtype=bool), (rows, count + codes.ravel())), shape=(count + codes.max() + 1,) * 2
    )
    return connected_components(links, directed=False)[0]
