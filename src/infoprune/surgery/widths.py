"""KeepWidths: how long a layer's tensors are after another tool's pruning, and what stayed where that is known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from torch import Tensor, nn

from infoprune.errors import StalePlan
from infoprune.graph.labels import Inexactness
from infoprune.graph.slicing import SitePart
from infoprune.graph.slots import Attribute, Site, Slot, gone
from infoprune.surgery.channels import part_at
from infoprune.surgery.checked import LONGEST_AXIS, fields_of, integer, keys, name_of, sequence
from infoprune.surgery.couplings import attribute_from
from infoprune.surgery.edit import Edit, edits, stale

UNKNOWN = Inexactness("another tool chose the units, and only their number is known", reproducible=False)


class Axis(NamedTuple):
    """`axis` of the tensor called `tensor` is `before` long in the dense network and `after` in the pruned one."""

    tensor: str
    axis: int
    before: int
    after: int


class Number(NamedTuple):
    """An integer attribute of a module (an entry of it, where `position` is given), before and after."""

    module: str
    name: str
    position: int | None
    before: int
    after: int


@edits.register("keep_widths")
@dataclass(frozen=True)
class KeepWidths(Edit):
    """Of every axis the `kept` indices stay, and every number is lowered.

    Where which stayed is not known, `kept` is empty and the first `after` of them stay: enough to give a loaded network
    its shapes before its weights are filled in; carried out on a dense network with weights, it keeps other units than
    the pruner kept.
    """

    kind: ClassVar[str] = "keep_widths"

    layer: str
    axes: tuple[Axis, ...] = ()
    numbers: tuple[Number, ...] = ()
    kept: tuple[tuple[int, ...], ...] = ()  # of each axis, in order

    def __post_init__(self) -> None:
        if not (self.axes or self.numbers) or any(not 0 < c.after < c.before for c in (*self.axes, *self.numbers)):
            raise ValueError(f"{self.layer} must get shorter somewhere and keep at least one of everything")
        if self.kept and [len(kept) for kept in self.kept] != [cut.after for cut in self.axes]:
            raise ValueError(f"{self.layer} keeps other numbers of indices than its axes are long")
        for kept, cut in zip(self.kept, self.axes, strict=False):
            if list(kept) != sorted(set(kept)) or not 0 <= kept[0] <= kept[-1] < cut.before:
                raise ValueError(f"{cut.tensor} keeps indices that are not rising ones below {cut.before}")

    @property
    def known(self) -> bool:
        """Whether which indices stayed is known of every axis."""
        return bool(self.kept) or not self.axes

    @property
    def site(self) -> Site:
        return Site(self.layer, self._first.before)

    @property
    def keeps(self) -> int:
        return self._first.after

    @property
    def inexact(self) -> tuple[Inexactness, ...]:
        return (UNKNOWN,)

    def check(self, model: nn.Module) -> None:
        for cut in self.axes:
            tensor = part_at(model, cut.tensor)
            shape = tuple(tensor.shape) if isinstance(tensor, Tensor) else None
            if shape is None or cut.axis >= len(shape) or shape[cut.axis] != cut.before:
                raise stale(f"axis {cut.axis} of {cut.tensor}", shape, f"{cut.before} long")
        for number in self.numbers:
            if (value := value_of(part_at(model, number.module), number)) != number.before:
                raise stale(f"{number.module}.{number.name}", value, number.before)

    def parts(self) -> Iterable[SitePart]:
        for i, cut in enumerate(self.axes):
            every = np.arange(cut.before)
            slot = Slot.of(cut.tensor, cut.axis, cut.before, every, every)
            yield (slot,), (), gone(cut.before, self.kept[i] if self.kept else range(cut.after))
        for n in self.numbers:
            yield (), (Attribute(n.module, n.name, n.position, n.before - n.after),), np.array([True])

    def merged(self, other: Edit) -> KeepWidths:
        if other != self:
            raise StalePlan(f"the plans leave {self.layer} other widths, and nobody knows of which units; use one plan")
        return self

    def host_ratios(self, model: nn.Module) -> dict[nn.Module, float]:
        raise ValueError("these widths come from another pruner; run that one again with the ratios it had")

    def to_json(self) -> dict[str, Any]:
        entries = {
            "layer": self.layer,
            "axes": [list(a) for a in self.axes],
            "numbers": [list(n) for n in self.numbers],
        }
        return {**entries, "kept": [list(kept) for kept in self.kept]} if self.kept else entries

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> KeepWidths:
        fields = keys(data, "edit", {"layer", "axes", "numbers"} | ({"kept"} & data.keys()))
        axes = tuple(_axis(item) for item in sequence(fields["axes"], "axes"))
        numbers = tuple(_number(item) for item in sequence(fields["numbers"], "numbers"))
        kept = tuple(_indices(item) for item in sequence(fields.get("kept", []), "kept", len(axes)))
        return cls(name_of(fields["layer"]), axes, numbers, kept)

    @property
    def _first(self) -> Axis | Number:
        return (*self.axes, *self.numbers)[0]


def value_of(module: object, number: Number) -> int | None:
    """What the attribute says in this module; None where there is no such integer."""
    value = vars(module).get(number.name) if isinstance(module, nn.Module) else None
    if number.position is not None:
        value = value[number.position] if isinstance(value, list | tuple) and number.position < len(value) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _indices(data: Any) -> tuple[int, ...]:
    return tuple(integer(i, "a kept index", 0, LONGEST_AXIS) for i in sequence(data, "kept indices", LONGEST_AXIS))


def _axis(data: Any) -> Axis:
    tensor, axis, *lengths = fields_of(data, "axis", 4)
    return Axis(name_of(tensor), integer(axis, "axis", 0, 7), *(integer(n, "length", 1, LONGEST_AXIS) for n in lengths))


def _number(data: Any) -> Number:
    module, attribute, position, *values = fields_of(data, "number", 5)
    place = attribute_from([module, attribute, position, 1])
    return Number(place.module, place.name, place.position, *(integer(v, "number", 1, LONGEST_AXIS) for v in values))
