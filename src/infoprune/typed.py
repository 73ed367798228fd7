"""Text read as the types that dataclasses declare: the sections of a recipe, the parts of a report."""

from __future__ import annotations

import collections.abc
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import Any, Literal

from infoprune.errors import InfopruneError
from infoprune.registry import nearest

Read = Callable[[Any, str], Any]  # a value and the path that leads to it


def nearest_word(value: Any, known: tuple) -> str:
    hint = nearest(str(value), [str(k) for k in known])
    return f" ({hint.partition('?')[0]}?)" if hint.startswith("did you mean") else ""


@dataclass(frozen=True)
class Reader:
    """`kinds` reads the types that have no parts; `refuse(path, value, need)` raises an `error`.

    With `singles` a value alone is a list of one.
    """

    kinds: Mapping[Any, Read]
    refuse: Callable[[str, Any, str], Any]
    error: type[InfopruneError]
    singles: bool = False
    advice: str = ""  # what to do about a field that is not there
    words: Mapping[Any, str] = field(default_factory=dict)  # what to ask for where several kinds would do

    def read(self, value: Any, kind: Any, path: str) -> Any:
        """`value` as `kind`, or an error that names the path."""
        origin, inner = typing.get_origin(kind), typing.get_args(kind)
        if origin in (types.UnionType, typing.Union):
            return self._one_of(value, inner, path)
        if origin is Literal:
            words = f"one of {', '.join(map(str, inner))}"
            return value if value in inner else self.refuse(path, value, words + nearest_word(value, inner))
        if origin is tuple and (self.singles or isinstance(value, list)):
            items = value if isinstance(value, list | tuple) else [value]
            return tuple(self.read(item, inner[0], f"{path}[{i}]") for i, item in enumerate(items))
        if origin is collections.abc.Mapping and inner != (str, Any):
            if not isinstance(value, Mapping):
                self.refuse(path, value, "a section")
            return {str(key): self.read(one, inner[1], f"{path}.{key}") for key, one in value.items()}
        if is_dataclass(kind):
            return self.built(kind, value, path)
        if kind in self.kinds:
            return self.kinds[kind](value, path)
        return self.refuse(path, value, getattr(kind, "__name__", str(kind)))

    def built(self, kind: Any, value: Any, path: str) -> Any:
        """A mapping as a dataclass."""
        if not isinstance(value, Mapping):
            self.refuse(path, value, kind.__name__)
        members = self.members(value, typing.get_type_hints(kind), path)
        lacking = missing(kind, members)
        if lacking is not None:
            raise self.error(f"{path} lacks {lacking!r}{self.advice}")
        return kind(**members)

    def members(self, value: Any, hints: Mapping[str, Any], path: str) -> dict[str, Any]:
        """What a mapping holds, each key as the type that it has in `hints`; no other key is known."""
        for key in value:
            if key not in hints:
                raise self.error(f"{path}.{key} is not known; {nearest(str(key), list(hints))}")
        return {key: self.read(one, hints[key], f"{path}.{key}") for key, one in value.items()}

    def _one_of(self, value: Any, kinds: tuple, path: str) -> Any:
        if value is None and type(None) in kinds:
            return None
        rest = [k for k in kinds if k is not type(None)]
        if not isinstance(value, Mapping):
            rest = [k for k in rest if typing.get_origin(k) is not collections.abc.Mapping]
        for kind in rest[:-1]:
            try:
                return self.read(value, kind, path)
            except self.error:
                continue
        needs = [self.words[kind] for kind in rest if kind in self.words]
        if len(needs) > 1 and not isinstance(value, str):
            return self.refuse(path, value, " or ".join(needs))
        return self.read(value, rest[-1], path)


def missing(kind: Any, held: Mapping[str, Any]) -> str | None:
    """The first field of a dataclass that has no default and is not held."""
    bare = (f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING)
    return next((name for name in bare if name not in held), None)
