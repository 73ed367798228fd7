"""DropBlock: a skip unit that leaves, and compact(), which deletes what stands in for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from infoprune.errors import BadArtifact, StalePlan
from infoprune.families.units import SkipUnit, StandIn
from infoprune.graph.labels import Inexactness
from infoprune.graph.slicing import Removal, SitePart, named_tensors
from infoprune.graph.slots import Site
from infoprune.surgery.checked import LONGEST_AXIS, fields_of, integer, keys, name_of, sequence
from infoprune.surgery.couplings import FIELDS, coupling_from, coupling_json
from infoprune.surgery.edit import Edit, edits, stale
from infoprune.surgery.stand_ins import PassThrough, Replacement, replacement, stand_in_from, stand_in_json


@edits.register("drop_block")
@dataclass(frozen=True)
class DropBlock(Edit):
    """The skip unit leaves, as if its branch were multiplied by zero (alpha = 0 in eqs. 1 and 2).

    With one difference where a layer is concatenated (eq. 2) and norms follow, as in DenseNet: a batch norm makes a
    constant of zeros, shift - scale mean / deviation, which goes on through the activation. The channels leave the
    norms as well, and this constant with them. `remarks` names the norms; fine-tuning or re-estimating statistics
    makes up for it.
    """

    kind: ClassVar[str] = "drop_block"

    unit: SkipUnit

    @classmethod
    def of(cls, unit: SkipUnit, model: nn.Module) -> DropBlock:
        """With the names and shapes of the tensors that leave `model`."""
        return cls(
            SkipUnit(
                unit.name,
                unit.branch_end,
                unit.stand_ins,
                unit.whole,
                unit.siblings,
                unit.consumers,
                _lost(unit, model),
            )
        )

    @property
    def site(self) -> Site:
        return Site(self.unit.name, 1, "block")

    @property
    def keeps(self) -> int:
        return 0

    @property
    def inexact(self) -> tuple[Inexactness, ...]:
        return self.unit.consumers.inexact if self.unit.consumers else ()

    @property
    def remarks(self) -> tuple[str, ...]:
        means = (
            [s.tensor for s in self.unit.consumers.slots if s.tensor.endswith(".running_mean")]
            if self.unit.consumers
            else []
        )
        norms = ", ".join(mean.removesuffix(".running_mean") for mean in means)
        return (f"what {norms} make of zeros leaves with {self.unit.name}, which eq. 2 would keep",) if means else ()

    @property
    def lost(self) -> Mapping[str, tuple[int, ...]]:
        return self.unit.lost

    def parts(self) -> Iterable[SitePart]:
        readers = self.unit.consumers
        return [(readers.slots, readers.attributes, np.ones(readers.site.size, dtype=bool))] if readers else []

    def replace_modules(self, model: nn.Module) -> None:
        for spec in self.unit.stand_ins:
            _put(model, spec)
        if self.unit.whole and all(_is_gone(model, end) for end in self.unit.siblings):
            _put(model, self.unit.whole)

    def mask(self, original: nn.Module, removal: Removal) -> None:
        original.get_submodule(self.unit.branch_end).register_forward_hook(_times_zero)

    def check(self, model: nn.Module) -> None:
        modules = dict(model.named_modules())
        for spec in self._specs():
            steps = [f"{spec.module}.{step.name}" for step in spec.steps if step.kind == "module"]
            for name in [spec.module, *steps]:
                if name not in modules:
                    raise StalePlan(f"the model has no module {name}, which the plan removes; plan() it again")
            if isinstance(modules[spec.module], Replacement):
                raise StalePlan(f"{spec.module} was removed from this model before; plan() it again")
        if self.unit.branch_end not in modules:
            raise StalePlan(f"the model has no module {self.unit.branch_end}, where the branch ends; plan() it again")
        state = model.state_dict(keep_vars=True)
        for name, shape in self.unit.lost.items():
            if name not in state:
                raise StalePlan(f"the model has no tensor {name}, which the plan removes; plan() it again")
            if tuple(state[name].shape) != shape:
                raise stale(name, tuple(state[name].shape), shape)
        self._check_cut(named_tensors(model))

    def merged(self, other: Edit) -> DropBlock:
        if other != self:
            raise StalePlan(f"the plans remove {self.unit.name} differently, so not from one model; plan() it again")
        return self

    def host_ratios(self, model: nn.Module) -> dict[nn.Module, float]:
        raise ValueError(f"{self.unit.name} leaves whole, which no torch-pruning ratio can say; use prune_()")

    def to_json(self) -> dict[str, Any]:
        return {
            "site": self.unit.name,
            "branch_end": self.unit.branch_end,
            "stand_ins": [stand_in_json(spec) for spec in self.unit.stand_ins],
            "whole": stand_in_json(self.unit.whole) if self.unit.whole else None,
            "siblings": list(self.unit.siblings),
            "cut": coupling_json(self.unit.consumers) if self.unit.consumers else None,
            "lost": [[name, list(shape)] for name, shape in self.unit.lost.items()],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> DropBlock:
        fields = keys(data, "edit", {"site", "branch_end", "stand_ins", "whole", "siblings", "cut", "lost"})
        unit = SkipUnit(
            name_of(fields["site"]),
            name_of(fields["branch_end"]),
            tuple(stand_in_from(item) for item in sequence(fields["stand_ins"], "stand_ins", 1000)),
            None if fields["whole"] is None else stand_in_from(fields["whole"]),
            tuple(name_of(item) for item in sequence(fields["siblings"], "siblings", 1000)),
            None if fields["cut"] is None else coupling_from(keys(fields["cut"], "cut", FIELDS)),
            dict(_lost_from(item) for item in sequence(fields["lost"], "lost")),
        )
        if not unit.stand_ins:
            raise BadArtifact(f"nothing stands in for {unit.name}")
        return cls(unit)

    def _specs(self) -> tuple[StandIn, ...]:
        return (*self.unit.stand_ins, *((self.unit.whole,) if self.unit.whole else ()))

    def _check_cut(self, tensors: Mapping[str, Tensor]) -> None:
        for slot in self.unit.consumers.slots if self.unit.consumers else ():
            if slot.tensor not in tensors:
                raise StalePlan(f"the model has no tensor {slot.tensor}, which the plan shrinks; plan() it again")
            shape = tuple(tensors[slot.tensor].shape)
            if slot.axis >= len(shape) or shape[slot.axis] != slot.size:
                raise stale(f"axis {slot.axis} of {slot.tensor}", shape, f"{slot.size} long")


def _put(model: nn.Module, spec: StandIn) -> None:
    """Replace a module, unless one around it was replaced before."""
    parent_name, _, leaf = spec.module.rpartition(".")
    parent = model
    for part in parent_name.split(".") if parent_name else ():
        if isinstance(parent, Replacement) and part not in parent._modules:
            return
        parent = parent.get_submodule(part)
    if leaf in parent._modules:
        parent._modules[leaf] = replacement(parent.get_submodule(leaf), spec)


def _is_gone(model: nn.Module, name: str) -> bool:
    """The module, or one around it, has been replaced."""
    module = model
    for part in name.split("."):
        if isinstance(module, Replacement):
            return True
        module = module.get_submodule(part)
    return isinstance(module, Replacement)


def _times_zero(_: nn.Module, __: Any, out: Any) -> Any:
    """A module's output multiplied by zero, tuple or not."""
    return (out[0] * 0, *out[1:]) if isinstance(out, tuple) else out * 0


