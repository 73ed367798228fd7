"""Values of a recipe, converted by the type that a field declares."""

from __future__ import annotations

import math
import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from infoprune.errors import BadRecipe
from infoprune.typed import Reader, missing

WORDS = {int: "a whole number", float: "a number", str: "a word", bool: "true or false"}


def converted(value: Any, kind: Any, path: str) -> Any:
    """`value` as `kind`; BadRecipe names the path otherwise."""
    return _READER.read(value, kind, path)


def section(
    kind: Any, content: Any, path: str, more: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields of the dataclass `kind` in `given`, and the further keys of the types in `more`, converted."""
    assert is_dataclass(kind)
    if not isinstance(content, Mapping):
        refuse(path, content, f"a section with keys such as {fields(kind)[0].name}:")
    hints = typing.get_type_hints(kind)
    own = {f.name: hints[f.name] for f in fields(kind) if f.name not in ("options", "limits")}
    values = _READER.members(content, {**(more or {}), **own}, path)
    lacking = missing(kind, values)
    if lacking in own:
        raise BadRecipe(f"{path}.{lacking} is missing; add it under {path}:")
    return {k: v for k, v in values.items() if k in own}, {k: v for k, v in values.items() if k not in own}


def refuse(path: str, value: Any, need: str) -> Any:
    raise BadRecipe(f"{path} is {value!r:.80}; give {need}")


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


def _options(value: Any, path: str) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else refuse(path, value, "a section of options")


def _unreadable(path: str, value: Any, need: str) -> Any:
    """A type that no text can stand for is given no example."""
    return refuse(path, value, need if " " in need else "nothing: it can be set from Python alone")


_KINDS = {int: _whole, float: _number, str: _word, bool: _truth, Mapping: _options}
_READER = Reader(_KINDS, _unreadable, BadRecipe, singles=True, words=WORDS)
