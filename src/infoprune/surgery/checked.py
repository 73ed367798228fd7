"""Single values of untrusted JSON: each is what it should be, or BadArtifact says what it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from infoprune.errors import BadArtifact

NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*(#[0-9]+)?")
MOST = 1 << 20
LONGEST_AXIS = 1 << 24


def mapping(data: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(data, dict):
        raise BadArtifact(f"{what} is {type(data).__name__}, not an object")
    return data


def keys(data: Any, what: str, expected: set[str]) -> Mapping[str, Any]:
    names = set(mapping(data, what))
    if names != expected:
        odd, gone = sorted(names - expected)[:5], sorted(expected - names)
        raise BadArtifact(
            f"{what} has unknown keys {odd} and lacks {gone}" if gone else f"{what} has unknown keys {odd}"
        )
    return data


def sequence(data: Any, what: str, most: int = MOST) -> list:
    if not isinstance(data, list) or len(data) > most:
        raise BadArtifact(f"{what} is {type(data).__name__}, not a list of at most {most} entries")
    return data


def integer(value: Any, what: str, low: int, high: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise BadArtifact(f"{what} is {value!r:.40}, not a whole number from {low} to {high}")
    return value


def number(value: Any, what: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not -1e300 < value < 1e300:
        raise BadArtifact(f"{what} is {value!r:.40}, not a finite number")
    return float(value)


def truth(value: Any, what: str) -> bool:
    if not isinstance(value, bool):
        raise BadArtifact(f"{what} is {value!r:.40}, not true or false")
    return value


def name_of(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 512 or not NAME.fullmatch(value):
        raise BadArtifact(f"{value!r:.60} is not the name of a module or tensor")
    return value


def word(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[a-z0-9_]{1,32}", value):
        raise BadArtifact(f"{value!r:.60} is not a plain word")
    return value


def fields_of(data: Any, what: str, count: int) -> list:
    if len(sequence(data, what)) != count:
        raise BadArtifact(f"a {what} has {len(data)} entries, not {count}")
    return data
