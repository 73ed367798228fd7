"""YAML as plain values: no tags, no aliases, no key twice; every error names its line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import ComposerError

from infoprune.errors import BadRecipe

LARGEST = 1 << 20
DEEPEST = 16


class _Loader(yaml.SafeLoader):
    """A SafeLoader that refuses what makes documents larger than they look."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise ComposerError(None, None, "an alias (*), which recipes don't take; write it out", mark)
        self.depth += 1
        if self.depth > DEEPEST:
            mark = self.peek_event().start_mark
            raise ComposerError(None, None, "values nested deeper than any section is", mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen: set[Any] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key.value!r} twice", key.start_mark)
            seen.add(key.value if isinstance(key.value, str) else repr(key.value))
        return super().construct_mapping(node, deep)


def parsed(text: str, source: str) -> Any:
    """The document's value; BadRecipe in one line otherwise."""
    if len(text) > LARGEST:
        raise BadRecipe(f"{source} has {len(text)} characters; recipes have at most {LARGEST}")
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise BadRecipe(f"{source}{where}: {error.problem}; correct the YAML") from error
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise BadRecipe(f"{source} is not YAML ({' '.join(str(error).split())[:200]}); correct it") from error


def read(path: Path) -> Mapping[str, Any]:
    """The sections of a recipe's file."""
    if not path.is_file():
        near = sorted(path.parent.glob("*.yaml"))[:10] if path.parent.is_dir() else []
        known = f"; {path.parent} holds {', '.join(p.name for p in near)}" if near else ""
        raise BadRecipe(f"there is no recipe at {path}{known}; give the path of a YAML file")
    if path.stat().st_size > LARGEST:
        raise BadRecipe(f"{path} has {path.stat().st_size} bytes; recipes have at most {LARGEST}")
    try:
        sections = parsed(path.read_text(), str(path))
    except UnicodeDecodeError as error:
        raise BadRecipe(f"{path} is not text in UTF-8 ({error.reason}); give a YAML file") from error
    if not isinstance(sections, Mapping):
        raise BadRecipe(f"{path} holds {type(sections).__name__}, not sections such as model: and data:; see recipes/")
    return sections
