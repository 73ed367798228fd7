"""From YAML and --set to a Recipe, and back to the resolved YAML that is stored with a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import yaml

from infoprune.deprecated import renamed_keyword
from infoprune.errors import BadRecipe
from infoprune.recipe import sections as s
from infoprune.recipe.section_readers import READERS
from infoprune.recipe.values import refuse
from infoprune.recipe.yaml_text import parsed, read
from infoprune.registry import nearest

WITH_CODE = ("model", "data")  # sections that may name a Python file


def read_recipe(path: str | Path, changes: Sequence[str] = ()) -> s.Recipe:
    """The recipe in a YAML file, with `changes` such as "finetune.lr=0.1" on top.

    Code of the user's own runs where `changes` name its file, or where it lies beside or under the recipe.
    """
    sections = sections_in(Path(path), changes)
    if "vary" in sections:
        raise BadRecipe(f"vary: is for several runs side by side; use infoprune bench {path}")
    return recipe_of(sections)


def sections_in(path: Path, changes: Sequence[str]) -> dict[str, Any]:
    """The sections in a YAML file as they are written, with `changes` on top."""
    sections = {key: dict(value) if isinstance(value, Mapping) else value for key, value in read(path).items()}
    named = {change.partition("=")[0] for change in changes}
    for part in WITH_CODE:
        if f"{part}.file" not in named:
            _place(sections.get(part), path.parent, f"{part}.file")
    for change in changes:
        set_in(sections, change)
    return sections


def kept_recipe(path: Path) -> s.Recipe:
    """The resolved recipe that is stored with a run; what it names is not looked at, let alone run."""
    return recipe_of(read(path))


def _place(part: Any, folder: Path, key: str) -> None:
    """A file of code as the absolute path of one beside or under the recipe; BadRecipe for any other."""
    if not isinstance(part, dict) or not isinstance(part.get("file"), str):
        return
    file = (folder / part["file"]).resolve()
    if not file.is_relative_to(folder.resolve()):
        raise BadRecipe(
            f"{key} is {part['file']}, which is not beside or under the recipe, so that its code is not run; to run it "
            f"name it on the command line: --set {key}={part['file']}"
        )
    part["file"] = str(file)


@renamed_keyword("told", "sections")
def recipe_of(sections: Mapping[str, Any]) -> s.Recipe:
    """The recipe that a mapping of sections describes; BadRecipe names the key that is wrong."""
    names = [f.name for f in fields(s.Recipe)]
    for key in sections:
        if key not in (*names, "schema"):
            raise BadRecipe(f"{key} is not a section; {nearest(str(key), [*names, 'schema'])}")
    if "schema" not in sections:
        raise BadRecipe(f"schema is missing; begin the recipe with schema: {s.SCHEMA}")
    if sections["schema"] != s.SCHEMA or isinstance(sections["schema"], bool):
        refuse("schema", sections["schema"], f"{s.SCHEMA}, which this release reads")
    for needed in ("model", "data"):
        if needed not in sections:
            raise BadRecipe(f"{needed} is missing; add a section {needed}: with a name:")
    values = {key: READERS[key](value, key) for key, value in sections.items() if key in READERS and value is not None}
    recipe = s.Recipe(**values)
    _check_together(recipe)
    return recipe


def to_yaml(recipe: s.Recipe) -> str:
    """The resolved recipe, with every default written out; reads back as the same."""
    sections: dict[str, Any] = {"schema": s.SCHEMA}
    for f in fields(s.Recipe):
        value = getattr(recipe, f.name)
        if value is not None:
            sections[f.name] = value if isinstance(value, int) else _plain(value)
        elif f.default is not None:
            sections[f.name] = False  # left out, where saying nothing would mean the default
    return yaml.safe_dump(sections, sort_keys=False)


def _plain(part: Any) -> dict[str, Any]:
    entries: dict[str, Any] = {}
    for f in fields(part):
        value = getattr(part, f.name)
        if f.name in ("options", "limits") and not isinstance(part, s.ModelSection):
            entries |= {name: list(one) if isinstance(one, tuple) else one for name, one in value.items()}
        elif isinstance(value, Mapping):
            entries |= {f.name: dict(value)} if value else {}
        elif value is not None:
            entries[f.name] = list(value) if isinstance(value, tuple) else value
    return entries


def set_in(recipe: dict[str, Any], change: str) -> None:
    """Change the sections as "section.key=value" says."""
    path, equals, text = change.partition("=")
    *sections, key = path.split(".")
    if not equals or not all([*sections, key]) or sections[1:] not in ([], ["options"]):
        raise BadRecipe(f"--set {change!r:.80} is not of the form section.key=value; write e.g. --set finetune.lr=0.1")
    part = recipe
    for i, name in enumerate(sections):
        if part.get(name) is None:
            part[name] = {}
        if not isinstance(part[name], dict):
            refuse(".".join(sections[: i + 1]), part[name], f"a section, so that --set can change {path}")
        part = part[name]
    part[key] = parsed(text, f"--set {path}")


def _check_together(recipe: s.Recipe) -> None:
    if not (recipe.budget or recipe.depth or recipe.tokens or recipe.split):
        raise BadRecipe("nothing would be pruned; add a section budget:, depth:, tokens: or split:")
    if recipe.depth is not None and recipe.depth.joint and (recipe.budget is None or recipe.budget.rates is not None):
        raise BadRecipe("depth.joint shares a budget between blocks and channels; add a section budget: with a limit")
    if recipe.budget is not None and recipe.budget.sizes and (recipe.depth or recipe.tokens or recipe.split):
        other = next(name for name in ("depth", "tokens", "split") if getattr(recipe, name))
        raise BadRecipe(f"budget: lists several sizes, which channels alone can have; leave out {other}:, or give one")
    if recipe.sweep is not None and recipe.split is None:
        raise BadRecipe("sweep: compares what travels at a split; add a section split: with the layer at:")
    tuned = next((key for key in ("epochs", "reestimate") if getattr(recipe.finetune, key)), None)
    if recipe.split is not None and tuned:
        raise BadRecipe(
            f"finetune.{tuned} must be 0 with split:, which chooses features of a network that stays as it is"
        )


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
