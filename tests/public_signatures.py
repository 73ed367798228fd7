"""The snapshot of public signatures.

After a change that is meant: `python tests/public_signatures.py` writes it anew, and CHANGELOG.md tells the difference.
"""

import inspect
import json
import sys
from dataclasses import is_dataclass
from pathlib import Path

SNAPSHOT = Path(__file__).with_name("public_signatures.json")


def in_short(value: object) -> str:
    """How something is called, without types and values: "(model, *, plan=)"; what is no call is a "value"."""
    value = getattr(value, "__func__", value)  # of class methods and static methods
    if inspect.isclass(value) and not constructed_here(value):
        return "class"
    if not (inspect.isclass(value) or inspect.isfunction(value)):
        return "value"
    told, named = [], False
    for p in inspect.signature(value).parameters.values():
        if p.kind is p.KEYWORD_ONLY and not named:
            told.append("*")
        named = named or p.kind in (p.KEYWORD_ONLY, p.VAR_POSITIONAL)
        stars = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
        told.append(f"{stars}{p.name}{'' if p.default is p.empty else '='}")
    return f"({', '.join(told)})"


def constructed_here(kind: type) -> bool:
    """Whether the arguments of a class are ours to keep, and not those of a host's class that it extends."""
    makers = ("__init__", "__new__")
    first = next((base for base in kind.__mro__ if any(name in vars(base) for name in makers)), object)
    extended = [base for base in kind.__mro__ if is_dataclass(base) and not base.__module__.startswith("infoprune")]
    return first.__module__.startswith("infoprune") and not extended


def members(kind: object) -> dict[str, str]:
    """What a public class offers of ours, inherited or its own."""
    if not inspect.isclass(kind):
        return {}
    ours = [base for base in kind.__mro__ if base.__module__.startswith("infoprune")]
    names = {name for base in ours for name in vars(base) if not name.startswith("_")}
    return {name: in_short(inspect.getattr_static(kind, name)) for name in sorted(names)}


def described(names: dict[str, object]) -> dict[str, str]:
    """path -> how it is called, of all public names and their members."""
    told = {}
    for path, value in sorted(names.items()):
        told[path] = in_short(value)
        told |= {f"{path}.{name}": how for name, how in members(value).items()}
    return told


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))
    from tests.public_names import public_names

    SNAPSHOT.write_text(json.dumps(described(public_names()), indent=0) + "\n", encoding="utf-8")
