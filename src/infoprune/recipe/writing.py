"""From a Recipe to the resolved YAML that is stored with a run, and what tells two recipes apart."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import yaml

from infoprune.recipe import sections as s


def to_yaml(recipe: s.Recipe) -> str:
    """The resolved recipe, with every default written out; reads back as the same."""
    told: dict[str, Any] = {"schema": s.SCHEMA}
    for f in fields(s.Recipe):
        value = getattr(recipe, f.name)
        if value is not None:
            told[f.name] = value if isinstance(value, int) else _plain(value)
        elif f.default is not None:
            told[f.name] = False  # left out, where saying nothing would mean the default
    return yaml.safe_dump(told, sort_keys=False)


def _plain(part: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for f in fields(part):
        value = getattr(part, f.name)
        if f.name in ("options", "limits"):
            found.update(value)
        elif value is not None:
            found[f.name] = list(value) if isinstance(value, tuple) else value
    return found


def changed(old: s.Recipe, new: s.Recipe) -> str | None:
    """The first key in which two recipes differ, with both values; what only affects speed does not count."""
    quiet = {"data": ("workers",), "finetune": ("save_seconds",), "report": ("tensorboard",)}
    for f in fields(s.Recipe):
        a, b = getattr(old, f.name), getattr(new, f.name)
        same = {key: getattr(b, key) for key in quiet.get(f.name, ())}
        if a == b or (a is not None and b is not None and same and replace(a, **same) == b):
            continue
        was, now = ({} if x is None else {"": x} if isinstance(x, int) else _plain(x) for x in (a, b))
        key = next((k for k in {**was, **now} if was.get(k) != now.get(k)), "")
        return f"{f.name}{'.' if key else ''}{key} was {was.get(key)!r} and is {now.get(key)!r}"
    return None
