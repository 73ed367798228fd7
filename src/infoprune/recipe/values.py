"""Values converted by the type that a field declares."""

from __future__ import annotations

import collections.abc
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal

from infoprune.errors import BadRecipe
from infoprune.registry import nearest

WORDS = {int: "a whole number", float: "a number", str: "a word", bool: "true or false"}


def converted(value: Any, kind: Any, path: str) -> Any:
    """`value` as `kind`; BadRecipe names the path otherwise."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return _as_one_of(value, inner, path)
    if origin is Literal:
        return (
            value
            if value in inner
            else refuse(path, value, f"one of {', '.join(map(str, inner))}", nearest_word(value, inner))
        )
    if origin is tuple:
        items = value if isinstance(value, list | tuple) else [value]
        return tuple(converted(item, inner[0], f"{path}[{i}]") for i, item in enumerate(items))
    if origin is collections.abc.Mapping and inner != (str, Any):
        if not isinstance(value, Mapping):
            refuse(path, value, "a section")
        return {str(key): converted(one, inner[1], f"{path}.{key}") for key, one in value.items()}
    if kind is Mapping:
        return value if isinstance(value, Mapping) else refuse(path, value, "a section of options")
    if kind in _CONVERTERS:
        return _CONVERTERS[kind](value, path)
    return refuse(path, value, "nothing: it can be set from Python alone")


def section(
    kind: Any, given: Any, path: str, more: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields of the dataclass `kind` in `given`, and the further keys of the types in `more`, converted."""
    assert is_dataclass(kind)
    if not isinstance(given, Mapping):
        refuse(path, given, f"a section with keys such as {fields(kind)[0].name}:")
    hints, more = typing.get_type_hints(kind), more or {}
    own = {f.name: hints[f.name] for f in fields(kind) if f.name not in ("options", "limits")}
    known = {**more, **own}
    for key in given:
        if key not in known:
            raise BadRecipe(f"{path}.{key} is not known; {nearest(str(key), list(known))}")
    found = {key: converted(value, known[key], f"{path}.{key}") for key, value in given.items()}
    missing = [f.name for f in fields(kind) if f.name in own and f.name not in found and _required(f)]
    if missing:
        raise BadRecipe(f"{path}.{missing[0]} is missing; add it under {path}:")
    return {k: v for k, v in found.items() if k in own}, {k: v for k, v in found.items() if k not in own}


def refuse(path: str, value: Any, need: str, hint: str = "") -> Any:
    raise BadRecipe(f"{path} is {value!r:.80}; give {need}{hint}")


def nearest_word(value: Any, known: tuple) -> str:
    hint = nearest(str(value), [str(k) for k in known])
    return f" ({hint.partition('?')[0]}?)" if hint.startswith("did you mean") else ""


def _as_one_of(value: Any, kinds: tuple, path: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    rest = [k for k in kinds if k is not type(None)]
    if not isinstance(value, Mapping):
        rest = [k for k in rest if typing.get_origin(k) is not collections.abc.Mapping]
    for kind in rest[:-1]:
        try:
            return converted(value, kind, path)
        except BadRecipe:
            continue
    if rest[-1] is str and not isinstance(value, str):
        return refuse(path, value, " or ".join(WORDS[kind] for kind in rest if kind in WORDS))
    return converted(value, rest[-1], path)


def _required(f: Any) -> bool:
    return f.default is MISSING and f.default_factory is MISSING


def _whole(value: Any, path: str) -> int:
    number = _number(value, path, WORDS[int])
    return int(number) if number == int(number) else refuse(path, value, WORDS[int])


def _number(value: Any, path: str, need: str = WORDS[float]) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (ValueError, TypeError, OverflowError):
        return refuse(path, value, need)
    return number if math.isfinite(number) else refuse(path, value, need)


def _word(value: Any, path: str) -> str:
    return value if isinstance(value, str) and value else refuse(path, value, WORDS[str])


def _truth(value: Any, path: str) -> bool:
    return value if isinstance(value, bool) else refuse(path, value, WORDS[bool])


_CONVERTERS = {int: _whole, float: _number, str: _word, bool: _truth}
