"""Couplings as plain data: what KeepChannels and DropBlock tell of the tensors that shrink together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infoprune.errors import BadArtifact
from infoprune.graph.labels import Inexactness
from infoprune.graph.slots import Attribute, Coupling, Run, Site, Slot
from infoprune.surgery.checked import LONGEST_AXIS, fields_of, integer, name_of, sequence

FIELDS = {"site", "size", "step", "slots", "attributes", "inexact"}


def coupling_json(coupling: Coupling) -> dict[str, Any]:
    """What `coupling_from` reads, under the keys `FIELDS`."""
    site = coupling.site
    return {
        "site": site.name,
        "size": site.size,
        "step": site.step,
        "slots": [[s.tensor, s.axis, s.size, [list(run) for run in s.runs]] for s in coupling.slots],
        "attributes": [[a.module, a.name, a.position, a.per_unit] for a in coupling.attributes],
        "inexact": [[s.reason, s.reproducible] for s in coupling.inexact],
    }


def coupling_from(fields: Mapping[str, Any], *, smallest: int = 1) -> Coupling:
    """The coupling of a site of at least `smallest` units."""
    size = integer(fields["size"], "size", smallest, LONGEST_AXIS)
    return Coupling(
        Site(name_of(fields["site"]), size, step=integer(fields["step"], "step", 1, LONGEST_AXIS)),
        tuple(_slot(item, size) for item in sequence(fields["slots"], "slots")),
        tuple(attribute_from(item) for item in sequence(fields["attributes"], "attributes")),
        tuple(_statistic(item) for item in sequence(fields["inexact"], "inexact", 64)),
    )


def _slot(data: Any, units: int) -> Slot:
    tensor, axis, size, runs = fields_of(data, "slot", 4)
    size = integer(size, "slot size", 1, LONGEST_AXIS)
    stretches, end = [], 0
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
        stretches.append(run)
    if not stretches:
        raise BadArtifact(f"a slot of {tensor!r:.60} holds no runs")
    return Slot(name_of(tensor), integer(axis, "axis", 0, 7), size, tuple(stretches))


def attribute_from(data: Any) -> Attribute:
    module, attribute, position, per_unit = fields_of(data, "attribute", 4)
    if module != "":
        name_of(module)
    if not isinstance(attribute, str) or not attribute.isidentifier() or attribute.startswith("_"):
        raise BadArtifact(f"{attribute!r:.60} is not the name of a public attribute")
    place = None if position is None else integer(position, "position", 0, 4096)
    return Attribute(module, attribute, place, integer(per_unit, "per_unit", 1, LONGEST_AXIS))


def _statistic(data: Any) -> Inexactness:
    reason, reproducible = fields_of(data, "statistic", 2)
    if not isinstance(reason, str) or len(reason) > 200 or not isinstance(reproducible, bool):
        raise BadArtifact("a statistic is not a short text and a truth value")
    return Inexactness(reason, reproducible)
