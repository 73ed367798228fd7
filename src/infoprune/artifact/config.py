"""config.json of an artefact, checked value by value before anything is built from it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from infoprune.artifact.architecture import Architecture, Source
from infoprune.artifact.layout import CONFIG, FAMILY, SCHEMA, content_digest
from infoprune.artifact.probe import SEED, Answer
from infoprune.compensation import Compensation
from infoprune.errors import BadArtifact, UnknownName
from infoprune.family import known_member
from infoprune.surgery.checked import integer, keys, mapping, sequence
from infoprune.surgery.json_text import LARGEST, parsed
from infoprune.surgery.plan import Plan, plan_from

REFITTED = "compensations"
FIELDS = {"schema", "architecture", "plans", "widths", "versions", "counter", "sha256", "probe"}
OF_A_MEMBER = {"name", "plans", "widths", "probe"}
OF_A_FAMILY = (FIELDS - OF_A_MEMBER) | {"members"}
MEMBER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,39}")
MOST_MEMBERS = 64


@dataclass(frozen=True)
class Config:
    """What config.json says, checked."""

    architecture: Architecture
    plans: tuple[Plan, ...]
    versions: dict[str, str]
    sha256: str
    answer: Answer | None
    compensations: tuple[Compensation, ...] = ()  # what was refitted after surgery


def read_config(directory: str | os.PathLike[str], *, member: str | float | None = None) -> Config:
    """config.json of an artefact, or what it says of a family's `member`, checked value by value."""
    ours = _read(directory)
    if ours["schema"] == SCHEMA:
        if member is not None:
            raise UnknownName(f"{directory} holds one network and no member {member}; leave member= out")
        return _config(keys(ours, "config", FIELDS | ({REFITTED} & ours.keys())))
    members = _members(ours)
    if member is None:
        raise UnknownName(f"{directory} holds a family; name one of its members, {', '.join(members)}, with member=")
    return members[known_member(member, list(members), str(directory))]


def read_members(directory: str | os.PathLike[str]) -> dict[str, Config]:
    """name -> what config.json says of each member of a family, largest first; none where it is one network."""
    ours = _read(directory)
    return {} if ours["schema"] == SCHEMA else _members(ours)


def _read(directory: str | os.PathLike[str]) -> Mapping[str, Any]:
    """Our part of config.json, as it was written."""
    path = Path(directory) / CONFIG
    if not path.is_file():
        raise BadArtifact(f"{directory} holds no {CONFIG}; pass a directory that infoprune.save wrote")
    if path.stat().st_size > LARGEST:
        raise BadArtifact(f"{path} has {path.stat().st_size} bytes; at most {LARGEST} are read")
    outer = mapping(parsed(path.read_bytes(), str(path)), CONFIG)
    if "infoprune" not in outer or "digest" not in outer:
        raise BadArtifact(f"{path} was not written by infoprune; load it with the library that wrote it")
    ours = mapping(outer["infoprune"], "infoprune")
    if ours.get("schema") not in (SCHEMA, FAMILY) or isinstance(ours["schema"], bool):
        raise BadArtifact(
            f"{path} has schema {ours.get('schema')!r:.40}, this release reads {SCHEMA} and {FAMILY}; update infoprune"
        )
    if content_digest(dict(ours)) != outer["digest"]:
        raise BadArtifact(f"{path} was changed after it was written (its digest does not match); save the model again")
    return ours


def _members(ours: Mapping[str, Any]) -> dict[str, Config]:
    family = keys(ours, "config", OF_A_FAMILY)
    common = {name: family[name] for name in family if name != "members"}
    members: dict[str, Config] = {}
    for one in sequence(family["members"], "members", MOST_MEMBERS):
        fields = keys(one, "a member", OF_A_MEMBER | ({REFITTED} & mapping(one, "a member").keys()))
        name = fields["name"]
        if not isinstance(name, str) or not MEMBER.fullmatch(name) or name in members:
            raise BadArtifact(f"{name!r:.60} is not the name of one member")
        members[name] = _config({**common, **fields})
        if not members[name].plans:
            raise BadArtifact(f"the member {name} has no plan")
    return members


def _config(data: Any) -> Config:
    plans = tuple(plan_from(p) for p in sequence(data["plans"], "plans", 1000))
    versions = {str(k)[:64]: str(v)[:64] for k, v in mapping(data["versions"], "versions").items()}
    answer = None if data["probe"] is None else _answer(data["probe"])
    if answer is not None and not plans:
        raise BadArtifact("the config has a probe but no plan that says for which inputs")
    done = tuple(Compensation.from_json(one) for one in sequence(data.get(REFITTED, []), REFITTED, 1000))
    return Config(_architecture(data["architecture"]), plans, versions, _hex(data["sha256"]), answer, done)


def _architecture(data: Any) -> Architecture:
    fields = keys(data, "architecture", {"source", "name", "arguments"})
    if fields["source"] not in get_args(Source) or not isinstance(fields["name"], str):
        known = ", ".join(get_args(Source))
        raise BadArtifact(f"the architecture is {fields['source']!r:.40}; known sources: {known}")
    if fields["source"] == "transformers":
        configuration = keys(fields["arguments"], "arguments", {"model_type", "config"})
        return Architecture("transformers", fields["name"][:256], configuration)
    arguments = {}
    for key, value in mapping(fields["arguments"], "arguments").items():
        if key not in ("num_classes", "in_chans", "img_size"):
            raise BadArtifact(f"{key!r:.60} is not an argument that a saved architecture may have")
        sizes = [integer(v, key, 0, 1 << 20) for v in sequence(value if isinstance(value, list) else [value], key, 4)]
        arguments[key] = tuple(sizes) if isinstance(value, list) else sizes[0]
    return Architecture(fields["source"], fields["name"][:256], arguments)


def _answer(data: Any) -> Answer:
    fields = keys(data, "probe", {"seed", "digest", "samples", "largest"})
    integer(fields["seed"], "seed", SEED, SEED)
    samples = sequence(fields["samples"], "samples", 64)
    if not all(isinstance(v, float) or (isinstance(v, int) and abs(v) < 1e300) for v in [*samples, fields["largest"]]):
        raise BadArtifact("the probe's samples are not numbers")
    return Answer(_hex(fields["digest"]), tuple(float(v) for v in samples), float(fields["largest"]))


def _hex(value: Any) -> str:
    if not isinstance(value, str) or len(value) != 64 or not set(value) <= set("0123456789abcdef"):
        raise BadArtifact(f"{value!r:.20} is not a SHA-256 digest")
    return value