def _lost(unit: SkipUnit, model: nn.Module) -> dict[str, tuple[int, ...]]:
    """What the state holds under the replaced modules, less what a shortcut keeps."""
    lost = {}
    for spec in (*unit.stand_ins, *((unit.whole,) if unit.whole else ())):
        kept = [f"{spec.module}.{step.name}." for step in spec.steps if step.kind == "module"]
        for name, value in model.get_submodule(spec.module).state_dict(keep_vars=True).items():
            full = f"{spec.module}.{name}"
            if isinstance(value, Tensor) and not any(full.startswith(k) for k in kept):
                lost[full] = tuple(value.shape)
    return lost


def _lost_from(data: Any) -> tuple[str, tuple[int, ...]]:
    tensor, shape = fields_of(data, "lost", 2)
    return name_of(tensor), tuple(integer(n, "size", 0, LONGEST_AXIS) for n in sequence(shape, "shape", 16))


# ----------------------------------------------------------------------------------------------- on request


def compact(model: nn.Module) -> nn.Module:
    """Delete every pass-through from its nn.Sequential and renumber, in place; returns the model.

    Names of later blocks change (`layer2.2` becomes `layer2.1`), so that plans, hooks by name and checkpoints
    made before no longer fit: save first. Containers of other kinds are left alone, since their code may
    count on all.
    """
    for module in list(model.modules()):
        if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
            _compact_sequence(module)
    return model


def _compact_sequence(sequence: nn.Sequential) -> None:
    stay = {n: m for n, m in sequence._modules.items() if type(m) is not PassThrough or m.outputs}
    if len(stay) < len(sequence._modules):
        numbered = all(name.isdigit() for name in sequence._modules)
        sequence._modules = {str(i) if numbered else n: m for i, (n, m) in enumerate(stay.items())}
