"""Plans from untrusted JSON: every value is checked before anything is built from it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from infoprune.errors import BadArtifact
from infoprune.families.units import SkipUnit, StandIn, Step
from infoprune.graph.labels import Statistic
from infoprune.graph.slots import Attribute, Coupling, Run, Site, Slot
from infoprune.surgery.blocks import FUNCTIONS, DropBlock
from infoprune.surgery.channels import KeepChannels
from infoprune.surgery.features import SendFeatures
from infoprune.surgery.plan import PLAN_VERSION, Edit, Plan, Price, edit_readers
from infoprune.surgery.reading_inputs import inputs_from
from infoprune.surgery.token_scores import token_scores
from infoprune.surgery.tokens import KeepTokens
from infoprune.surgery.values import fields_of, integer, keys, mapping, name, sequence, word
from infoprune.surgery.widths import Axis, KeepWidths, Number
from infoprune.wire import Part, Selection, codecs
from infoprune.wire.codec import codec_at
from infoprune.wire.selection import MOST_FEATURES

LONGEST_AXIS = 1 << 24


def plan_from(data: Any) -> Plan:
    """A plan from parsed JSON."""
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
        if (told := (edit.kind, edit.site.name)) in seen:
            raise BadArtifact(f"the plan cuts {edit.site.name} twice; write it with Plan.to_json()")
        seen.add(told)
        yield edit


def _edit(data: Any) -> Edit:
    kind = mapping(data, "edit").get("kind")
    if not isinstance(kind, str) or kind not in edit_readers:
        raise BadArtifact(f"there is no edit of kind {kind!r:.60}; known: {', '.join(sorted(edit_readers))}")
    return edit_readers[kind](data)


def _keep_channels(data: Mapping[str, Any]) -> KeepChannels:
    fields = keys(data, "edit", {"kind", "site", "size", "step", "kept", "slots", "attributes", "inexact"})
    size = integer(fields["size"], "size", 2, LONGEST_AXIS)
    site = Site(name(fields["site"]), size, step=integer(fields["step"], "step", 1, LONGEST_AXIS))
    kept = sequence(fields["kept"], "kept", size)
    coupling = Coupling(
        site,
        tuple(_slot(item, size) for item in sequence(fields["slots"], "slots")),
        tuple(_attribute(item) for item in sequence(fields["attributes"], "attributes")),
        tuple(_statistic(item) for item in sequence(fields["inexact"], "inexact", 64)),
    )
    try:
        return KeepChannels(coupling, tuple(integer(k, "kept", 0, size - 1) for k in kept))
    except ValueError as error:
        raise BadArtifact(str(error)) from error


edit_readers[KeepChannels.kind] = _keep_channels


def _keep_widths(data: Mapping[str, Any]) -> KeepWidths:
    fields = keys(data, "edit", {"kind", "layer", "axes", "numbers"} | ({"kept"} & data.keys()))
    axes = tuple(_axis(item) for item in sequence(fields["axes"], "axes"))
    numbers = tuple(_number(item) for item in sequence(fields["numbers"], "numbers"))
    kept = tuple(_indices(item) for item in sequence(fields.get("kept", []), "kept", len(axes)))
    try:
        return KeepWidths(name(fields["layer"]), axes, numbers, kept)
    except ValueError as error:
        raise BadArtifact(str(error)) from error


def _indices(data: Any) -> tuple[int, ...]:
    return tuple(integer(i, "a kept index", 0, LONGEST_AXIS) for i in sequence(data, "kept indices", LONGEST_AXIS))


edit_readers[KeepWidths.kind] = _keep_widths


def _drop_block(data: Mapping[str, Any]) -> DropBlock:
    expected = {"kind", "site", "branch_end", "stand_ins", "whole", "siblings", "cut", "lost"}
    fields = keys(data, "edit", expected)
    unit = SkipUnit(
        name(fields["site"]),
        name(fields["branch_end"]),
        tuple(_stand_in(item) for item in sequence(fields["stand_ins"], "stand_ins", 1000)),
        None if fields["whole"] is None else _stand_in(fields["whole"]),
        tuple(name(item) for item in sequence(fields["siblings"], "siblings", 1000)),
        None if fields["cut"] is None else _cut(fields["cut"]),
        dict(_lost(item) for item in sequence(fields["lost"], "lost")),
    )
    if not unit.stand_ins:
        raise BadArtifact(f"nothing stands in for {unit.name}")
    return DropBlock(unit)


edit_readers[DropBlock.kind] = _drop_block


def _keep_tokens(data: Mapping[str, Any]) -> KeepTokens:
    fields = keys(data, "edit", {"kind", "site", "arriving", "kept", "prefix", "score", "kernels", "fuse"})
    arriving = integer(fields["arriving"], "arriving", 2, LONGEST_AXIS)
    if not isinstance(fields["score"], str) or fields["score"] not in token_scores:
        raise BadArtifact(f"{fields['score']!r:.60} is not a token score; known: {', '.join(token_scores)}")
    if not isinstance(fields["fuse"], bool):
        raise BadArtifact(f"fuse is {fields['fuse']!r:.60}, not a truth value")
    return KeepTokens(
        name(fields["site"]),
        arriving,
        integer(fields["kept"], "kept", 1, arriving - 1),
        integer(fields["prefix"], "prefix", 0, 1 << 10),
        fields["score"],
        integer(fields["kernels"], "kernels", 1, 1 << 12),
        fields["fuse"],
    )


edit_readers[KeepTokens.kind] = _keep_tokens


def _send_features(data: Mapping[str, Any]) -> SendFeatures:
    fields = keys(data, "edit", {"kind", "layer", "size", "parts"})
    size = integer(fields["size"], "size", 1, MOST_FEATURES)
    parts = tuple(_sent_part(item, size) for item in sequence(fields["parts"], "parts", 2))
    try:
        return SendFeatures(name(fields["layer"]), Selection(size, parts))
    except ValueError as error:
        raise BadArtifact(str(error)) from error


edit_readers[SendFeatures.kind] = _send_features


def _sent_part(data: Any, size: int) -> Part:
    codec, qp, kept = fields_of(data, "part", 3)
    indices = tuple(integer(k, "kept", 0, size - 1) for k in sequence(kept, "kept", size))
    if not isinstance(codec, str) or codec not in codecs:
        raise BadArtifact(f"there is no codec {codec!r:.60}; known: {', '.join(codecs)}")
    try:
        return Part(indices, codec_at(codecs[codec], integer(qp, "qp", 0, 255)))
    except ValueError as error:
        raise BadArtifact(str(error)) from error


def _stand_in(data: Any) -> StandIn:
    module, kind, outputs, steps = fields_of(data, "stand_in", 4)
    if kind not in ("pass", "zero", "empty", "shortcut"):
        raise BadArtifact(f"{kind!r:.60} is not a stand-in")
    found = tuple(_step(item) for item in sequence(steps, "steps", 64))
    return StandIn(name(module), kind, integer(outputs, "outputs", 0, 64), found)


def _step(data: Any) -> Step:
    kind, what = fields_of(data, "step", 2)
    if kind == "module":
        if not isinstance(what, str) or not re.fullmatch(r"[A-Za-z0-9_-]{1,128}", what):
            raise BadArtifact(f"{what!r:.60} is not the name of a child module")
    elif kind != "function" or not isinstance(what, str) or what not in FUNCTIONS:
        raise BadArtifact(f"{what!r:.60} is not a step of a shortcut")
    return Step(kind, what)


def _cut(data: Any) -> Coupling:
    fields = keys(data, "cut", {"site", "size", "step", "slots", "attributes", "inexact"})
    size = integer(fields["size"], "size", 1, LONGEST_AXIS)
    return Coupling(
        Site(name(fields["site"]), size, step=integer(fields["step"], "step", 1, LONGEST_AXIS)),
        tuple(_slot(item, size) for item in sequence(fields["slots"], "slots")),
        tuple(_attribute(item) for item in sequence(fields["attributes"], "attributes")),
        tuple(_statistic(item) for item in sequence(fields["inexact"], "inexact", 64)),
    )


def _lost(data: Any) -> tuple[str, tuple[int, ...]]:
    tensor, shape = fields_of(data, "lost", 2)
    return name(tensor), tuple(integer(n, "size", 0, LONGEST_AXIS) for n in sequence(shape, "shape", 16))


def _slot(data: Any, units: int) -> Slot:
    tensor, axis, size, runs = fields_of(data, "slot", 4)
    size = integer(size, "slot size", 1, LONGEST_AXIS)
    found, end = [], 0
    for item in sequence(runs, "runs", size):
        start, unit, count, repeat = fields_of(item, "run", 4)
        run = Run(
            integer(start, "run start", end, size),
            integer(unit, "run unit", 0, units - 1),
            integer(count, "run count", 1, units),
            integer(repeat, "run repeat", 1, size),
        )
        end = run.start + run.count * run.repeat
        if end > size or run.unit + run.count > units:
            raise BadArtifact(f"a run of {tensor!r:.60} reaches past its axis of {size} or its {units} units")
        found.append(run)
    if not found:
        raise BadArtifact(f"a slot of {tensor!r:.60} holds no runs")
    return Slot(name(tensor), integer(axis, "axis", 0, 7), size, tuple(found))


def _attribute(data: Any) -> Attribute:
    module, attribute, position, per_unit = fields_of(data, "attribute", 4)
    if module != "":
        name(module)
    if not isinstance(attribute, str) or not attribute.isidentifier() or attribute.startswith("_"):
        raise BadArtifact(f"{attribute!r:.60} is not the name of a public attribute")
    place = None if position is None else integer(position, "position", 0, 4096)
    return Attribute(module, attribute, place, integer(per_unit, "per_unit", 1, LONGEST_AXIS))


def _axis(data: Any) -> Axis:
    tensor, axis, *lengths = fields_of(data, "axis", 4)
    return Axis(name(tensor), integer(axis, "axis", 0, 7), *(integer(n, "length", 1, LONGEST_AXIS) for n in lengths))


def _number(data: Any) -> Number:
    module, attribute, position, *values = fields_of(data, "number", 5)
    told = _attribute([module, attribute, position, 1])
    return Number(told.module, told.name, told.position, *(integer(v, "number", 1, LONGEST_AXIS) for v in values))


def _statistic(data: Any) -> Statistic:
    reason, reproducible = fields_of(data, "statistic", 2)
    if not isinstance(reason, str) or len(reason) > 200 or not isinstance(reproducible, bool):
        raise BadArtifact("a statistic is not a short text and a truth value")
    return Statistic(reason, reproducible)


def _price(data: Any) -> Price:
    before, after = fields_of(data, "price", 2)
    return Price(integer(before, "price", 0, 1 << 60), integer(after, "price", 0, 1 << 60))


# --------------------------------------------------------------------------------------------------------- notes


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
