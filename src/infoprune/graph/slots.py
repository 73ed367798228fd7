"""Where a site's units live: indices along axes of named tensors, and attributes that count them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from infoprune.graph.labels import Inexactness

Kind = Literal["channels", "block", "tokens", "features", "ranks"]
Place = tuple[str, int, int]  # tensor, axis, index


@dataclass(frozen=True)
class Site:
    """A place with `size` interchangeable units. `step`: how many channels of its first layer one unit holds."""

    name: str
    size: int
    kind: Kind = "channels"
    step: int = 1


class Run(NamedTuple):
    """Indices start, start + 1, ... belong to units `unit`, `unit + 1`, ..., `repeat` indices in a row each."""

    start: int
    unit: int
    count: int
    repeat: int = 1


@dataclass(frozen=True)
class Slot:
    """The part of one tensor's axis, `size` long, that belongs to a site."""

    tensor: str
    axis: int
    size: int
    runs: tuple[Run, ...]

    @classmethod
    def of(cls, tensor: str, axis: int, size: int, index: np.ndarray, unit: np.ndarray) -> Slot:
        return cls(tensor, axis, size, tuple(_runs(index, unit)))

    def owners(self) -> tuple[np.ndarray, np.ndarray]:
        """The indices that belong to the site, and the unit of each."""
        index = [run.start + np.arange(run.count * run.repeat) for run in self.runs]
        unit = [run.unit + np.arange(run.count * run.repeat) // run.repeat for run in self.runs]
        return np.concatenate(index), np.concatenate(unit)

    def dropped(self, gone: np.ndarray) -> np.ndarray:
        """The indices whose units are `gone` (a mask over units)."""
        index, unit = self.owners()
        return index[gone[unit]]


@dataclass(frozen=True)
class Attribute:
    """An integer that a module keeps, of which every unit of the site accounts for `per_unit`."""

    module: str
    name: str
    position: int | None
    per_unit: int


@dataclass(frozen=True)
class Coupling:
    """A site with everything that shrinks when its units leave, and why that is not exact where it is not."""

    site: Site
    slots: tuple[Slot, ...]
    attributes: tuple[Attribute, ...] = ()
    inexact: tuple[Inexactness, ...] = ()

    def places(self) -> Iterator[Place]:
        """Where its units begin: no other site has such a place, and blocks that leave take only their own along."""
        return ((slot.tensor, slot.axis, run.start) for slot in self.slots for run in slot.runs)


def layer_name(tensor: str) -> str:
    """The layer whose weight this tensor is, or is computed from; the tensor itself where it is no layer's weight.

    >>> layer_name("stem.weight"), layer_name("0.parametrizations.weight.original1"), layer_name("experts.down_proj")
    ('stem', '0', 'experts.down_proj')
    """
    owner, _, leaf = tensor.rpartition(".")
    if owner.endswith("parametrizations.weight"):
        return owner.removesuffix("parametrizations.weight").rstrip(".")
    return owner if leaf in ("weight", "weight_orig", "weight_v") else tensor


def _runs(index: np.ndarray, unit: np.ndarray) -> Iterable[Run]:
    """The fewest runs for indices in ascending order: stretches of one unit, merged where they go on alike."""
    # Indices 4..9 of units 0 0 1 1 2 2: three stretches of two (`repeat`), each beginning where the last one ended and
    # with the next unit, so they are one run (start 4, unit 0, count 3, repeat 2). A plan of a wide layer then holds a
    # few runs in place of thousands of indices.
    starts = np.flatnonzero(np.concatenate([[True], (np.diff(index) != 1) | (np.diff(unit) != 0)]))
    repeat = np.diff(np.append(starts, len(index)))
    here, owner = index[starts], unit[starts]
    goes_on = (repeat[1:] == repeat[:-1]) & (here[1:] == here[:-1] + repeat[:-1]) & (owner[1:] == owner[:-1] + 1)
    heads = np.flatnonzero(np.concatenate([[True], ~goes_on]))
    counts = np.diff(np.append(heads, len(starts)))
    rows = zip(here[heads].tolist(), owner[heads].tolist(), counts.tolist(), repeat[heads].tolist(), strict=True)
    return [Run(*row) for row in rows]


def gone(size: int, kept: Sequence[int]) -> np.ndarray:
    """The mask over a site's units that says which leave."""
    mask = np.ones(size, dtype=bool)
    mask[np.asarray(kept, dtype=int)] = False
    return mask


def dropped_indices(slots: Iterable[tuple[Slot, np.ndarray]]) -> Mapping[str, dict[int, np.ndarray]]:
    """tensor -> axis -> the indices that leave, over all (slot, mask of its site's units)."""
    indices: dict[str, dict[int, list[np.ndarray]]] = {}
    for slot, mask in slots:
        indices.setdefault(slot.tensor, {}).setdefault(slot.axis, []).append(slot.dropped(mask))
    return {t: {a: np.unique(np.concatenate(parts)) for a, parts in axes.items()} for t, axes in indices.items()}
