"""Which arguments a docstring describes, in its list "Args:", and which a callable takes."""

import inspect
import re

from infoprune.budgets import Budget
from infoprune.importance.base import GroupImportance

ENTRY = re.compile(r"    (\*{0,2}\w+): \S")
MADE = {  # beside importances and budgets; what the library makes itself is read, not called
    "DepthPath", "LVViT", "Problem", "PruneCallback", "SplitModel", "Training", "View", "Yolact",
}  # fmt: skip


def listed(value: object) -> list[str]:
    """Names of the list, stars included, in its order."""
    _, _, tail = f"\n{inspect.getdoc(value)}\n".partition("\nArgs:\n")
    section = re.split(r"\n(?=\S)", tail)[0]
    return [found[1] for line in section.splitlines() if (found := ENTRY.match(line))]


def taken(value: object) -> list[str]:
    """Names of the arguments, stars included, without what a method is called on."""
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    told = inspect.signature(inspect.unwrap(value)).parameters.values()
    return [stars.get(p.kind, "") + p.name for p in told if p.name not in ("self", "cls")]


def public_functions(names: dict[str, object]) -> dict[str, object]:
    """path -> function, of public functions and of methods of public classes; each under its first path."""
    found = {}
    for path, value in sorted(names.items()):
        for name, member in vars(value).items() if inspect.isclass(value) else [("", value)]:
            member = getattr(member, "__func__", member)  # of class methods and static methods
            if inspect.isfunction(member) and not name.startswith("_") and not _prescribed(value, name):
                found.setdefault(member, f"{path}.{name}".rstrip("."))
    return {path: member for member, path in found.items() if _is_ours(member)}


def made_by_users(names: dict[str, object]) -> list[type]:
    kinds = {value for value in names.values() if inspect.isclass(value) and not inspect.isabstract(value)}
    return sorted(
        (kind for kind in kinds if kind.__name__ in MADE or issubclass(kind, Budget | GroupImportance)),
        key=lambda kind: kind.__name__,
    )


def _prescribed(kind: object, name: str) -> bool:
    """Whether a host's class says what this method takes."""
    bases = kind.__mro__[1:] if inspect.isclass(kind) else ()
    return any(hasattr(base, name) and not base.__module__.startswith("infoprune") for base in bases)


def _is_ours(function: object) -> bool:
    """Whether it is written in this library: what `dataclass` and `NamedTuple` add is not."""
    inner = inspect.unwrap(function)
    return inner.__module__.startswith("infoprune") and "/infoprune/" in str(inspect.getsourcefile(inner))
