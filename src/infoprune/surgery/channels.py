"""KeepChannels: the units of one site that stay, and every tensor and attribute that shrinks with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from infoprune.errors import StalePlan
from infoprune.graph.labels import Inexactness
from infoprune.graph.slicing import SitePart
from infoprune.graph.slots import Attribute, Coupling, Site, Slot, gone
from infoprune.surgery.checked import integer, keys, sequence
from infoprune.surgery.couplings import FIELDS, coupling_from, coupling_json
from infoprune.surgery.edit import Edit, edits, stale


@edits.register("keep_channels")
@dataclass(frozen=True)
class KeepChannels(Edit):
    """Of the site's `size` units, those with the indices `kept` (ascending) stay."""

    kind: ClassVar[str] = "keep_channels"

    coupling: Coupling
    kept: tuple[int, ...]

    @classmethod
    def of(cls, coupling: Coupling, kept: Sequence[int]) -> KeepChannels:
        return cls(coupling, tuple(sorted(int(k) for k in kept)))

    def __post_init__(self) -> None:
        site = self.coupling.site
        ascending = all(a < b for a, b in zip(self.kept, self.kept[1:], strict=False))
        if not (self.kept and ascending and self.kept[0] >= 0 and self.kept[-1] < site.size):
            raise ValueError(
                f"{site.name} can't keep {self.kept[:4]}...; give ascending indices from 0 to {site.size - 1}"
            )

    @property
    def site(self) -> Site:
        return self.coupling.site

    @property
    def keeps(self) -> int:
        return len(self.kept)

    @property
    def inexact(self) -> tuple[Inexactness, ...]:
        return self.coupling.inexact

    def parts(self) -> Iterable[SitePart]:
        return [(self.coupling.slots, self.coupling.attributes, gone(self.site.size, self.kept))]

    def check(self, model: nn.Module) -> None:
        for slot in self.coupling.slots:
            tensor = part_at(model, slot.tensor)
            if not isinstance(tensor, Tensor):
                raise StalePlan(f"the model has no tensor {slot.tensor}, which the plan shrinks; plan() it again")
            shape = tensor.shape
            if slot.axis >= len(shape) or shape[slot.axis] != slot.size:
                raise stale(f"axis {slot.axis} of {slot.tensor}", tuple(shape), f"{slot.size} long")
        for attribute in self.coupling.attributes:
            _check_attribute(attribute, part_at(model, attribute.module), self.site.size - len(self.kept))

    def merged(self, other: Edit) -> KeepChannels:
        if not isinstance(other, KeepChannels) or other.coupling.slots != self.coupling.slots:
            raise StalePlan(
                f"the plans cut {self.site.name} differently, so they are not for one model; plan() it again"
            )
        both = tuple(k for k in self.kept if k in set(other.kept))
        if not both:
            raise StalePlan(f"the plans share no unit of {self.site.name}, so that nothing would stay; cut less in one")
        return replace(self, kept=both)

    def host_ratios(self, model: nn.Module) -> dict[nn.Module, float]:
        """Half a channel is added, since int(C * (1 - ratio)) would lose one to rounding."""
        layers = [(slot, part_at(model, slot.tensor.rpartition(".")[0])) for slot in self.coupling.slots]
        groups = {1, *(getattr(layer, "groups", 1) for _, layer in layers)}
        ratios = {}
        for slot, layer in layers:
            if slot.tensor.endswith(".weight") and isinstance(layer, nn.Module) and _makes(layer, slot.axis):
                self._require_host_units(slot, groups)
                ratios[layer] = 1 - (len(self.kept) + 0.5) / self.site.size
        return ratios

    def _require_host_units(self, slot: Slot, groups: set[int]) -> None:
        """The host knows whole layers whose units are channels, or the same channel of every group."""
        owned = sum(run.count * run.repeat for run in slot.runs)
        if owned != slot.size or owned // self.site.size not in groups:
            raise ValueError(
                f"{self.site.name} is not a whole layer of single channels, which is all that a torch-pruning ratio "
                "can say; put it in ignored_layers, or apply the plan with prune_()"
            )

    def to_json(self) -> dict[str, Any]:
        return {**coupling_json(self.coupling), "kept": list(self.kept)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> KeepChannels:
        fields = keys(data, "edit", {*FIELDS, "kept"})
        coupling = coupling_from(fields, smallest=2)
        size = coupling.site.size
        return cls(coupling, tuple(integer(k, "kept", 0, size - 1) for k in sequence(fields["kept"], "kept", size)))


def _makes(layer: nn.Module, axis: int) -> bool:
    if isinstance(layer, nn.modules.conv._ConvNd):
        return axis == int(layer.transposed)
    return isinstance(layer, nn.Linear) and axis == 0


def part_at(model: nn.Module, path: str) -> nn.Module | Tensor | None:
    """The submodule, parameter or buffer with this name; None if there is none."""
    here: nn.Module | Tensor | None = model
    for name in path.split(".") if path else ():
        if not isinstance(here, nn.Module):
            return None
        held = (here._modules, here._parameters, here._buffers)
        here = next((container[name] for container in held if name in container), None)
    return here


def _check_attribute(attribute: Attribute, module: object, leaving: int) -> None:
    name = f"{attribute.module}.{attribute.name}"
    value = vars(module).get(attribute.name) if isinstance(module, nn.Module) else None
    if attribute.position is not None and isinstance(value, list | tuple) and attribute.position < len(value):
        value = value[attribute.position]
    if not isinstance(value, int) or isinstance(value, bool):
        raise StalePlan(f"the model has no integer {name}, which the plan lowers; plan() it again")
    if value - attribute.per_unit * leaving < 1:
        raise stale(name, value, f"at least {1 + attribute.per_unit * leaving}")


def best(scores: np.ndarray, count: int) -> np.ndarray:
    """The `count` units with the largest scores, ascending; of equal ones those with larger indices stay."""
    return np.sort(np.argsort(scores, kind="stable")[len(scores) - count :])
