"""Names of the last release: for one release more they work, and a DeprecationWarning tells the new ones."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import wraps
from importlib import import_module
from operator import attrgetter
from typing import Any, TypeVar

Kind = TypeVar("Kind", bound=type)
Function = TypeVar("Function", bound=Callable[..., Any])


def warn(old: str, new: str, *, stacklevel: int = 3) -> None:
    """Of the line that called whoever calls this."""
    warnings.warn(f"{old} is called {new} now; the old name goes with the next release", DeprecationWarning, stacklevel)


def renamed(package: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a package some of whose names were changed: old -> new, below the package."""

    def find(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        warn(f"{package}.{name}", f"{package}.{names[name]}")
        return attrgetter(names[name])(import_module(package))

    return find


class Renamed:
    """An attribute, of a class and of its objects, that is called `new` now."""

    def __init__(self, new: str):
        self.new, self.old = new, ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.old = name

    def __get__(self, instance: object | None, owner: type) -> Any:
        warn(f"{owner.__name__}.{self.old}", self.new)
        return getattr(owner if instance is None else instance, self.new)


def renamed_argument(old: str, new: str) -> Callable[[Kind], Kind]:
    """Of a class: its keyword argument `old`, and the attribute of that name, are called `new` now."""

    def decorate(kind: Kind) -> Kind:
        either = renamed_keyword(old, new, of=kind.__name__)(vars(kind)["__init__"])
        attribute = Renamed(new)
        attribute.old = old
        setattr(kind, old, attribute)
        setattr(kind, "__init__", either)  # noqa: B010  a plain assignment is no method to type checkers
        return kind

    return decorate


def renamed_keyword(old: str, new: str, *, of: str | None = None) -> Callable[[Function], Function]:
    """Of a function: its keyword argument `old` is called `new` now."""

    def decorate(function: Function) -> Function:
        @wraps(function)
        def either(*args: Any, **kwargs: Any) -> Any:
            if old in kwargs:
                warn(f"{of or function.__qualname__}({old}=)", f"{new}=")
                kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return either  # type: ignore[return-value]

    return decorate
