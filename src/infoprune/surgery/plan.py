"""A plan is plain data: what stays, where, and who decided. It holds kept indices, never ratios."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from infoprune.errors import BadArtifact, StalePlan
from infoprune.graph.slicing import Removal, shrink
from infoprune.graph.wrappers import bare
from infoprune.surgery.checked import fields_of, integer, keys, mapping, sequence, word
from infoprune.surgery.edit import Added, Edit, edits, stale
from infoprune.surgery.inputs import InputSpec, inputs_from
from infoprune.surgery.json_text import parsed

PLAN_VERSION = 1


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
        return plan_from(parsed(text, "the plan"))

    def __str__(self) -> str:
        return table(self)


def removal_of(edits: Sequence[Edit]) -> Removal:
    """Everything that the channel edits take out of tensors, together."""
    return Removal.of(part for edit in edits for part in edit.parts())


def added_by(edits: Sequence[Edit]) -> dict[str, Added]:
    """Every tensor that the edits put in."""
    return {name: new for edit in edits for name, new in edit.added.items()}


def carry_out(model: nn.Module, edits: Sequence[Edit]) -> list[tuple[nn.Parameter, nn.Parameter]]:
    """Apply the edits in place; returns each parameter with the one that replaced it."""
    replaced = shrink(model, removal_of(edits))
    for edit in sorted(edits, key=lambda edit: edit.late):
        edit.replace_modules(model)
    state = model.state_dict(keep_vars=True) if (added := added_by(edits)) else {}
    for name, new in added.items():
        if name not in state or tuple(state[name].shape) != new.shape:
            raise stale(name, tuple(state[name].shape) if name in state else "absent", new.shape)
    return replaced


def check_all(model: nn.Module, plan: Plan) -> None:
    if not isinstance(plan, Plan):
        raise TypeError(f"plan is a {type(plan).__name__}; make one with infoprune.plan() or Plan.from_json()")
    for edit in plan.edits:
        edit.check(model)
    _require_room(model, plan.edits)


def _require_room(model: nn.Module, edits: Sequence[Edit]) -> None:
    """Names of new tensors are free, and nobody else cuts or removes what they take the place of."""
    state = model.state_dict(keep_vars=True) if added_by(edits) else {}
    for edit in (edit for edit in edits if edit.added):
        others = [other for other in edits if other is not edit]
        touched = {*removal_of(others).indices, *(name for other in others for name in (*other.lost, *other.added))}
        if both := sorted(touched & {*edit.lost, *edit.added}):
            raise StalePlan(f"the plan changes {both[0]} twice; carry out two plans, one after the other")
        if taken := sorted((edit.added.keys() - edit.lost.keys()) & state.keys()):
            raise StalePlan(f"the model has a tensor {taken[0]} already, which the plan puts in; plan() it again")


# ------------------------------------------------------------------------------------------ from untrusted JSON


def plan_from(data: Any) -> Plan:
    """A plan from parsed JSON; every value is checked before anything is built from it."""
    fields = keys(data, "plan", {"version", "edits", "made_by", "prices", "inputs"})
    if fields["version"] != PLAN_VERSION:
        raise BadArtifact(
            f"the plan has version {fields['version']!r:.40}, this release reads {PLAN_VERSION}; update infoprune"
        )
    return Plan(
        tuple(_edits(fields["edits"])),
        _plain(fields["made_by"]),
        {word(u): _price(p) for u, p in mapping(fields["prices"], "prices").items()},
        inputs_from(fields["inputs"]),
    )


def _edits(data: Any) -> Iterator[Edit]:
    """Each kind of cut at a site is told once."""
    seen: set[tuple[str, str]] = set()
    for item in sequence(data, "edits"):
        edit = _edit(item)
        if (key := (edit.kind, edit.site.name)) in seen:
            raise BadArtifact(f"the plan cuts {edit.site.name} twice; write it with Plan.to_json()")
        seen.add(key)
        yield edit


def _edit(data: Any) -> Edit:
    kind = mapping(data, "edit").get("kind")
    if not isinstance(kind, str) or kind not in edits:
        raise BadArtifact(f"there is no edit of kind {kind!r:.60}; known: {', '.join(edits)}")
    try:
        return edits[kind].from_json({key: value for key, value in data.items() if key != "kind"})
    except BadArtifact:
        raise
    except ValueError as error:
        raise BadArtifact(str(error)) from error


def _price(data: Any) -> Price:
    before, after = fields_of(data, "price", 2)
    return Price(integer(before, "price", 0, 1 << 60), integer(after, "price", 0, 1 << 60))


def _plain(data: Any) -> dict[str, Any]:
    """Free-form notes: short strings, numbers, truth values and lists of them."""
    notes = mapping(data, "made_by")
    if len(notes) > 64 or not all(_is_note(v) for v in notes.values()):
        raise BadArtifact("made_by holds more than short notes")
    return dict(notes)


def _is_note(value: Any) -> bool:
    if isinstance(value, list):
        return len(value) <= 10_000 and all(not isinstance(v, list | dict) and _is_note(v) for v in value)
    return value is None or isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= 2000)


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
