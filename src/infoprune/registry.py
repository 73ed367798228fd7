"""Names for recipes and the command line. Python users pass objects and never need this."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import entry_points
from typing import Any, TypeVar

from infoprune.deprecated import warn
from infoprune.errors import UnknownName

Factory = TypeVar("Factory", bound=Callable[..., Any])
Own = TypeVar("Own", bound=Callable[..., Any])


def nearest(name: str, known: list[str]) -> str:
    """A hint that ends an error about an unknown name: the closest known one, then all of them (at most 30)."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    listed = ", ".join(sorted(known)[:30]) + (", ..." if len(known) > 30 else "")
    return (f"did you mean {close[0]!r}? " if close else "") + f"known: {listed or 'none'}"


class Registry(Mapping[str, Factory]):
    """name -> factory, filled by decorators and by the entry points of other packages in `group`."""

    def __init__(self, kind: str):
        self.kind = kind
        self.group = f"infoprune.{kind.replace(' ', '_')}"  # packaging tools refuse spaces
        self._factories: dict[str, Any] = {}
        self._former: dict[str, str] = {}
        self._plugins_loaded = False

    def register(self, name: str) -> Callable[[Own], Own]:
        """Decorator: file `factory` under `name`; a name is taken once."""

        def file(factory: Own) -> Own:
            if self._factories.get(name, factory) is not factory:
                raise ValueError(f"{self.kind} {name!r} is already registered; choose another name")
            self._factories[name] = factory
            return factory

        return file

    def rename(self, former: str, name: str) -> None:
        """What is filed under `name` was called `former` in the last release, and is still found under it."""
        self._former[former] = name

    def current(self, name: str) -> str:
        """The name that it has now, for what was written before."""
        return self._former.get(name, name)

    def __getitem__(self, name: str) -> Factory:
        self._load_plugins()
        if name in self._former:
            warn(f"{self.kind} {name!r}", repr(self._former[name]))
            name = self._former[name]
        if name not in self._factories:
            raise UnknownName(f"there is no {self.kind} {name!r}; {nearest(name, list(self._factories))}")
        return self._factories[name]

    def __contains__(self, name: object) -> bool:
        self._load_plugins()
        return name in self._factories

    def __iter__(self) -> Iterator[str]:
        self._load_plugins()
        return iter(sorted(self._factories))

    def __len__(self) -> int:
        self._load_plugins()
        return len(self._factories)

    def _load_plugins(self) -> None:
        if self._plugins_loaded:
            return
        self._plugins_loaded = True
        for entry in entry_points(group=self.group):
            self._factories.setdefault(entry.name, entry.load())
