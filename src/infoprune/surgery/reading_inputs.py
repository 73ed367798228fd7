"""Descriptions of calls from untrusted JSON; `surgery.inputs` says what they look like."""

from __future__ import annotations

from typing import Any

from infoprune.errors import BadArtifact
from infoprune.surgery.inputs import (
    DEEPEST,
    DICT,
    KEYWORDS,
    LARGEST_NUMBER,
    LIST,
    LONGEST_WORD,
    MOST_PARTS,
    MOST_TEXT,
    OBJECT,
    TUPLE,
    VALUE,
    Described,
    InputSpec,
)  # fmt: skip
from infoprune.surgery.values import fields_of, integer, sequence, word

LONGEST_AXIS = 1 << 24


def inputs_from(data: Any) -> InputSpec:
    """Positional arguments, then keyword arguments if there are any."""
    told = sequence(data, "inputs", MOST_PARTS + 1)
    last = told[-1:] if told and _is(told[-1], KEYWORDS) else []
    positional = tuple(_argument(item) for item in told[: len(told) - len(last)])
    return (*positional, *((_items(item[0]), KEYWORDS) for item in last))


def _is(item: Any, kind: str) -> bool:
    return isinstance(item, list) and len(item) == 2 and item[1] == kind


def _argument(data: Any, depth: int = 0) -> Described:
    if depth > DEEPEST:
        raise BadArtifact(f"arguments are nested deeper than {DEEPEST} levels; no saved call is")
    if isinstance(data, list) and len(data) == 3:
        return *_shape_and_type(data[:2]), _contents(data[2])
    inner, kind = fields_of(data, "input", 2)
    if kind in (LIST, TUPLE):
        return tuple(_argument(item, depth + 1) for item in sequence(inner, "inputs", MOST_PARTS)), kind
    if kind == DICT:
        return _items(inner, depth + 1), kind
    if kind == VALUE:
        return _value(inner), kind
    if kind == OBJECT:
        return _text(inner), kind
    return _shape_and_type(data)


def _items(data: Any, depth: int = 0) -> Described:
    pairs = [fields_of(item, "named argument", 2) for item in sequence(data, "named arguments", MOST_PARTS)]
    return tuple((_text(key), _argument(value, depth)) for key, value in pairs)


def _shape_and_type(data: Any) -> Described:
    shape, dtype = data
    return tuple(integer(n, "input size", 0, LONGEST_AXIS) for n in sequence(shape, "shape", 16)), word(dtype)


def _contents(data: Any) -> str | tuple[float, float]:
    """The bytes of a tensor as text, or the range of its numbers."""
    if isinstance(data, str):
        return _text(data, MOST_TEXT)
    low, high = fields_of(data, "range", 2)
    for bound in (low, high):
        if not _is_number(bound):
            raise BadArtifact(f"a bound of an input is {bound!r:.40}, not a number")
    if not low <= high:
        raise BadArtifact(f"an input's numbers are said to lie from {low!r:.40} to {high!r:.40}")
    return low, high


def _value(data: Any) -> Any:
    if data is None or isinstance(data, bool | float):
        return data
    return _text(data) if isinstance(data, str) else integer(data, "an argument", -LARGEST_NUMBER, LARGEST_NUMBER)


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and abs(value) <= (LARGEST_NUMBER if isinstance(value, int) else float("inf"))


def _text(data: Any, most: int = LONGEST_WORD) -> str:
    if not isinstance(data, str) or len(data) > most:
        raise BadArtifact(f"{data!r:.60} is not a text of at most {most} characters")
    return data
