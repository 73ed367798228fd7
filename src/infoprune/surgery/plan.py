"""A plan is plain data: what stays, where, and who decided. It holds kept indices, never ratios."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import nn

from infoprune.errors import StalePlan
from infoprune.graph.labels import Statistic
from infoprune.graph.slicing import Part, Removal, shrink
from infoprune.graph.slots import Site
from infoprune.graph.wrapped import bare
from infoprune.surgery.inputs import InputSpec

PLAN_VERSION = 1


class Edit(ABC):
    """One change to a model, as data that survives JSON."""

    kind: ClassVar[str]
    late: ClassVar[bool] = False  # it goes into modules that other edits may put in place, so it comes after them

    @property
    @abstractmethod
    def site(self) -> Site:
        """Where it cuts."""

    @property
    @abstractmethod
    def keeps(self) -> int:
        """How many of the site's units stay."""

    @abstractmethod
    def check(self, model: nn.Module) -> None:
        """Raise StalePlan unless the model has what this edit was planned for."""

    @abstractmethod
    def merged(self, other: Edit) -> Edit:
        """Both edits of one site as one: what both keep stays."""

    @property
    def inexact(self) -> tuple[Statistic, ...]:
        """The statistics that it changes by design."""
        return ()

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a reader of the paper would not expect of it, though both sides of a certificate agree on it."""
        return ()

    def parts(self) -> Iterable[Part]:
        """What it takes out of tensors: (slots, attributes, mask of the units that leave)."""
        return ()

    def replace_modules(self, model: nn.Module) -> None:
        """What it puts in the place of modules, in place, after all tensors have been cut."""

    def mask(self, original: nn.Module, removal: Removal) -> None:
        """Make what it replaces contribute nothing instead, in place; tensors are masked already, by `removal`."""

    @property
    def lost(self) -> Mapping[str, tuple[int, ...]]:
        """Names and shapes of the tensors that leave whole."""
        return {}

    @abstractmethod
    def host_ratios(self, model: nn.Module) -> dict[nn.Module, float]:
        """The same cut as entries of torch-pruning's `pruning_ratio_dict`."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Plain values; `kind` is added by the plan."""


@dataclass(frozen=True)
class Price:
    """What the model costs in one unit before and after, as counted by us."""

    before: int
    after: int

    @property
    def keep(self) -> float:
        return self.after / self.before if self.before else 1.0


@dataclass(frozen=True)
class Plan:
    """Edits, what they bring, and who made them; nothing has been done to any model.

    `inputs` are the shapes and types of the example inputs for which `prices` hold.
    """

    edits: tuple[Edit, ...] = ()
    made_by: Mapping[str, Any] = field(default_factory=dict)
    prices: Mapping[str, Price] = field(default_factory=dict)
    inputs: InputSpec = ()

    def __add__(self, other: Plan) -> Plan:
        """Both plans, made for the same model, at once. Where both cut one site, what both keep stays."""
        mine = {(e.kind, e.site.name): e for e in self.edits}
        for edit in other.edits:
            key = edit.kind, edit.site.name
            mine[key] = mine[key].merged(edit) if key in mine else edit
        return Plan(tuple(mine.values()), {**self.made_by, **other.made_by}, {}, self.inputs or other.inputs)

    @property
    def widths(self) -> dict[str, int]:
        """site -> how many units stay, for the sites that shrink."""
        return {edit.site.name: edit.keeps for edit in self.edits}

    def pruning_ratios(self, model: nn.Module) -> dict[nn.Module, float]:
        """A `pruning_ratio_dict` that takes a stock torch-pruning pruner to exactly these widths.

        Pass it with `pruning_ratio=0.0`, without `round_to` and without `global_pruning`.
        """
        model, ratios = bare(model), dict[nn.Module, float]()
        for edit in self.edits:
            edit.check(model)
            ratios.update(edit.host_ratios(model))
        return ratios

    def to_json(self) -> str:
        return json.dumps(
            {
                "version": PLAN_VERSION,
                "edits": [{"kind": e.kind, **e.to_json()} for e in self.edits],
                "made_by": dict(self.made_by),
                "prices": {unit: [p.before, p.after] for unit, p in self.prices.items()},
                "inputs": self.inputs,
            },
            separators=(",", ":"),
        )

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """The plan that `to_json` wrote; BadArtifact says what is wrong with any other text."""
        from infoprune.surgery.json_text import parsed
        from infoprune.surgery.reading import plan_from

        return plan_from(parsed(text, "the plan"))

    def __str__(self) -> str:
        return table(self)


edit_readers: dict[str, Callable[[Mapping[str, Any]], Edit]] = {}


def removal_of(edits: Sequence[Edit]) -> Removal:
    """Everything that the channel edits take out of tensors, together."""
    return Removal.of(part for edit in edits for part in edit.parts())


def carry_out(model: nn.Module, edits: Sequence[Edit]) -> list[tuple[nn.Parameter, nn.Parameter]]:
    """Apply the edits in place; returns each parameter with the one that replaced it."""
    replaced = shrink(model, removal_of(edits))
    for edit in sorted(edits, key=lambda edit: edit.late):
        edit.replace_modules(model)
    return replaced


def check_all(model: nn.Module, plan: Plan) -> None:
    if not isinstance(plan, Plan):
        raise TypeError(f"plan is a {type(plan).__name__}; make one with infoprune.plan() or Plan.from_json()")
    for edit in plan.edits:
        edit.check(model)


def stale(name: str, found: object, needed: object) -> StalePlan:
    return StalePlan(
        f"{name} is {found} in this model and {needed} in the plan; plan() the model at hand, or load the one "
        "that the plan was made for"
    )


# ---------------------------------------------------------------------------------------------------- as a table


def table(plan: Plan) -> str:
    """Site, what it had, what stays; then the prices."""
    rows = [("site", "was", "stays", "keep")]
    rows += [(e.site.name, str(e.site.size), str(e.keeps), f"{e.keeps / e.site.size:.0%}") for e in plan.edits]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    lines = [
        f"{row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}  {row[3]:>{widths[3]}}" for row in rows
    ]
    lines.insert(1, "-" * len(lines[0]))
    if not plan.edits:
        lines.append("(nothing is removed)")
    lines += [f"{unit:<8} {p.before:>15,} -> {p.after:>15,}  ({p.keep:.2%} remain)" for unit, p in plan.prices.items()]
    return "\n".join(lines)
